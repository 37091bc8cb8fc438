"""Inputs as users give them, checked and read."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from xfm.config.task_spec import Field, Holds
from xfm.core.errors import UserError, excerpt, suggest
from xfm.data.records import is_text
from xfm.inference.picture_inputs import Picture, PictureReader, is_picture

Told = Callable[[int, str], None]
"""Is told the number of an input and what is wrong with it."""


class InputError(UserError):
    """An input that cannot be used.

    Attributes:
        number: which one, counted from 0.
        reason: what is wrong with it.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"input {number}: {reason}")
        self.number, self.reason = number, reason


@dataclass(frozen=True)
class Unreadable:
    """Stands for an input of which is known already that it cannot be used, and why."""

    reason: str


@dataclass(frozen=True)
class Item:
    """An input that has been read.

    Attributes:
        texts: none, one, or the two of a pair, as the model reads them.
        pictures: none, one or two.
        shown: the text as it was given, for answers that repeat it.
    """

    texts: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    shown: str = ""

    @property
    def flaw(self) -> str | None:
        """What is wrong with pictures of which a part only is there; None where all are whole."""
        return "; ".join(picture.flaw for picture in self.pictures if picture.flaw is not None) or None


def warned_once() -> Told:
    """Warns of the first of the inputs of whose pictures it is told that a part only is there."""
    told: list[int] = []

    def warn(number: int, flaw: str) -> None:
        if not told:
            more = "if others of this call end so, they are used likewise and not named"
            warnings.warn(f"input {number}: {flaw}, and are used; {more}", stacklevel=2)
        told.append(number)

    return warn


def is_single(inputs: object) -> bool:
    """Whether inputs are one input, not several."""
    if isinstance(inputs, str | Mapping | bytes | Image.Image):
        return True
    return is_picture(inputs) and getattr(inputs, "ndim", 3) < 4


def field_names(fields: Sequence[Field]) -> dict[str, Field]:
    """The field of every name that a value may be given by."""
    return {name: field for field in fields for name in (*field.names, *field.parts)}


def by_field(given: object, fields: Sequence[Field], options: Sequence[str] = ()) -> dict[str, object]:
    """An input as values by field; what is given bare is the field that is meant.

    Args:
        given: the input.
        fields: of the task.
        options: names of options, of which one may have been meant.

    Raises:
        UserError: a field is missing, unknown or given twice, or a bare value could be several fields.
    """
    if isinstance(given, Unreadable):
        raise UserError(given.reason)
    if not isinstance(given, Mapping):
        return {_meant(given, fields).name: given}
    names = field_names(fields)
    if unknown := [key for key in given if key not in names]:
        hint = suggest(str(unknown[0]), [*names, *options], f"an input has {_listed(fields)}")
        raise UserError(f"there is no field {excerpt(str(unknown[0]))!r}; {hint}")
    full = {key: value for key, value in given.items() if value is not None}
    found: dict[str, object] = {}
    for field in fields:
        ways = field.ways(full)
        if len(ways) > 1:
            raise UserError(f"the field {field.name} is given twice; leave one of its names out")
        if not ways and not field.optional:
            raise UserError(f"the field {field.name} is missing; an input has {_listed(fields)}")
        for way in ways:
            if lacking := [part for part in way if part not in full]:
                together = " and ".join(way)
                raise UserError(f"the field {lacking[0]} is missing; give {together}, or {field.name}")
            found[field.name] = full[way[0]] if len(way) == 1 else [full[part] for part in way]
    return found


def _meant(given: object, fields: Sequence[Field]) -> Field:
    if given is None:
        raise UserError(f"the input is None; give what the task takes, such as {call(fields)}")
    required = [field for field in fields if not field.optional]
    if isinstance(given, list | tuple):
        raise UserError(f"an input is {example(fields)}, not a {type(given).__name__}")
    wanted = Holds.PICTURE if is_picture(given) else Holds.TEXT
    if len(required) == 1:
        return required[0]
    for field in fields if not required else ():
        if field.holds is wanted:
            return field
    raise UserError(f"an input has several parts: give {example(fields)}, not a bare {type(given).__name__}")


_SAMPLES = {Holds.TEXT: "a text", Holds.PICTURE: "a.png", Holds.TWO_PICTURES: ["a.png", "b.png"]}


def example(fields: Sequence[Field]) -> str:
    """An input as Python and JSON write it, with every field, for messages."""
    either = all(field.optional for field in fields)
    forms = (
        [{f.name: _SAMPLES[f.holds]} for f in fields]
        if either
        else [{f.name: _SAMPLES[f.holds] for f in fields}]
    )
    return " or ".join(json.dumps(form) for form in forms)


def call(fields: Sequence[Field]) -> str:
    """A call of the pipeline with the shortest input."""
    required = [field for field in fields if not field.optional] or fields[:1]
    if len(required) == 1:
        return f"pipe({_SAMPLES[required[0].holds]!r})"
    return f"pipe({', '.join(f'{field.name}={_SAMPLES[field.holds]!r}' for field in required)})"


def _listed(fields: Sequence[Field]) -> str:
    return ", ".join(f.name + (" (optional)" if f.optional else "") for f in fields)


def read_field(field: Field, value: object, reader: PictureReader) -> list[Picture] | str:
    """The value of a field.

    Raises:
        UserError: it is not what the field holds, or a picture cannot be read.
    """
    if field.holds is Holds.TEXT:
        if not isinstance(value, str):
            raise UserError(
                f"{field.name} must be a text, not {type(value).__name__}; give one such as 'a text'"
            )
        if not is_text(value):  # half a surrogate pair, which no tokenizer takes
            raise UserError(f"{field.name} is not Unicode; mend the text")
        return value
    if field.holds is Holds.PICTURE:
        return [reader.read(value)]
    if not isinstance(value, list | tuple | Tensor) or len(value) != 2:
        found = f"a list of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__
        raise UserError(f"{field.name} must be a list of two pictures, not {found}")
    return [reader.read(one) for one in value]
