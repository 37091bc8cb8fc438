"""Scores: a value beside chance and a baseline; how they are found and stored."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.plain import first_difference, to_plain
from xfm.config.typed import build
from xfm.core.errors import UserError, explained
from xfm.core.files import read_json_or_nothing as read_object
from xfm.core.files import read_text, reading, write_text, writing
from xfm.core.results_folder import DETAILS as DETAILS
from xfm.core.results_folder import free_name
from xfm.metrics.intervals import Interval, bootstrap

HELD_OUT = ("combinations", "objects")
"""Retrieval splits with what no training picture shows."""
SPLITS_RETRIEVAL = ("seen", *HELD_OUT)
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
    """A value beside what it has to beat; every command means the same by these.

    Attributes:
        value: in [0, 1]; a difference in [-1, 1].
        chance: expected value of random guesses: classes, answers and tokens drawn uniformly, boxes and
            captions from the training rows, random orders. 0 for a difference, None where nothing can be
            guessed.
        baseline: the best that does not understand its input: constant guesses, the same training without one
            modality, shallow methods (raw pixels, TF-IDF), an oracle of nouns. None where nothing was tried.
        n: test cases.
        low, high: 95 % interval, see `xfm.metrics.intervals.bootstrap`; None without one.
        scratch: the same fine-tuning of a random initialisation; None where that was not run.
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


def write_json(path: Path, content: object) -> None:
    """Write JSON as `write_output` writes text."""
    write_output(path, as_json(content))


def as_json(content: object) -> str:
    """JSON as it lies in files."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_output(path: Path, text: str) -> None:
    """Write a file atomically; UserError where it cannot be written."""
    with writing(path, "or choose another folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def write_scores(path: Path, scores: Mapping[str, Score]) -> None:
    """Write `metrics.json`: a flat object, key `task/split/metric`, value a `Score` as an object."""
    write_json(path, {key: asdict(score) for key, score in scores.items()})


def read_scores(path: Path) -> dict[str, Score]:
    """Read `metrics.json`; UserError where it is missing or of another kind."""
    flaw, remedy = f"{path} is not a metrics file", "run `xfm evaluate` again"
    with reading(path, "run `xfm evaluate`"), explained(flaw, remedy, ValueError, TypeError, AttributeError):
        content: dict[str, dict[str, Any]] = json.loads(read_text(path))
        return {key: Score(**fields) for key, fields in content.items()}


OWN = "model"
"""The evaluated model among the baselines of a probe."""


@dataclass
class PartResult:
    """Result of a part of an evaluation; the runner fills in `seconds` and `left_out`.

    Attributes:
        baselines: every baseline of a key by name; the best is the score's `baseline`.
        examples: for the report, plain JSON values by name.
        curves: training losses of fine-tunings by name, one value a step.
        tunings: `steps`, planned steps (`of`) and `seconds` of each fine-tuning.
        probes: features and penalty chosen for the model (`OWN`) and each baseline.
        calibration: of the matching head (`MatchCalibration` as plain values), or empty.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    tunings: dict[str, dict[str, Any]] = field(default_factory=dict)
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
        chance, floors = None if chance is None else float(chance), (baselines or {}).values()
        best = max(map(float, floors), default=None)
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
        """Record the mean of [N] rows in groups, see `bootstrap`."""
        self.add(key, bootstrap(rows, groups, seed), chance, len(rows), seed, baselines)


METRICS, PARTS_FOLDER = "metrics.json", "parts"
MAY_CHANGE = frozenset({"parts", "batch_size", "processes", "device", "max_bad", "keep_models"})
"""Settings of an evaluation on which its results do not depend."""


def parts_to_keep(out: Path, config: EvaluationConfig) -> list[Part]:
    """Finished parts of the same evaluation in `out`; UserError where its settings differ."""
    try:
        details = read_object(out / DETAILS)
        old, parts = dict(details["config"]), [Part(name) for name in details["seconds"]]
    except (ValueError, KeyError, TypeError):
        return []
    if difference := first_difference(old, to_plain(config), MAY_CHANGE):
        name, before, now = difference
        raise UserError(
            f"{out} holds an evaluation with {name} {before}, this one has {now}: "
            f"give another folder, such as --out {free_name(out)}"
        )
    return parts


def read_part(path: Path, key: str | None = None) -> PartResult | None:
    """A part's stored result; None if missing, damaged or of another fingerprint (`key` None: any)."""
    content = read_object(path)
    mark = content.pop("fingerprint", None)
    try:
        return build(PartResult, content) if mark is not None and key in (mark, None) else None
    except UserError:
        return None
