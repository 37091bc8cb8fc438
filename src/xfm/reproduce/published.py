"""The published results of X-FM base (arXiv 2301.05065), as data of the package."""

import csv
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from xfm.config.benchmark import Edition


class Protocol(StrEnum):
    """How a model is evaluated: fine-tuned, by a head on the frozen encoder, or as it is."""

    FINE_TUNED = "FT"
    LINEAR = "LE"
    ZERO_SHOT = "ZS"


@dataclass(frozen=True)
class Published:
    """One published number, in per cent.

    Attributes:
        benchmark: name of the benchmark.
        protocol: how the model was evaluated.
        split: the split.
        metric: the metric, by the name that our scores have.
        recommended_metric: what the field reports there today.
        xfm_4m, xfm_13b: X-FM base pre-trained on 4 million and on 1.3 billion pairs; None where not
            published.
        other: the best other model of base size that the paper quotes.
        other_model: which model that is.
        note: what to know about the number.
    """

    benchmark: str
    protocol: Protocol
    split: str
    metric: str
    recommended_metric: str
    xfm_4m: float | None
    xfm_13b: float | None
    other: float | None
    other_model: str
    note: str

    def key(self, edition: Edition = Edition.PUBLISHED) -> str:
        """The key of our score of the same kind: `benchmark/protocol/edition/split/metric`."""
        metric = self.metric if edition is Edition.PUBLISHED else self.recommended_metric
        return f"{self.benchmark}/{self.protocol.value}/{edition.value}/{self.split}/{metric}"


def published_results() -> list[Published]:
    """All published numbers, in the order of the paper's tables."""
    text = (resources.files("xfm.reproduce") / "published.csv").read_text(encoding="utf-8")
    return [
        Published(
            row["benchmark"],
            Protocol(row["evaluation"]),
            row["split"],
            row["metric"],
            row["recommended_metric"] or row["metric"],
            _number(row["xfm_4m"]),
            _number(row["xfm_13b"]),
            _number(row["other"]),
            row["other_model"],
            row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    ]


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
