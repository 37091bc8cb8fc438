"""What an evaluation of a benchmark is given, and what it finds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.config.benchmark import BenchmarkRecipe
from xfm.data.left_out import LeftOut
from xfm.data.picture_check import Looked
from xfm.reports.scores import Score
from xfm.reproduce.score.rules import Metrics

RUN = "run"
"""Folder of a fine-tuning or of an evaluation on frozen features, inside the benchmark's."""


@dataclass
class Found:
    """What an evaluation found.

    Attributes:
        splits: metrics by split.
        chance, baseline: what random and constant guesses score, by split; see `Score`.
        rows: test cases by split.
        submissions: files for the benchmark's server.
        details: what else is worth knowing.
    """

    splits: dict[str, Metrics] = field(default_factory=dict)
    chance: dict[str, Metrics] = field(default_factory=dict)
    baseline: dict[str, Metrics] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    submissions: list[Path] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def scores(self, prefix: str, seed: int) -> dict[str, Score]:
        """The metrics under `PREFIX/SPLIT/METRIC`."""
        return {
            f"{prefix}/{split}/{name}": Score(
                value,
                self.chance.get(split, {}).get(name),
                self.baseline.get(split, {}).get(name),
                self.rows.get(split, 0),
                seed,
            )
            for split, metrics in self.splits.items()
            for name, value in metrics.items()
        }


@dataclass(frozen=True)
class Setting:
    """What every evaluation needs.

    Attributes:
        model: folder of the model, or a published file.
        data: the data folder.
        folder: where the evaluation may write.
        recipe: settings; of the small version already, if that is wanted.
        smoke: the small version.
        device: auto takes the GPU where there is one.
        progress: show bars.
        left_out: told of the rows whose pictures cannot be read, the training's of a fine-tuning excepted.
        looked: what is known of the pictures of all rows before any is decoded.
    """

    model: str
    data: Path
    folder: Path
    recipe: BenchmarkRecipe
    smoke: bool = False
    device: str = "auto"
    progress: bool = True
    left_out: LeftOut = field(default_factory=LeftOut)
    looked: Looked = field(default_factory=Looked)
