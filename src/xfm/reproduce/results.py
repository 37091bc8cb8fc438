"""Scores that `xfm reproduce` has written. Nothing here imports torch, so that the table comes at once."""

import json
from pathlib import Path

from xfm.errors import amount
from xfm.files import read_text
from xfm.reports.scores import Score, read_scores
from xfm.reproduce.published import published_results

OFFICIAL = "official.json"
"""A benchmark's scores, in a folder `BENCHMARK/PROTOCOL/EDITION`."""
DETAILS, LEFT_OUT = "details.json", "left_out"
"""What was run for a benchmark, beside its scores, and where it says which rows they miss."""


def read_all(out: Path) -> dict[str, Score]:
    """All scores in a folder of `xfm reproduce`: the published benchmarks first; empty where there is none.

    Raises:
        UserError: a file is damaged.
    """
    names = list(dict.fromkeys(row.benchmark for row in published_results()))
    places = {name: place for place, name in enumerate(names)}
    paths = sorted(out.glob(f"*/*/*/{OFFICIAL}"))
    paths.sort(key=lambda path: places.get(path.parts[-4], len(places)))
    found: dict[str, Score] = {}
    for path in paths:
        found |= read_scores(path)
    return found


def left_out_notes(out: Path) -> list[str]:
    """A sentence for each evaluation whose scores are not of all rows, because pictures could not be read."""
    notes: list[str] = []
    for path in sorted(out.glob(f"*/*/*/{DETAILS}")):
        try:
            missing = json.loads(read_text(path))[LEFT_OUT]["by_split"]
            rows = ", ".join(f"{amount(count, 'row')} of {split}" for split, count in missing.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if rows:
            name = "/".join(path.parts[-4:-1])
            notes.append(f"{name} is without {rows}, whose pictures cannot be read: see {path}")
    return notes
