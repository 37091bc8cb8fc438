"""The parts of an evaluation, one file a kind of measurement: `PARTS`; and the models that they keep."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from xfm.config.evaluation import Part
from xfm.config.next_command import command_line
from xfm.evaluation.context import Context
from xfm.evaluation.parts.matching import run_absence, run_matching
from xfm.evaluation.parts.probes import run_category, run_digits
from xfm.evaluation.parts.tuned import TUNED, run_tuned
from xfm.evaluation.parts.zero_shot import run_hard, run_masked_tokens, run_retrieval
from xfm.reports.scores import PartResult
from xfm.training.pretrain import MODEL_FOLDER

PARTS: dict[Part, Callable[[Context], PartResult]] = {
    Part.RETRIEVAL: run_retrieval,
    Part.HARD: run_hard,
    Part.MASKED_TOKENS: run_masked_tokens,
    Part.CATEGORY: run_category,
    Part.DIGITS: run_digits,
    Part.MATCHING: run_matching,
    Part.ABSENCE: run_absence,
    **{part: partial(run_tuned, part) for part in TUNED},
}
"""How each part is run. A new part is a member of `Part`, and one file and one line here; if it is a short
fine-tuning, a row of `TUNED` instead."""

TASKS_FOLDER = "tasks"
"""Models lie in OUT/tasks/PART/model."""


def saved_models(out: Path, world: Path, validation: bool = False) -> dict[Part, tuple[Path, str]]:
    """The fine-tuned models in an evaluation's folder, each with the command that predicts the test rows."""
    found: dict[Part, tuple[Path, str]] = {}
    for part, own in TUNED.items():
        folder = out / TASKS_FOLDER / part.value / MODEL_FOLDER
        if not (folder / "task.json").exists():
            continue
        split = "validation" if validation else own.tests[0]
        rows, answers = world / "tasks" / part.value / f"{split}.jsonl", f"{part.value}-answers.jsonl"
        asked = own.task.spec.name
        command = command_line("predict", asked, model=folder, input=rows, out=answers, columns=own.columns)
        found[part] = folder, command
    return found


def listing(models: Mapping[Part, tuple[Path, str]]) -> str:
    """The models as lines for a terminal."""
    lines = ["Fine-tuned on the way; each answers the test rows by its command:"]
    return "\n".join([*lines, *(f"  {command}" for _, command in models.values())]) if models else ""


def use_command(model: Path, world: Path, out: Path) -> str:
    """Command that computes vectors of a world's pictures with a pre-trained model."""
    photos, answers = world / "tasks" / "images", out / "vectors.jsonl"
    return command_line("predict", "embed", model=model, input=photos, out=answers)
