"""What was out of the ordinary in a fine-tuning."""

from collections.abc import Mapping, Sequence
from typing import Any

from xfm.core.errors import amount, excerpt
from xfm.finetuning.leaderboard import Leaderboard
from xfm.finetuning.session import Session
from xfm.finetuning.split_scores import groups_of
from xfm.finetuning.tuning_run import TuningRun
from xfm.metrics.intervals import wilson_interval
from xfm.reports.labels import is_share, metric_name
from xfm.tasks.base import AnyTask
from xfm.training.flags import Flag, FlagKind, of_log, shortened
from xfm.training.logging import log_lines
from xfm.training.run_folder import LOG_FILE

WIDEST = 0.10
"""Half an interval's width from which rows are called few."""
FEWEST_LOOKS = 3


def flags_of(run: Session, task: AnyTask, tuned: TuningRun, boards: Mapping[str, Leaderboard]) -> list[Flag]:
    """Flags of a fine-tuning."""
    config, best, valid = run.config, tuned.best, run.data.valid
    cases = {name: (board.model.value, board.groups, board.n) for name, board in boards.items()}
    if best is not None:
        groups = int(groups_of(task, valid).max()) + 1
        cases = {"validation": (tuned.looks[best][task.primary], groups, len(valid)), **cases}
    splits = {"validation": valid, **run.data.tests}
    fitting = 0 if run.probed else run.fitting
    ended = f"the time limit of {config.minutes:.3g} minutes ended the training after {tuned.step:,} of"
    left_out = f"{amount(len(run.left_out.rows), 'row')} could not be used; the report lists them"
    found = (
        Flag(FlagKind.SHORTENED, f"{ended} {config.steps:,} steps") if tuned.limited else None,
        seen_rows(run.type, run.data.train, splits),
        unknown_answers(task, splits),
        shortened(config.steps, fitting, "fit so many rows", "leave --steps out to have them"),
        unfinished(tuned, config.steps, config.choose_by or task.primary),
        few_rows(task.primary, cases),
        Flag(FlagKind.LEFT_OUT, left_out) if run.left_out.rows else None,
    )
    return [*filter(None, found), *of_log(log_lines(run.out / LOG_FILE))]


def unfinished(tuned: TuningRun, planned: int, metric: str) -> Flag | None:
    """A model that was better at the last look than at any before, when the steps ended."""
    values = [look[metric] for look in tuned.looks.values()]
    if len(values) < FEWEST_LOOKS or tuned.step < planned or values[-1] <= max(values[:-1]):
        return None
    before = f"{metric_name(f'_/_/{metric}')} {values[-1]:.3f}, before it at most {max(values[:-1]):.3f}"
    text = f"the last look at the validation rows was the best ({before}): more steps may give a better model"
    return Flag(FlagKind.UNFINISHED, f"{text}, such as --steps {2 * planned}")


def few_rows(metric: str, cases: Mapping[str, tuple[float, int, int]]) -> Flag | None:
    """Splits with an interval wider than ten points to each side, by score, independent rows and rows; other
    scores than shares count as 50 %."""
    few: list[str] = []
    for split, (value, groups, rows) in cases.items():
        share = value if is_share(f"_/_/{metric}") and 0 <= value <= 1 else 0.5
        interval = wilson_interval(share, groups) if groups else None
        if interval and interval.high - interval.low > 2 * WIDEST:
            shared = f" ({groups:,} independent)" if groups < rows else ""
            few.append(f"{rows:,} {split}{shared}")
    text = f"{' and '.join(few)} rows give intervals wider than 10 points to each side"
    return Flag(FlagKind.ROUGH, text) if few else None


def seen_rows(task: type[AnyTask], train: Sequence[Any], splits: Mapping[str, Sequence[Any]]) -> Flag | None:
    """Rows of valid or test that have something in common with training rows; only tables of one's own
    may."""
    own = {name: [frozenset(task.together(row)) for row in rows] for name, rows in splits.items()}
    asked = frozenset[Any]().union(*(things for rows in own.values() for things in rows))
    known = {thing for row in train for thing in task.together(row) if thing in asked} if asked else set()
    seen = {name: sum(not things.isdisjoint(known) for things in rows) for name, rows in own.items()}
    shown = [f"{count:,} of {len(own[name]):,} {name} rows" for name, count in seen.items() if count]
    if not shown:
        return None
    what = "pictures" if task.spec.has_images else "texts"
    text = f"{' and '.join(shown)} have {what} of training rows, which flatters the scores"
    return Flag(FlagKind.SEEN, f"{text}: take such rows out of one of the tables")


def unknown_answers(task: AnyTask, splits: Mapping[str, Sequence[Any]]) -> Flag | None:
    """Rows whose answer is none of those that the model can give."""
    said = {name: [own[0] for row in rows if (own := task.unknown(row))] for name, rows in splits.items()}
    shown = [f"{len(own):,} of {len(splits[name]):,} {name} rows" for name, own in said.items() if own]
    if not shown:
        return None
    first = excerpt(next(own[0] for own in said.values() if own))
    text = f"{' and '.join(shown)} have an answer that is none of the {len(task.known):,} of the model"
    return Flag(FlagKind.UNKNOWN, f"{text}, such as {first!r}: they count as wrong")
