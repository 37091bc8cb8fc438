"""Facts for the page: tabs, training data and calibration of the models."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from xfm.config.next_command import command_line
from xfm.config.tasks import MATCHING, task_spec
from xfm.core.errors import UserError
from xfm.models.artifacts import model_card, trained_on
from xfm.models.shipped import boxed_names
from xfm.serving.examples import EXAMPLES, Examples, example
from xfm.serving.served import Models, ServedModel

SEARCH = "search"


@dataclass(frozen=True)
class TabSpec:
    """A tab of the page, and its module: the task that it needs.

    `lacks` says why it is disabled, `columns` those of a table that would train its model.
    """

    name: str
    title: str
    does: str
    task: str
    lacks: str = ""
    columns: str = ""


TABS = (
    TabSpec(
        SEARCH, "Search",
        "Find pictures by what you write. The nearest are looked at again: where none fits, it says so.",
        "embed", "no served model has text and pictures in one space",
    ),
    TabSpec(
        "ask", "Ask", "Ask a question about a picture.",
        "vqa", "no served model answers questions about pictures", "image, question, answer",
    ),
    TabSpec(
        "find", "Find", "Write what to look for, and see where it is.",
        "grounding", "no served model draws boxes",
    ),
    TabSpec(
        "compare", "Compare", "Say something about two pictures, and see whether it is true.",
        "reasoning", "no served model compares two pictures", "left, right, text, label",
    ),
    TabSpec(
        "caption", "Caption", "Have a picture described.",
        "captioning", "no served model writes captions", "image, caption",
    ),
    TabSpec(
        "classify", "Classify",
        "Sort a picture into classes of your own: write their names, no training is needed.",
        "zero-shot-image-classification", "no served model has text and pictures in one space",
    ),
    TabSpec(
        "fill", "Fill in",
        "Leave a word out: the model guesses it from the text alone, and again with the picture.",
        "fill-mask", "no served model guesses words",
    ),
    TabSpec(
        "look", "Attention",
        "See which parts of a picture the fusion encoder looks at, for a text and for each of its words.",
        MATCHING.name, "no served model matches texts and pictures",
    ),
)  # fmt: skip


def about(
    models: Models,
    references: Sequence[str],
    examples: Examples | None,
    lacking: str,
    gallery: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the page is built from, as JSON.

    `references` are the models as given, for commands; `lacking` says why there are no examples; `gallery`
    has the `name`, `pictures` and `kind` of the collection, or `lacking`.
    """
    served = {one.name: one for one in models}
    tasks = {name: one.tasks for name, one in served.items()}
    offered = None
    if examples is not None:
        tabs, queries = {**examples.tabs}, examples.queries
        if gallery.get("kind") == EXAMPLES:
            tabs[SEARCH] = [example([], queries, queries.values())]
        offered = {"licence": examples.licence, "captions": examples.gallery, "tabs": tabs}
    return {
        "version": version("xfm"),
        "models": [_described(one, tasks[name]) for name, one in served.items()],
        "tabs": [_tab(one, served, tasks, gallery, references) for one in TABS],
        "gallery": dict(gallery),
        "examples": offered,
        "lacking": lacking,
        "matching": _chosen(MATCHING.name, served, tasks),
    }


def _tab(
    tab: TabSpec,
    served: Mapping[str, ServedModel],
    tasks: Mapping[str, Sequence[str]],
    gallery: Mapping[str, Any],
    references: Sequence[str],
) -> dict[str, Any]:
    model = _chosen(tab.task, served, tasks)
    told = {"name": tab.name, "title": tab.title, "does": tab.does, "task": tab.task, "model": model}
    if model is None:
        main = next((one for one in served.values() if one.pretrained.task is None), None)
        began = references[0] if main is None else main.reference
        rows = f" on a table of yours with the columns {tab.columns}" if tab.columns else ""
        why = f"This tab is off: {tab.lacks}. The first command trains one{rows}, the second opens it here."
        commands = [command_line("quickstart"), command_line("demo", "runs/quickstart")]
        if tab.columns:
            out = f"runs/{tab.name}"
            tune = command_line("finetune", tab.task, model=began, train="my.jsonl", out=out)
            commands = [tune, command_line("demo", ",".join([*references, out]))]
        return told | {"why": why, "commands": commands}
    if tab.name == SEARCH and gallery.get("lacking"):
        return told | {"model": None, "why": gallery["lacking"], "commands": []}
    return told


def _chosen(task: str, served: Mapping[str, ServedModel], tasks: Mapping[str, Sequence[str]]) -> str | None:
    """The model fine-tuned for the task, else the first pre-trained one, else any that can."""

    def rank(name: str) -> int:
        own = served[name].pretrained.task
        return 0 if own is not None and own.task.spec == task_spec(task) else 1 if own is None else 2

    able = [name for name in served if task in tasks[name]]
    return min(able, key=rank, default=None)


def _described(one: ServedModel, tasks: Sequence[str]) -> dict[str, Any]:
    found, provenance = one.pretrained, one.pretrained.provenance
    own = None if found.task is None else found.task.task.spec.name
    before = provenance if own is None else provenance.get("began_with")
    mask = None
    with suppress(UserError):  # it has no tokenizer
        mask = found.tokenizer.id_to_token(found.tokenizer.mask) or None
    return {
        "name": one.name,
        "tasks": list(tasks),
        "task": own,
        "calibrated": found.calibration is not None,
        "mask": mask,
        "boxed": one.reference in boxed_names(),
        "trained_on": trained_on(before if isinstance(before, Mapping) else {}),
        "limits": str(provenance.get("limits") or "").replace("\n", " "),
        "card": model_card(found.model.config, found.artifacts),
    }
