"""What a task is, said once: fine-tuning, pipelines, `xfm predict`, help and documentation follow from it.
Nothing here imports torch: a row names its classes, and they are imported when they are used."""

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any

from xfm.core.errors import UserError

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class FieldKind(StrEnum):
    """What a field holds."""

    TEXT = "a text"
    TEXTS = "a text, or a list of texts"
    PICTURE = "a picture"
    TWO_PICTURES = "two pictures"
    LABEL = "the name of a class"
    BOX = "four numbers"


_GIVEN = (FieldKind.TEXT, FieldKind.PICTURE, FieldKind.TWO_PICTURES)
"""What a field of an input may hold."""


@dataclass(frozen=True)
class Field:
    """Something that a task reads from each row or input.

    Attributes:
        name: in mappings, and as a column.
        help: what it holds, for help and messages; empty where `holds` says enough.
        holds: what kind of thing it is.
        optional: whether rows and inputs may lack it.
        also: other names that it is given by.
        parts: the two columns that together may stand in the place of two pictures.
        target: whether it is what training learns to predict, so that an input has none.
    """

    name: str
    help: str = ""
    holds: FieldKind = FieldKind.TEXT
    optional: bool = False
    also: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    target: bool = False

    def __post_init__(self) -> None:
        if wrong := [name for name in (*self.names, *self.parts) if not name.isidentifier()]:
            raise ValueError(f"{wrong[0]!r} is no name of a field: take letters, digits and underscores")
        if len(self.parts) != 2 * (self.holds is FieldKind.TWO_PICTURES):
            raise ValueError(f"the field {self.name}: two pictures have two parts, a name each, others none")

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the whole of it is given by."""
        return (self.name, *self.also)

    def ways(self, present: Container[str]) -> list[tuple[str, ...]]:
        """How it is given by names of which some are there: by one of its own, or by all of its parts."""
        every = (*((name,) for name in self.names), self.parts)
        return [way for way in every if any(name in present for name in way)]

    @property
    def meaning(self) -> str:
        """What it holds, for help and messages."""
        parts = f", or {' and '.join(self.parts)}" if self.parts else ""
        return (self.help or self.holds.value) + parts


class TextRule(StrEnum):
    """How a task reads its texts, in training and afterwards (`xfm.data.tokenizer.as_read`).

    written: as they are.
    caption: as captions of the pre-training, see `normalise_caption`.
    long_caption: likewise, but all words that may fit into the tokens.
    """

    WRITTEN = "written"
    CAPTION = "caption"
    LONG_CAPTION = "long caption"


@dataclass(frozen=True)
class NoOptions:
    """A pipeline that needs no choice."""


@dataclass(frozen=True)
class TaskSpec:
    """A task: what it reads, which settings it has, and which classes do the work.

    A class is named as `module:Class` and imported when it is used. `head` and `task` belong to tasks that
    models are fine-tuned for; without them the task is a pipeline on pre-trained heads.

    Attributes:
        name: its one name, on the command line, in Python and in model folders.
        summary: what it answers, in a line.
        fields: what each row has; an input has those that are no targets.
        answer: what its pipeline gives, as documentation writes it.
        also: other names that are understood.
        asked: fields of an input, where they are others than those of the rows.
        text: how texts are read.
        encoders: those of language, vision and fusion that its loss reaches; the settings `tune.NAME` follow.
        settings: settings of `FinetuneConfig` that not all tasks read; `image` is all of `image.NAME`.
        classes: whether its head has classes (or values).
        options: what its pipeline may be asked besides the input.
        uses: beginnings of the names of pre-trained parameters that its pipeline uses without fine-tuning.
        head: the `xfm.models.task_models.TaskModel` that is fine-tuned.
        task: the `xfm.tasks.base.Task` that fine-tunes it.
        values: likewise, where labels are values (`--regression`).
        pipeline: the `xfm.inference.base.Pipeline` that answers.
        gallery: whether that searches in a gallery, as an `xfm.inference.gallery.Retrieval` does.
        ranks: whether a prediction is a place among all rows of a split, and none of a row by itself.
        pipeline_tag: the task's name on the Hugging Face hub, for model cards, where it has one there.
    """

    name: str
    summary: str
    fields: tuple[Field, ...]
    answer: str = '`[{"label", "score"}]`'
    also: tuple[str, ...] = ()
    asked: tuple[Field, ...] = ()
    text: TextRule = TextRule.CAPTION
    encoders: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    classes: bool = False
    options: type[Any] = NoOptions
    uses: tuple[str, ...] = ()
    head: str = ""
    task: str = ""
    values: str = ""
    pipeline: str = "xfm.inference.heads:Classification"
    gallery: bool = False
    ranks: bool = False
    pipeline_tag: str = ""

    def __post_init__(self) -> None:
        several = (self.fields, self.also, self.asked, self.encoders, self.settings, self.uses)
        if any(not isinstance(one, tuple) for one in several):
            raise ValueError(f"{self.name}: fields, names, encoders, settings and uses are tuples")
        if wrong := [one for one in (*self.fields, *self.asked) if not isinstance(one, Field)]:
            raise ValueError(f"{self.name}: {wrong[0]!r} is no Field")
        if wrong := [name for name in self.names if not _NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} is no name of a task: take lower-case letters, digits and dashes")
        if unknown := [one for one in self.encoders if one not in ("language", "vision", "fusion")]:
            raise ValueError(f"{self.name}: there is no encoder {unknown[0]}")
        if bool(self.head) != bool(self.task):
            raise ValueError(f"{self.name}: what is fine-tuned has a head and a task, both or none")
        for fields in (self.fields, self.inputs):
            names = [name for one in fields for name in (*one.names, *one.parts)]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(
                    f"{self.name}: there are two fields {twice[0]}; give one of them another name"
                )
        if not self.inputs:
            raise ValueError(f"{self.name}: an input has no field; give fields that are no targets")
        if wrong := [one for one in self.inputs if one.holds not in _GIVEN]:
            raise ValueError(
                f"{self.name}: an input cannot have {wrong[0].holds}, which the field {wrong[0].name} holds: "
                f"it has {', '.join(_GIVEN)}; make the field a target, or say in asked what an input has"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it is called by."""
        return (self.name, *self.also)

    @property
    def inputs(self) -> tuple[Field, ...]:
        """The fields of a pipeline's input."""
        return self.asked or tuple(one for one in self.fields if not one.target)

    @property
    def tunable(self) -> bool:
        """Whether models are fine-tuned for it."""
        return bool(self.task)

    @property
    def has_texts(self) -> bool:
        """Whether texts are read or written, so that their length is a setting."""
        return any(one.holds in (FieldKind.TEXT, FieldKind.TEXTS) for one in self.fields)

    @property
    def has_images(self) -> bool:
        """Whether rows have pictures."""
        return any(one.holds in (FieldKind.PICTURE, FieldKind.TWO_PICTURES) for one in self.fields)

    @property
    def draws(self) -> bool:
        """Whether an answer is a box, which can be drawn on the picture."""
        return any(one.holds is FieldKind.BOX for one in self.fields)

    @property
    def paired(self) -> bool:
        """Whether a row's texts are one sequence."""
        return sum(one.holds is FieldKind.TEXT for one in self.inputs) > 1 and not self.asked

    @property
    def second(self) -> Field | None:
        """The text that rows may lack beside another: all of them, or none."""
        return next((one for one in self.inputs if self.paired and one.optional), None)

    def reads(self, setting: str) -> bool:
        """Whether the task reads a setting that not all tasks read, such as `image.flip` or `tune.vision`."""
        part, _, own = setting.partition(".")
        if part == "tune":
            return own in self.encoders
        everywhere = {
            "max_tokens": self.has_texts,
            "regression": bool(self.values),
            "class_weights": self.classes,
        }
        if setting in everywhere:
            return everywhere[setting]
        return setting in self.settings or part in self.settings

    def task_class(self, regression: bool = False) -> type[Any]:
        """The `Task` of its fine-tuning; a UserError where there is none, or none for values."""
        found = self.values if regression else self.task
        if not found:
            what = "learn values" if regression else "be fine-tuned for: it answers with what is pre-trained"
            raise UserError(f"{self.name} is no task that a model can {what}; choose another task")
        return load_named(found)

    def head_class(self) -> type[Any]:
        """The `TaskModel` that is fine-tuned."""
        return load_named(self.head)

    def pipeline_class(self) -> type[Any]:
        """The `Pipeline` that answers."""
        return load_named(self.pipeline)


def load_named(reference: str) -> Any:
    """The object of `module:name`; a UserError where the module has none."""
    module, _, name = reference.partition(":")
    if not hasattr(found := import_module(module), name):
        raise UserError(f"{module} has no {name}, which the TaskSpec of a task names; mend it there")
    return getattr(found, name)
