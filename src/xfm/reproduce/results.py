"""Scores that `xfm reproduce` has written. Nothing here imports torch, so that the table comes at once."""

from pathlib import Path

from xfm.evaluation.scores import Score, read_scores
from xfm.reproduce.published import published_results

OFFICIAL = "official.json"
"""A benchmark's scores, in a folder `BENCHMARK/PROTOCOL`."""


def read_all(out: Path) -> dict[str, Score]:
    """All scores in a folder of `xfm reproduce`: the published benchmarks first; empty where there is none.

    Raises:
        UserError: a file is damaged.
    """
    names = list(dict.fromkeys(row.benchmark for row in published_results()))
    places = {name: place for place, name in enumerate(names)}
    paths = sorted(out.glob(f"*/*/{OFFICIAL}"))
    paths.sort(key=lambda path: places.get(path.parts[-3], len(places)))
    found: dict[str, Score] = {}
    for path in paths:
        found |= read_scores(path)
    return found
