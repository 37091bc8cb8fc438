"""What was out of the ordinary in a run, in sentences that reports show and commands print last."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from xfm.config.load import read_recipe, recipe_names
from xfm.core.errors import amount, printable
from xfm.training.logging import LogLine, log_lines
from xfm.training.run_folder import LOG_FILE

ENOUGH_STEPS = 0.95
"""Share of the recommended steps from which a run counts as whole."""


class FlagKind(StrEnum):
    """What a flag is about."""

    SMOKE = "smoke run"
    SHORTENED = "shortened"
    TUNED_SHORTER = "fine-tunings shortened"
    UNFINISHED = "still improving"
    RESUMED = "resumed"
    SKIPPED = "steps skipped"
    LEFT_OUT = "rows left out"
    ROUGH = "few rows"
    SEEN = "rows of the training"
    UNKNOWN = "unknown answers"
    INCOMPLETE = "not complete"


@dataclass(frozen=True)
class Flag:
    """Something that a reader of the scores must know: its kind (`FlagKind`) and a sentence."""

    what: str
    sentence: str


def shortened(done: int, wanted: int, wanted_by: str, remedy: str = "") -> Flag | None:
    """Flag of a run with fewer steps than wanted (0: not known) by `wanted_by`; `remedy` ends the
    sentence."""
    if done >= ENOUGH_STEPS * wanted:
        return None
    share = f"{100 * done / wanted:.2g} %"
    text = f"only {amount(done, 'step')}, {share} of the {wanted:,} that {wanted_by}"
    return Flag(FlagKind.SHORTENED, text + (f"; {remedy}" if remedy else ""))


def of_log(lines: Sequence[LogLine]) -> list[Flag]:
    """Flags of a run's log: resumed, steps skipped, records left out."""
    events = [line.get("event") for line in lines]
    found: list[Flag] = []
    notes = [str(line.get("message", "")) for line in lines if line.get("event") == "resumed"]
    if resumed := sum(note.startswith("Resuming from") for note in notes):
        times = "" if resumed == 1 else f" {resumed} times"
        text = f"the run was stopped and resumed{times}: its times are no single run's"
        found.append(Flag(FlagKind.RESUMED, text))
    if skipped := events.count("skipped_step"):
        text = f"{amount(skipped, 'step')} had a NaN or infinite loss and changed nothing; log.jsonl has them"
        found.append(Flag(FlagKind.SKIPPED, text))
    # A line for every time that a record was met; each counts once.
    if bad := list(dict.fromkeys(str(one.get("key")) for one in lines if one.get("event") == "bad_record")):
        text = f"{amount(len(bad), 'record')} could not be read, {printable(bad[0])} among them; "
        text += "log.jsonl says which and why"
        found.append(Flag(FlagKind.LEFT_OUT, text))
    return found


def of_pretraining(
    recipe: str,
    steps: int,
    folder: Path,
    fallback: int = 0,
    minutes: float = 0.0,
) -> list[Flag]:
    """Flags of a pre-training; `fallback` are the steps of a recipe that is not the package's, `minutes`
    those of a run by the clock."""
    wanted = recommended_steps(recipe) or fallback
    remedy = f"train with --training.steps {wanted}"
    if minutes:
        more = math.ceil(minutes * wanted / max(1, steps))
        remedy = f"they took {minutes:.3g} minutes; train with --training.minutes {more} on such a machine"
    short = shortened(steps, wanted, f"the recipe {recipe} has", remedy)
    return [*([short] if short else []), *of_log(log_lines(folder / LOG_FILE))]


def recommended_steps(recipe: str) -> int:
    """Steps of a recipe of the package; 0 where there is none of that name."""
    return recipe_steps(recipe) if recipe in recipe_names() else 0


def recipe_steps(source: str) -> int:
    """Steps of a recipe by name or file; 0 where it does not say."""
    steps = read_recipe(source).get("training", {}).get("steps")
    return steps if isinstance(steps, int) else 0


def read_flags(details: Mapping[str, Any]) -> list[Flag]:
    """The flags of a folder's `evaluation.json`."""
    return [Flag(str(one["what"]), str(one["sentence"])) for one in details.get("flags") or ()]


def last_lines(flags: Iterable[Flag]) -> str:
    """Flags as a command prints them last, one a line; empty without any."""
    return "".join(f"Flagged: {flag.what}: {flag.sentence}.\n" for flag in flags)
