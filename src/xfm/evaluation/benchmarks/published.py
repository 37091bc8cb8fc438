"""The published results of X-FM base (arXiv 2301.05065), ours, and the table of both. Nothing here imports
torch, so that the table comes at once."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

from xfm.config.benchmark import Edition
from xfm.core.errors import amount
from xfm.core.files import read_json_or_nothing
from xfm.reports.scores import Score, read_scores


class Protocol(StrEnum):
    """How a model is evaluated: fine-tuned, by a head on the frozen encoder, or as it is."""

    FINE_TUNED = "FT"
    LINEAR = "LE"
    ZERO_SHOT = "ZS"


@dataclass(frozen=True)
class PublishedResult:
    """A published number in per cent: X-FM base of 4 M and of 1.3 B pairs, and another model, the best one in
    X-FM's paper or one of the benchmark's. `metric` is the name in our scores, `recommended_metric` the one
    that the field reports today."""

    benchmark: str
    protocol: Protocol
    split: str
    metric: str
    recommended_metric: str
    xfm_4m: float | None = None
    xfm_13b: float | None = None
    other: float | None = None
    other_model: str = ""
    note: str = ""

    def key(self, edition: Edition = Edition.PUBLISHED) -> str:
        """Key of our score: `benchmark/protocol/edition/split/metric`."""
        metric = self.metric if edition is Edition.PUBLISHED else self.recommended_metric
        return f"{self.benchmark}/{self.protocol.value}/{edition.value}/{self.split}/{metric}"


def published_results() -> list[PublishedResult]:
    """All published numbers, in the order of the paper's tables."""
    text = (resources.files("xfm.evaluation.benchmarks") / "published.csv").read_text(encoding="utf-8")
    _, *rows = csv.reader(text.splitlines())
    found: list[PublishedResult] = []
    for name, protocol, split, metric, recommended, *cells, model, note in rows:
        small, large, other = (float(cell) if cell else None for cell in cells)
        metrics, numbers = (metric, recommended or metric), (small, large, other)
        found.append(PublishedResult(name, Protocol(protocol), split, *metrics, *numbers, model, note))
    return found


OFFICIAL = "official.json"
"""A benchmark's scores, in a folder `BENCHMARK/PROTOCOL/EDITION`."""
DETAILS, LEFT_OUT = "details.json", "left_out"
"""What was run for a benchmark, beside its scores, and where it says which rows they miss."""


def read_all(out: Path) -> dict[str, Score]:
    """All scores in a folder of `xfm reproduce`; empty where there are none."""
    found: dict[str, Score] = {}
    for path in sorted(out.glob(f"*/*/*/{OFFICIAL}")):
        found |= read_scores(path)
    return found


def left_out_notes(out: Path) -> list[str]:
    """A sentence for each evaluation that left out rows with unreadable pictures."""
    notes: list[str] = []
    for path in sorted(out.glob(f"*/*/*/{DETAILS}")):
        left_out = read_json_or_nothing(path).get(LEFT_OUT)
        missing = left_out.get("by_split") if isinstance(left_out, dict) else None
        if isinstance(missing, dict) and missing:
            rows = ", ".join(f"{amount(count, 'row')} of {split}" for split, count in missing.items())
            name = "/".join(path.parts[-4:-1])
            notes.append(f"{name} is without {rows}, whose pictures cannot be read: see {path}")
    return notes


_METRICS = {
    "mcc": "MCC",
    "accuracy_f1": "acc / F1 mean",
    "pearson": "Pearson",
    "mean_per_class": "mean per class",
    "top5": "top 5",
    "acc50": "accuracy at IoU 0.5",
    "mean_iou": "mean IoU",
    "cider_d": "CIDEr-D",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "auroc": "AUROC",
    "text_r1": "text R@1 / 5 / 10",
    "image_r1": "image R@1 / 5 / 10",
    **{name: f"{name} score" for name in ("text", "image", "group")},
    **{f"{name}_contrast": f"{name} score, by contrast" for name in ("text", "image", "group")},
    "accuracy_contrast": "accuracy, by contrast",
    "mean_per_class_contrast": "mean per class, by contrast",
}
HEAD = (
    *("benchmark", "eval", "split", "metric", "X-FM 4M", "X-FM 1.3B", "other"),
    *("ours, published rules", "ours, recommended"),
)
_DETAILS = ("_contrast", "_rerank", "official_words", "bleu1", "bleu2", "bleu3")
"""Ends of metrics that are in the files and not in the table."""

TableLine = tuple[str, ...]
"""A line of the table, cells in the order of `HEAD` (one number, or several that are read together), then a
note."""


def table_lines(ours: Mapping[str, float], names: Sequence[str] = ()) -> list[TableLine]:
    """Lines of the table of the named benchmarks (all if empty), with our scores as fractions by key; those
    that were not published come last."""
    rows = published_results()
    known = {(row.benchmark, row.protocol.value) for row in rows}
    for key in ours:
        benchmark, protocol, _, split, metric = key.split("/")
        if (benchmark, protocol) not in known and not metric.endswith(_DETAILS):
            rows.append(PublishedResult(benchmark, Protocol(protocol), split, metric, metric))
    groups: dict[tuple[str, str, str], list[PublishedResult]] = {}
    for row in dict.fromkeys(rows):  # both editions have the same
        if not names or row.benchmark in names:
            read_together = re.split(r"_r\d", row.metric)[0]
            groups.setdefault((row.benchmark, row.protocol.value, read_together), []).append(row)
    return [_line(rows, ours) for rows in groups.values()]


def _line(rows: Sequence[PublishedResult], ours: Mapping[str, float]) -> TableLine:
    first = rows[0]
    splits = " / ".join(dict.fromkeys(row.split for row in rows))
    cells = (
        first.benchmark,
        first.protocol.value,
        splits,
        _METRICS.get(first.metric, first.metric),
        _numbers([row.xfm_4m for row in rows]),
        _numbers([row.xfm_13b for row in rows]),
        f"{first.other_model} {_numbers([row.other for row in rows])}".strip(),
        *(_numbers([ours.get(row.key(edition)) for row in rows], 100) for edition in Edition),
    )
    other = _METRICS.get(first.recommended_metric, first.recommended_metric)
    notes = [first.note] if first.note else []
    if first.protocol is Protocol.LINEAR and first.xfm_13b is not None:
        notes.append("published: a head of five layers, not a linear one; the epoch best on the test rows")
    if first.recommended_metric != first.metric:
        notes.append(f"recommended: {other}")
    return *cells, "; ".join(notes)


def _numbers(values: Sequence[float | None], factor: float = 1.0) -> str:
    if all(value is None for value in values):
        return "-"
    return " / ".join("-" if value is None else f"{factor * value:.1f}" for value in values)


def as_markdown(lines: Sequence[TableLine]) -> str:
    """The table in per cent, aligned, for a document and a terminal; notes come last."""
    rows = [(*HEAD, "notes"), *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rule = ["-" * width for width in (*widths, 3)]
    written = [map(str.ljust, row, (*widths, 0)) for row in (rows[0], rule, *rows[1:])]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in written)
