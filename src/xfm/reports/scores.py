"""Scores: a value beside chance and a baseline; how they are found and stored."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.core.errors import UserError
from xfm.core.files import read_text, write_text
from xfm.metrics.intervals import Interval, bootstrap

SPLITS_RETRIEVAL = ("seen", "combinations", "objects")
SPLITS = ("seen", "combinations")
REQUIRED_KEYS: tuple[str, ...] = (
    *(
        f"retrieval/{split}/{direction}_r1{rerank}"
        for split in SPLITS_RETRIEVAL
        for direction in ("text", "image")
        for rerank in ("", "_rerank")
    ),
    "retrieval/hard/text_r1",
    *(f"grounding/{split}/acc50" for split in SPLITS),
    *(f"vqa/{split}/accuracy" for split in SPLITS),
    *(f"reasoning/{split}/accuracy" for split in SPLITS),
    "entailment/test/accuracy",
    "paraphrase/test/accuracy",
    "category/test/probe_accuracy",
    "category/test/knn_accuracy",
    "digits/test/probe_accuracy",
    "matching/test/calibration_error",
    "absence/test/phrase_auroc",
    "absence/test/gallery_auroc",
    *(f"masked_token/test/accuracy_{given}" for given in ("right_image", "wrong_image", "no_image")),
)
"""Keys that every complete `metrics.json` holds."""


@dataclass(frozen=True)
class Score:
    """One number of an evaluation, beside what it has to beat; every command means the same by these.

    Attributes:
        value: the model's score, a fraction from 0 to 1 (differences from -1 to 1).
        chance: what guessing at random scores. Classes, answers and tokens are drawn uniformly from all that
            may be given, boxes and captions from those of the training rows, and a retrieval's order is
            random; exact where a formula is known, else the mean of some guesses. It is 0 for a difference.
            None where nothing can be guessed.
        baseline: the best of all that was tried and does not understand what it is given: constant guesses
            (the most frequent class or answer of the training rows, one box for all; of the scored rows
            where there are no others), the same training without one modality, shallow methods such as raw
            pixels or TF-IDF. None where nothing was tried.
        n: number of test cases.
        seed: seed of everything random behind the number.
        low, high: 95 % interval of the value, see `xfm.metrics.intervals.bootstrap`; None where there is
            none, as in files of earlier versions.
        scratch: what the same fine-tuning makes of a randomly initialised model of the same size: the value
            minus this is what pre-training gave. None where nothing is fine-tuned, or that was not run.
    """

    value: float
    chance: float | None
    baseline: float | None
    n: int
    seed: int
    low: float | None = None
    high: float | None = None
    scratch: float | None = None


def floors_of(metric: str, found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """A metric of all baselines that have it, by their names."""
    return {name: metrics[metric] for name, metrics in found.items() if metric in metrics}


def best_of(floors: Mapping[str, float]) -> float | None:
    """The baseline of a score: the best of those that were tried, None where none was."""
    return max(map(float, floors.values()), default=None)


def write_json(path: Path, content: object) -> None:
    """Write JSON as `write_output` writes text."""
    write_output(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_output(path: Path, text: str) -> None:
    """Write a file so that `path` always holds either the old or the new content, never half of it.

    Raises:
        UserError: the file cannot be written (disk full, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error


def write_scores(path: Path, scores: Mapping[str, Score]) -> None:
    """Write `metrics.json`: a flat object, key `task/split/metric`, value a `Score` as an object."""
    write_json(path, {key: asdict(score) for key, score in scores.items()})


def read_scores(path: Path) -> dict[str, Score]:
    """Read `metrics.json`.

    Raises:
        UserError: the file is missing or is not a metrics file.
    """
    try:
        content: dict[str, dict[str, Any]] = json.loads(read_text(path))
        return {key: Score(**fields) for key, fields in content.items()}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; run `xfm evaluate` first") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a metrics file ({error}); run `xfm evaluate` again") from error


OWN = "model"
"""The evaluated model among the baselines of a probe."""


@dataclass
class PartResult:
    """What a part of an evaluation found.

    Attributes:
        scores: by key `task/split/metric`.
        baselines: for a key, every baseline by name; the best of them is the score's `baseline`.
        examples: cases for the report by name, as plain JSON values (see `examples`).
        curves: training losses of fine-tunings by name, one value a step.
        tunings: of each of them the `steps` made, how many a whole evaluation makes (`of`), and `seconds`.
        probes: of each linear probe, what the training rows chose for the model (`OWN`) and each baseline.
        calibration: of the matching head (`MatchCalibration` as plain values); empty where none was fitted.
        seconds: wall-clock time, filled in by the runner.
        left_out: rows whose pictures could not be read (`LeftOut.plain`), filled in by the runner.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    tunings: dict[str, dict[str, float]] = field(default_factory=dict)
    probes: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    left_out: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        key: str,
        found: Interval | float,
        chance: float | None,
        n: int,
        seed: int,
        baselines: dict[str, float] | None = None,
        scratch: float | None = None,
    ) -> None:
        """Record a score; the best of the named baselines becomes its baseline."""
        chance, best = None if chance is None else float(chance), best_of(baselines or {})
        value, low, high = (
            (found.value, found.low, found.high) if isinstance(found, Interval) else (found, None, None)
        )
        self.scores[key] = Score(float(value), chance, best, n, seed, low, high, scratch)
        if baselines:
            self.baselines[key] = {name: float(number) for name, number in baselines.items()}

    def add_rows(
        self,
        key: str,
        rows: NDArray[np.float64],
        groups: NDArray[np.int64],
        chance: float | None,
        seed: int,
        baselines: dict[str, float] | None = None,
    ) -> None:
        """Record the mean of [N] rows, of which those of a group are not independent, see `bootstrap`."""
        self.add(key, bootstrap(rows, groups, seed), chance, len(rows), seed, baselines)
