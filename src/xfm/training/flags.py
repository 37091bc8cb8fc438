"""What was out of the ordinary in a run, in sentences that reports show and commands print last."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from xfm.config.load import read_recipe, recipe_names
from xfm.core.errors import amount
from xfm.training.logging import LogLine, log_lines
from xfm.training.run_folder import LOG_FILE

ENOUGH_STEPS = 0.95
"""Share of the recommended steps from which a run counts as whole."""
TENTHS, SLOWER, LEAST_SECONDS, LEAST_LINES = 10, 1.5, 30.0, 30
"""Parts of a run whose speeds are compared, the factor that is told, and the shortest run that is looked at:
before that, a machine that does something else for a moment looks like one that became slower."""


class FlagKind(StrEnum):
    """What a flag is about."""

    SMOKE = "smoke run"
    SHORTENED = "shortened"
    PACE = "steps of this machine"
    TUNED_SHORTER = "fine-tunings shortened"
    UNFINISHED = "still improving"
    RESUMED = "resumed"
    SKIPPED = "steps skipped"
    LEFT_OUT = "rows left out"
    ROUGH = "few rows"
    SEEN = "rows of the training"
    UNKNOWN = "unknown answers"
    JOINED = "several labels"
    SLOWED = "machine became slower"
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


def of_log(lines: Sequence[LogLine], ends: Iterable[int] = ()) -> list[Flag]:
    """Flags that follow from a log; at the steps `ends` the work of a step changes (phases)."""
    events = [line.get("event") for line in lines]
    found: list[Flag | None] = []
    notes = [str(line.get("message", "")) for line in lines if line.get("event") == "resumed"]
    if resumed := sum(note.startswith("Resuming from") for note in notes):
        times = "" if resumed == 1 else f" {resumed} times"
        text = f"the run was stopped and resumed{times}: its times are no single run's"
        found.append(Flag(FlagKind.RESUMED, text))
    if skipped := events.count("skipped_step"):
        text = f"{amount(skipped, 'step')} had a NaN or infinite loss and changed nothing; log.jsonl has them"
        found.append(Flag(FlagKind.SKIPPED, text))
    # A line for every time that a record was met; each counts once.
    if bad := len({line.get("key") for line in lines if line.get("event") == "bad_record"}):
        text = f"{amount(bad, 'record')} could not be read; log.jsonl says which and why"
        found.append(Flag(FlagKind.LEFT_OUT, text))
    found.append(slowed(lines, ends))
    return [flag for flag in found if flag]


def of_pretraining(
    recipe: str,
    steps: int,
    folder: Path,
    ends: Iterable[int] = (),
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
    return [*([short] if short else []), *of_log(log_lines(folder / LOG_FILE), ends)]


def recommended_steps(recipe: str) -> int:
    """Steps of a recipe of the package; 0 where there is none of that name."""
    return recipe_steps(recipe) if recipe in recipe_names() else 0


def recipe_steps(source: str) -> int:
    """Steps of a recipe by name or file; 0 where it does not say."""
    steps = read_recipe(source).get("training", {}).get("steps")
    return steps if isinstance(steps, int) else 0


def slowed(lines: Sequence[LogLine], ends: Iterable[int] = ()) -> Flag | None:
    """Flag of a run with a tenth that took `SLOWER` times as long a step as another tenth of the same
    phase."""
    timed = [(line["step"], line["steps_per_s"]) for line in lines if line.get("steps_per_s")]
    borders = [0, *sorted(ends), float("inf")]
    worst: tuple[float, int, int] = (0.0, 0, 0)
    for first, last in pairwise(borders):
        own = [(step, 1 / speed) for step, speed in timed if first < step <= last][1:]  # one warms up
        if len(own) < LEAST_LINES or _seconds(own) < LEAST_SECONDS:
            continue
        size = len(own) / TENTHS
        parts = [own[round(part * size) : round((part + 1) * size)] for part in range(TENTHS)]
        medians = [statistics.median(seconds for _, seconds in part) for part in parts]
        slow = max(range(TENTHS), key=medians.__getitem__)
        ratio = medians[slow] / min(medians)
        worst = max(worst, (ratio, parts[slow][0][0], parts[slow][-1][0]))
    ratio, start, stop = worst
    if ratio <= SLOWER:
        return None
    return Flag(
        FlagKind.SLOWED,
        f"steps {start:,} to {stop:,} took {ratio:.1f} times as long as the fastest tenth of the run: other "
        "work was on the machine, or it throttled; do not compare this run's times",
    )


def _seconds(timed: Sequence[tuple[int, float]]) -> float:
    return sum((step - before) * seconds for (before, _), (step, seconds) in pairwise(timed))


def plain_flags(flags: Iterable[Flag]) -> list[dict[str, str]]:
    """Flags as `evaluation.json` has them."""
    return [{name: str(value) for name, value in asdict(flag).items()} for flag in flags]


def read_flags(details: Mapping[str, Any]) -> list[Flag]:
    """The flags of a folder's `evaluation.json`."""
    return [Flag(str(one["what"]), str(one["sentence"])) for one in details.get("flags") or ()]


def last_lines(flags: Iterable[Flag]) -> str:
    """Flags as a command prints them last, one a line; empty without any."""
    return "".join(f"Flagged: {flag.what}: {flag.sentence}.\n" for flag in flags)
