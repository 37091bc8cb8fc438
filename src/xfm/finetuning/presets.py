"""What a preset decides of the settings that nobody gave, and what every setting was derived from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xfm.config.finetune import FinetuneConfig, Preset, Tuning
from xfm.config.task_spec import TaskSpec
from xfm.finetuning.plan import LENGTH, epochs
from xfm.finetuning.probing import has_probe

AVERAGE = 0.999
"""Of `best`: the average follows faster in the first steps, see `EMA`."""
FOLDS, SMALL = 5, 500
"""Folds of `best`, and the rows below which a table is small."""


@dataclass(frozen=True)
class Decision:
    """A setting that was not given, and where its value is from.

    Attributes:
        name: of the setting.
        value: in words.
        why: what it was derived from.
    """

    name: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} {self.value} ({self.why})"


def is_probe(config: FinetuneConfig, spec: TaskSpec) -> bool:
    """Whether a run fits a probe and trains nothing else."""
    return config.preset is Preset.FAST and has_probe(spec)


def decided(config: FinetuneConfig, spec: TaskSpec) -> FinetuneConfig:
    """The configuration with what the preset decides in place of what nobody gave.

    What is 0 because it "fits" is left to `plan.fitted`, and `folds` to `chosen_folds`, which know the rows.
    """
    read = [name for name in TUNED if spec.reads(f"tune.{name}") and not is_probe(config, spec)]
    tune = {name: getattr(config.tune, name) or _tuning(config.preset, name) for name in read}
    average = config.average
    if average is None:
        average = AVERAGE if config.preset is Preset.BEST else 0.0
    return replace(config, average=average, tune=replace(config.tune, **tune), folds=config.folds or 0)


TUNED = ("language", "vision", "fusion")


def _tuning(preset: Preset, name: str) -> Tuning:
    """How an encoder learns; of `fast` what joins the two is small, and learns in any case."""
    return Tuning.FREEZE if preset is Preset.FAST and name != "fusion" else Tuning.FULL


def chosen_folds(config: FinetuneConfig, spec: TaskSpec, rows: int, parted: bool) -> int:
    """Into how many folds a training table is parted; 0 for none.

    Args:
        config: as it was given.
        spec: of the task.
        rows: of the table.
        parted: whether validation rows, or a split, are given.
    """
    if config.folds is not None:
        return config.folds
    wanted = config.preset is Preset.BEST and 2 * FOLDS <= rows < SMALL
    return FOLDS if wanted and not parted and can_fold(spec) else 0


def can_fold(spec: TaskSpec) -> bool:
    """Whether predictions of rows stand each for itself: a search ranks all rows of a split together."""
    return not spec.ranks


def decisions(given: FinetuneConfig, fit: FinetuneConfig, spec: TaskSpec, rows: int) -> list[Decision]:
    """What was decided, setting by setting.

    Args:
        given: the configuration as it was given.
        fit: as it is run.
        spec: of the task.
        rows: training rows, as an epoch has them.
    """
    return [*_probed(spec)] if is_probe(fit, spec) else [*_of_training(given, fit, spec, rows)]


def _probed(spec: TaskSpec) -> Iterator[Decision]:
    kind = "logistic regression of classes, ridge regression of values"
    yield Decision("encoders", "frozen", "preset fast: what they say of a row is computed once")
    yield Decision(
        "head", "one linear layer", f"preset fast: {kind}, the penalty chosen on the validation rows"
    )


def _of_training(given: FinetuneConfig, fit: FinetuneConfig, spec: TaskSpec, rows: int) -> Iterator[Decision]:
    preset = f"preset {fit.preset}"
    frozen = [name for name in TUNED if spec.reads(f"tune.{name}") and getattr(given.tune, name) is None]
    frozen = [name for name in frozen if getattr(fit.tune, name) is Tuning.FREEZE]
    if fit.preset is Preset.FAST:
        yield Decision(
            "probe", "none", f"{spec.name} has no classes or values that a linear layer could give"
        )
    if frozen:
        yield Decision(
            "encoders", f"{' and '.join(frozen)} frozen", f"{preset}: no gradients pass through them"
        )
    if not given.batch_size:
        yield Decision("batch_size", f"{fit.batch_size}", f"a thirtieth of {rows:,} rows, from 8 to 64")
    if not given.steps:
        often = f"{LENGTH[fit.preset] * epochs(rows):.3g} times {rows:,} rows, 60 steps at least"
        yield Decision(
            "steps", f"{fit.steps:,}", often if fit.preset is Preset.GOOD else f"{preset}: {often}"
        )
    if not given.lr:
        yield Decision("lr", f"{fit.lr:.2g}", "4e-5 at a width of 768, in inverse proportion to the width")
    if not given.max_tokens and spec.has_texts:
        yield Decision("max_tokens", f"{fit.max_tokens}", "the longest training text, 512 at most")
    if not given.evaluate_every:
        yield Decision("evaluate_every", f"{fit.evaluate_every} steps", "twenty looks at the validation rows")
    if given.average is None and fit.average:
        yield Decision("average", f"{fit.average:g}", f"{preset}: weights of many steps are averaged")
    if given.folds is None and fit.folds:
        yield Decision("folds", f"{fit.folds}", f"{preset}: fewer than {SMALL} rows")
