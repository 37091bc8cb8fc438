"""Running benchmarks: one folder each, skipped when finished, resumed when not."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfm.config.benchmark import BenchmarkRecipe
from xfm.config.plain import to_plain
from xfm.evaluation.scores import Score, read_scores, write_json, write_scores
from xfm.reproduce.benchmarks import Benchmark
from xfm.reproduce.evaluate import evaluate_fine_tuned, evaluate_linear, evaluate_zero_shot
from xfm.reproduce.published import Protocol, score_key

OFFICIAL, DETAILS, SUBMISSIONS = "official.json", "details.json", "submissions"
"""Files of a finished benchmark; the scores are written last."""


@dataclass(frozen=True)
class Job:
    """One evaluation of a model on a benchmark.

    Attributes:
        benchmark: what to run.
        protocol: how.
        recipe: settings of a fine-tuning.
        smoke: the small version.
    """

    benchmark: Benchmark
    protocol: Protocol
    recipe: BenchmarkRecipe
    smoke: bool = False

    def folder(self, out: Path) -> Path:
        """Where its results go."""
        return out / self.benchmark.name / self.protocol.value.lower()
