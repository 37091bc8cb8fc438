"""A benchmark (files, reader, protocols, scorer), and the settings and results of an evaluation on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.config.benchmark import BenchmarkRecipe, Edition, benchmark_recipes
from xfm.data.skipped import SkippedRecords
from xfm.evaluation.benchmarks.published import Protocol
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.evaluation.benchmarks.scorers import Metrics
from xfm.reports.scores import Score
from xfm.tasks.scored import Scorer

Submit = Callable[[Path, str, Sequence[Any], Sequence[Any]], Path]
"""Folder, split, rows and predictions -> the file for the benchmark's server."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        kind: the task that it is fine-tuned as.
        marker: the file or folder below the data folder that shows that it is there.
        layout: which files belong where below the data folder, for people.
        score: metrics of predictions; None for retrieval, which is ranked.
        summary: further splits computed from the others, such as MNLI's mean.
        submit: writes the file for the benchmark's server; None where there is no server.
        submits_all: also for splits with answers, because the official scorer reads that format.
        templates: prompts of zero-shot classification, see `xfm.evaluation.probing.prompt_templates`.
        names: class names for prompts, from the data folder; None where the file of names is missing.
        score_guesses: metrics of random guesses, where `score` is too slow for them.
        published: rows as X-FM's code splits them, where these differ from `read`.
    """

    name: str
    kind: str
    marker: Callable[[Path], Path | None]
    layout: str
    read: Callable[[Path], Corpus[Any]]
    score: Scorer | None = None
    protocols: tuple[Protocol, ...] = (Protocol.FINE_TUNED,)
    summary: Callable[[Mapping[str, Metrics]], dict[str, Metrics]] = lambda splits: {}
    submit: Submit | None = None
    submits_all: bool = False
    templates: str = "general"
    names: Callable[[Path], Mapping[str, str] | None] = lambda data: {}
    score_guesses: Scorer | None = None
    published: Callable[[Path], Corpus[Any]] | None = None

    def rows(self, data: Path, edition: Edition) -> Corpus[Any]:
        """Its rows as an edition splits them."""
        read = self.published if edition is Edition.PUBLISHED and self.published else self.read
        return read(data)

    def editions(self, protocol: Protocol) -> tuple[Edition, ...]:
        """Editions of a protocol; X-FM's code ranks without training, and has no prompts."""
        if protocol is Protocol.ZERO_SHOT:
            return (Edition.PUBLISHED,) if self.score is None else (Edition.RECOMMENDED,)
        has = recipe_of(self.name, protocol) in benchmark_recipes(Edition.PUBLISHED)
        return (Edition.PUBLISHED, Edition.RECOMMENDED) if has else (Edition.RECOMMENDED,)

    def is_there(self, data: Path) -> bool:
        """Whether the data folder holds its files."""
        return self.marker(data) is not None


def recipe_of(name: str, protocol: Protocol) -> str:
    """Name of the recipe of a benchmark."""
    return f"{name}-linear" if protocol is Protocol.LINEAR else name


def at(place: str) -> Callable[[Path], Path | None]:
    """Marker of a file or folder below the data folder."""
    return lambda data: data / place if (data / place).exists() else None


RUN = "run"
"""Folder of a fine-tuning or of an evaluation on frozen features, inside the benchmark's."""


@dataclass
class JobResult:
    """Metrics, floors and number of rows by split, files for the server, and details for `details.json`."""

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
class JobSetting:
    """Model (folder or published file), data folder, output folder and recipe of an evaluation.

    `left_out` collects rows with unreadable pictures, except those of the training split.
    """

    model: str
    data: Path
    folder: Path
    recipe: BenchmarkRecipe
    smoke: bool = False
    device: str = "auto"
    progress: bool = True
    left_out: SkippedRecords = field(default_factory=SkippedRecords)
