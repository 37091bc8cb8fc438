"""A fine-tuned model among simple baselines, and a sentence that says which to use."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.finetuning.baselines.features import LEAST_BUDGET, Material
from xfm.finetuning.baselines.strong import PROBE, BaselineResult, scored, strong_baselines
from xfm.finetuning.session import Session
from xfm.finetuning.split_scores import groups_of
from xfm.metrics.intervals import (
    FEWEST_DIFFERENT,
    differ,
    mean_interval,
    percentiles,
    resampled,
    resampled_means,
    resamples,
)
from xfm.metrics.numbers import points
from xfm.tasks.base import AnyTask

THIS_MODEL = "this model"


class SystemKind(StrEnum):
    """Kind of a system; only the first three can be used."""

    MODEL = "model"
    STRONG = "strong"
    CONSTANT = "constant"
    ABLATION = "ablation"
    CHANCE = "chance"


class Advice(StrEnum):
    """What a verdict says: use the model, a baseline, the simpler one of two equals, or that it is open."""

    MODEL = "model"
    BASELINE = "baseline"
    SIMPLER = "simpler"
    OPEN = "open"


@dataclass(frozen=True)
class Contender:
    """A system's primary metric with its 95 % interval, and its difference to the model on the same rows with
    its 95 % interval; `shown` if that excludes 0."""

    name: str
    sort: SystemKind
    value: float
    low: float | None = None
    high: float | None = None
    gain: float = 0.0
    gain_low: float | None = None
    gain_high: float | None = None
    shown: bool = False
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """Systems on a test split, the best first; `groups` are independent groups of rows (of one picture),
    `use` and `verdict` say which to use."""

    split: str
    metric: str
    n: int
    groups: int
    seed: int
    places: tuple[Contender, ...]
    missing: Mapping[str, str]
    use: Advice
    verdict: str

    @property
    def model(self) -> Contender:
        """The fine-tuned model's place."""
        return next(place for place in self.places if place.sort is SystemKind.MODEL)


System = tuple[str, SystemKind, BaselineResult]
"""What is to be placed: a name, a kind, and its results."""


def compare(
    run: Session,
    task: AnyTask,
    predictions: Mapping[str, list[Any]],
    single: Mapping[str, BaselineResult],
    seconds: float,
) -> tuple[dict[str, Leaderboard], dict[str, BaselineResult]]:
    """Place the model, strong baselines, the same training without one modality (`single`), constant guesses
    and chance on every split; the baselines' scores come along. Strong ones may take as long as the training
    (`seconds`), and what the time limit leaves."""
    tests, data, limit = run.tests, run.data, 60 * run.config.minutes
    strong: Mapping[str, BaselineResult] = {}
    missing: Mapping[str, str] = {"strong simple baselines": "switched off by --baseline false"}
    if not tests:
        return {}, {}
    if run.config.baseline:
        left = max(0.0, limit - (time.perf_counter() - run.began)) if limit else inf
        budget, without = min(max(LEAST_BUDGET, seconds), left), {PROBE} if run.probed else set[str]()
        material = Material(task, run.pretrained, run.pictures, data.train, data.valid, tests, budget)
        strong, missing = strong_baselines(material, run.progress, without, left)
    model = scored(task, tests, predictions, seconds)
    systems: list[System] = [
        (THIS_MODEL, SystemKind.MODEL, model),
        *((name, SystemKind.STRONG, found) for name, found in strong.items()),
        *((f"this fine-tuning, {name}", SystemKind.ABLATION, found) for name, found in single.items()),
    ]
    boards: dict[str, Leaderboard] = {}
    for name, rows in tests.items():
        own = [*systems]
        for constant, guessed in task.constants(rows).items():
            own.append((constant, SystemKind.CONSTANT, scored(task, {name: rows}, {name: guessed}, 0.0)))
        chance = task.chance(rows, task.settings.seed)
        if task.primary in chance:
            own.append(("chance", SystemKind.CHANCE, BaselineResult({name: chance}, {}, {})))
        boards[name] = leaderboard(task, name, rows, own, groups_of(task, rows), missing)
    return boards, {**single, **strong}


def leaderboard(
    task: AnyTask,
    split: str,
    rows: Sequence[Any],
    systems: Sequence[System],
    groups: NDArray[np.int64],
    missing: Mapping[str, str],
) -> Leaderboard:
    """Place systems (the model first), with paired differences to it over row groups [N]."""
    seed, primary = task.settings.seed, task.primary
    results = [found for _, _, found in systems]
    known = [
        place
        for place, one in enumerate(results)
        if one.per_row.get(split) is not None or one.predictions.get(split)
    ]
    samples = _samples(task, split, rows, [results[place] for place in known], groups)  # [B, S]
    model, places = results[0], []
    for number, (name, kind, found) in enumerate(systems):
        value = float(found.metrics[split][primary])
        gain = value - float(model.metrics[split][primary])
        more: dict[str, Any] = {"gain": gain, "seconds": found.seconds, "note": found.note}
        if number in known:
            own, per_row = samples[:, known.index(number)], found.per_row.get(split)
            ends = percentiles(value, own) if per_row is None else mean_interval(per_row, own, groups)
            paired = percentiles(gain, own - samples[:, 0])
            first, different = model.per_row.get(split), len(rows)
            if per_row is not None and first is not None:
                different = differ(per_row, first, groups)
            more |= {"low": ends.low, "high": ends.high, "gain_low": paired.low, "gain_high": paired.high}
            more["shown"] = (paired.low > 0 or paired.high < 0) and different >= FEWEST_DIFFERENT
        places.append(Contender(name, kind, value, **more))
    order = sorted(places, key=lambda place: (-place.value, place.sort is SystemKind.MODEL))
    size = int(groups.max()) + 1
    use, sentence = verdict(order, len(rows), split, missing)
    return Leaderboard(split, primary, len(rows), size, seed, tuple(order), missing, use, sentence)


def verdict(
    places: Sequence[Contender], n: int, split: str, missing: Mapping[str, str]
) -> tuple[Advice, str]:
    """Which of the systems, the best first, to use on `n` rows of a split, in a sentence."""
    where = f"on n={n:,} {split} rows"
    rivals = [place for place in places if place.sort in (SystemKind.STRONG, SystemKind.CONSTANT)]
    without = f" (without {'; '.join(f'{name}: {why}' for name, why in missing.items())})" if missing else ""
    if not rivals:
        use, sentence = Advice.OPEN, f"Nothing to compare the model with {where}{without}"
    elif all(place.sort is SystemKind.CONSTANT for place in rivals):
        best = rivals[0]
        differs = f"{_gain(-best.gain, best)} than" if best.shown else "not shown to differ from"
        said = f"this model is {differs} {best.name} {where}"
        use, sentence = Advice.OPEN, f"No strong simple baseline was run{without}: {said}"
    elif not (best := rivals[0]).shown:
        low, high = points(-(best.gain_high or 0.0)), points(-(best.gain_low or 0.0))
        between = f"this model {points(-best.gain)} points, 95 % {low} to {high}"
        if (best.gain_low or 0.0) > 0 or (best.gain_high or 0.0) < 0:
            between += f"; but fewer than {FEWEST_DIFFERENT} cases differ, which shows nothing"
        said = f"No difference shown {where} ({between})"
        use, sentence = Advice.SIMPLER, f"{said}: take the simpler one, {best.name}{without}"
    elif best.gain > 0:
        said = f"{_gain(best.gain, best)} than this model {where}{without}"
        use, sentence = Advice.BASELINE, f"Use {best.name}: {said}"
    else:
        better = f"{_gain(-best.gain, best)} than the best simple baseline, {best.name}"
        use, sentence = Advice.MODEL, f"Use this model: {better}, {where}{without}"
    chance = next((place for place in places if place.sort is SystemKind.CHANCE), None)
    usable = (SystemKind.MODEL, SystemKind.STRONG, SystemKind.CONSTANT)
    lows = [place.low for place in places if place.sort in usable and place.low is not None]
    if chance is not None and lows and max(lows) <= chance.value:
        sentence += f"; none of them is shown to be better than chance ({chance.value:.3g})"
    return use, sentence


def _gain(gain: float, place: Contender) -> str:
    ends = sorted(abs(end) for end in (place.gain_low or 0.0, place.gain_high or 0.0))
    word = "better" if gain >= 0 else "worse"
    return f"{100 * abs(gain):.1f} points {word} (95 % {100 * ends[0]:.1f} to {100 * ends[1]:.1f})"


def _samples(
    task: AnyTask,
    split: str,
    rows: Sequence[Any],
    systems: Sequence[BaselineResult],
    groups: NDArray[np.int64],
) -> NDArray[np.float64]:
    columns = [found.per_row.get(split) for found in systems]
    values = [column for column in columns if column is not None]
    if len(values) == len(columns):
        return resampled_means(np.stack(values, axis=1), groups, task.settings.seed)

    def metric(places: NDArray[np.int64]) -> list[float]:
        own = [rows[place] for place in places]
        return [
            task.metrics(own, [found.predictions[split][place] for place in places])[task.primary]
            for found in systems
        ]

    return resampled(metric, groups, resamples(len(rows)), task.settings.seed)
