"""The table of published results with ours beside them."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from xfm.config.benchmark import Edition
from xfm.reproduce.published import Protocol, Published, published_results

_METRICS = {
    "accuracy": "accuracy",
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
}
HEAD = (
    *("benchmark", "eval", "split", "metric", "X-FM 4M", "X-FM 1.3B", "best other"),
    *("ours, published rules", "ours, recommended"),
)
NOTHING = "-"
_HEAD_NOTE = "published: a head of five layers, not a linear one"
"""Why the published numbers cannot stand beside the literature's."""
_DETAILS = ("_contrast", "_rerank", "official_words", "bleu1", "bleu2", "bleu3")
"""Ends of metrics that are in the files and not in the table."""


@dataclass(frozen=True)
class TableLine:
    """A line of the table: one number, or several that are read together.

    Attributes:
        cells: in the order of `HEAD`.
        note: what to know about it.
    """

    cells: tuple[str, ...]
    note: str = ""


def table_lines(ours: Mapping[str, float], names: Sequence[str] = ()) -> list[TableLine]:
    """The lines of the table.

    Args:
        ours: our scores as fractions, by key `benchmark/protocol/edition/split/metric`.
        names: benchmarks to show; all if empty.
    """
    published = published_results()
    shown = [row for row in published if not names or row.benchmark in names]
    known = {(row.benchmark, row.protocol.value) for row in published}
    return [*(_line(rows, ours) for rows in _groups(shown)), *_unpublished(ours, known, names)]


def _unpublished(
    ours: Mapping[str, float], known: Set[tuple[str, str]], names: Sequence[str]
) -> Iterator[TableLine]:
    groups: dict[tuple[str, str, str], dict[str, dict[Edition, float]]] = {}
    for key, value in ours.items():
        benchmark, protocol, edition, split, metric = key.split("/")
        if (benchmark, protocol) not in known and (not names or benchmark in names):
            splits = groups.setdefault((benchmark, protocol, metric), {})
            splits.setdefault(split, {})[Edition(edition)] = value
    for (benchmark, protocol, metric), splits in groups.items():
        if not metric.endswith(_DETAILS):
            shown = _METRICS.get(metric, metric)
            numbers = (_ours([found.get(edition) for found in splits.values()]) for edition in Edition)
            yield TableLine((benchmark, protocol, " / ".join(splits), shown, *[NOTHING] * 3, *numbers))


def _groups(rows: Sequence[Published]) -> Iterator[list[Published]]:
    """Numbers that are read together: the splits of a benchmark, the recalls of a direction."""
    groups: dict[tuple[str, str, str], list[Published]] = {}
    for row in rows:
        groups.setdefault((row.benchmark, row.protocol.value, row.metric.split("_r")[0]), []).append(row)
    yield from groups.values()


def _line(rows: Sequence[Published], ours: Mapping[str, float]) -> TableLine:
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
        *(_ours([ours.get(row.key(edition)) for row in rows]) for edition in Edition),
    )
    other = _METRICS.get(first.recommended_metric, first.recommended_metric)
    notes = [first.note] if first.note else []
    if first.protocol is Protocol.LINEAR:
        notes.append(_HEAD_NOTE)
    if first.recommended_metric != first.metric:
        notes.append(f"recommended: {other}")
    return TableLine(cells, "; ".join(notes))


def _ours(values: Sequence[float | None]) -> str:
    return _numbers([None if value is None else 100 * value for value in values])


def _numbers(values: Sequence[float | None]) -> str:
    if all(value is None for value in values):
        return NOTHING
    return " / ".join(NOTHING if value is None else f"{value:.1f}" for value in values)


def as_text(lines: Sequence[TableLine]) -> str:
    """The table for a terminal; numbers in per cent."""
    rows = [HEAD, *(line.cells for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    notes = [""] + [f"  ({line.note})" if line.note else "" for line in lines]
    written = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + note
        for row, note in zip(rows, notes, strict=True)
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([written[0], rule, *written[1:]])


def as_markdown(lines: Sequence[TableLine]) -> str:
    """The table for a document; numbers in per cent."""
    head = f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}\n"
    rows = ["| " + " | ".join(_noted(line)) + " |\n" for line in lines]
    return head + "".join(rows)


def _noted(line: TableLine) -> tuple[str, ...]:
    name, *rest = line.cells
    return (f"{name} ({line.note})" if line.note else name, *rest)
