"""What a benchmark is: where its official files belong, how they are read, and how predictions are scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfm.config.benchmark import Edition, benchmark_recipes
from xfm.reproduce.published import Protocol
from xfm.reproduce.read.corpus import Corpus
from xfm.reproduce.score.rules import Metrics
from xfm.tasks.scored import Scorer

Submit = Callable[[Path, str, Sequence[Any], Sequence[Any]], Path]
"""Folder, split, rows and predictions -> the file for the benchmark's server."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: its name on the command line.
        kind: the task that it is fine-tuned as.
        marker: file or folder below the data folder by which it is known to be there.
        layout: what belongs where below the data folder, for people.
        read: its rows from the data folder.
        score: metrics of predictions; None for those of pictures and texts that are ranked together.
        protocols: how models are evaluated on it.
        summary: further splits made of the others, such as MNLI's mean.
        submit: writes the file for its server; None where there is no server.
        submits_all: the file has the form that the official scorer reads, so that it is written for the
            splits with answers too.
        templates: prompts of zero-shot classification, see `xfm.frozen.prompt_templates`.
        names: what classes are called in prompts, from the data folder; None where their names are missing.
        score_guesses: metrics of random guesses, where `score` is too slow for them.
        published: its rows as X-FM's code splits them, where they are others than those of `read`.
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
        """In which editions it can be evaluated so.

        X-FM's code ranks pictures and texts without training, and classifies none by prompts.
        """
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
    """The marker of a file or folder below the data folder."""
    return lambda data: data / place if (data / place).exists() else None
