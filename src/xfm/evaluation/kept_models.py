"""The models that an evaluation fine-tunes on its way: kept, so that one can ask them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from xfm.config.evaluation import Part
from xfm.config.next_command import command_line
from xfm.modeling.folder import save_model
from xfm.tasks.base import Task

if TYPE_CHECKING:
    from xfm.evaluation.context import Context

TASKS_FOLDER, MODEL = "tasks", "model"
"""Models lie in OUT/tasks/PART/model."""
_SPLITS = {Part.ENTAILMENT: "test", Part.PARAPHRASE: "test"}
_COLUMNS = "text=text_a,second=text_b"
_ASKED: Mapping[Part, tuple[str, str]] = MappingProxyType(
    {
        Part.VQA: ("vqa", ""),
        Part.REASONING: ("reasoning", ""),
        Part.GROUNDING: ("grounding", ""),
        Part.ENTAILMENT: ("text-classification", _COLUMNS),
        Part.PARAPHRASE: ("text-classification", _COLUMNS),
    }
)
"""How each is asked: the pipeline, and what the columns of the world's rows are called."""


@dataclass(frozen=True)
class KeptModel:
    """A fine-tuned model of an evaluation.

    Attributes:
        part: the part that made it.
        folder: the model's folder.
        command: asks it the rows of the world, as a line for a shell.
        size: bytes on the disk.
    """

    part: Part
    folder: Path
    command: str
    size: int


def keep_model(context: "Context", task: Task[Any, Any, Any], name: str, steps: int) -> None:
    """Write the model of a fine-tuning, whole or not at all.

    Raises:
        UserError: the disk is full, or the place is not writable.
    """
    assert context.kept is not None
    task.finish()
    before = context.pretrained.provenance
    provenance = {
        "task": task.spec.name,
        "fine_tuned_from": context.origin,
        "steps": steps,
        "seed": task.settings.seed,
        "rows": {"train": len(task.train_rows)},
        "licences": before.get("licences", {}),
        "versions": {"xfm": version("xfm"), "torch": torch.__version__},
        "evaluation": asdict(context.config),
        "began_with": {key: value for key, value in before.items() if key != "settings"},
    }
    pretrained = context.pretrained
    save_model(
        context.kept / name / MODEL,
        pretrained.model,
        pretrained.given_tokenizer,
        pretrained.preprocessing,
        provenance,
        task.module,
    )


def kept_models(out: Path, world: Path, validation: bool = False) -> list[KeptModel]:
    """The models that an evaluation in a folder has kept, each with a command that asks it."""
    found = []
    for part, (task, columns) in _ASKED.items():
        folder = out / TASKS_FOLDER / part.value / MODEL
        if not (folder / "task.json").exists():
            continue
        split = "validation" if validation else _SPLITS.get(part, "seen")
        rows, answers = world / "tasks" / part.value / f"{split}.jsonl", f"{part.value}-answers.jsonl"
        command = command_line("predict", task, model=folder, input=rows, out=answers, columns=columns)
        size = sum(path.stat().st_size for path in folder.iterdir())
        found.append(KeptModel(part, folder, command, size))
    return found


def without_model(out: Path, parts: Iterable[Part]) -> list[Part]:
    """Those of the parts that fine-tune whose model is not there: an earlier version kept none."""
    return [p for p in parts if p in _ASKED and not (out / TASKS_FOLDER / p.value / MODEL).exists()]


def listing(models: list[KeptModel]) -> str:
    """The models as lines for a terminal; empty where there are none."""
    if not models:
        return ""
    size = sum(model.size for model in models) / 1e6
    lines = [f"Fine-tuned on the way, {size:,.0f} MB; each answers the test rows by its command:"]
    return "\n".join([*lines, *(f"  {model.command}" for model in models)])


def use_command(model: Path, world: Path, out: Path) -> str:
    """A line for a shell that asks a pre-trained model: the vectors of a world's pictures."""
    photos, answers = world / "tasks" / "images", out / "vectors.jsonl"
    return command_line("predict", "embed", model=model, input=photos, out=answers)
