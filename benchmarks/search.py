"""How fast and how complete searches of many vectors are, through the stores that collections lie in.

    python -m benchmarks.search --rows 1000000 --width 256 --backends lance,postgres --csv FILE

The vectors are synthetic. A point has 48 hidden coordinates: a centre, one of rows / 200, which lies around
one of 40 themes, and its own deviation from that, as large as the centre's from its theme. A random map
takes them to `--width` coordinates, noise of a tenth of their length is added, and the length made one. So
neighbours are real, clusters overlap, and have from a few to some thousands of points. Queries are fresh
draws of the same kind. The truth is a product with every vector. A hundredth of the rows pass the condition
of the filtered searches. Pictures are empty: rows of a collection have some ten kilobytes more, which
searches do not read.

Latencies are of single searches in this process, one after the other, after one of each kind. PostgreSQL is
found as by the tests: XFM_TEST_POSTGRES, or build/services.env, which `make services` writes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.results import ROOT, add_outputs, write_outputs
from numpy.typing import NDArray

from xfm.search.filters import Condition, Kind, Relation
from xfm.search.store import IndexedImage, Row

HIDDEN, THEMES, PER_CENTRE, BLOCK = 48, 40, 200, 10_000
PASSING = 100
"""One row in so many passes the condition."""
TABLE = "benchmark_search"
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Points:
    """Where synthetic vectors come from; the same rows for the same numbers.

    Attributes:
        rows: how many.
        width: E.
        seed: of all that is drawn.
    """

    rows: int
    width: int
    seed: int = 0

    def blocks(self) -> Iterator[Vectors]:
        """All of them, [BLOCK, E] at a time."""
        for start in range(0, self.rows, BLOCK):
            yield self._drawn(min(BLOCK, self.rows - start), start + 1)

    def queries(self, count: int) -> Vectors:
        """[N, E] others of the same kind."""
        return self._drawn(count, 0)

    def _drawn(self, count: int, number: int) -> Vectors:
        shared = np.random.default_rng([self.seed, 0])
        centres = max(1, self.rows // PER_CENTRE)
        themes = shared.standard_normal((THEMES, HIDDEN))
        of_theme = shared.integers(THEMES, size=centres)
        middle = themes[of_theme] + 0.7 * shared.standard_normal((centres, HIDDEN))
        weights = shared.pareto(1.5, centres) + 0.1
        spread = shared.standard_normal((HIDDEN, self.width)) / np.sqrt(self.width)
        rng = np.random.default_rng([self.seed, 1, number])
        own = rng.choice(centres, size=count, p=weights / weights.sum())
        hidden = middle[own] + 0.7 * rng.standard_normal((count, HIDDEN))
        found = hidden @ spread
        length = np.linalg.norm(found, axis=1, keepdims=True) / np.sqrt(self.width)
        found += 0.1 * length * rng.standard_normal(found.shape)
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def exact(points: Points, queries: Vectors, count: int) -> tuple[list[set[str]], list[set[str]]]:
    """The keys of the nearest of all rows, and of those that pass, by a product with every vector."""
    best = [np.full((len(queries), 0), 0.0, np.float32) for _ in range(2)]
    keys = [np.full((len(queries), 0), 0) for _ in range(2)]
    for number, block in enumerate(points.blocks()):
        rows = np.arange(len(block)) + number * BLOCK
        for kind, own in enumerate((rows >= 0, rows % PASSING == 0)):
            near = queries @ block[own].T
            best[kind] = np.concatenate([best[kind], near], axis=1)
            keys[kind] = np.concatenate([keys[kind], np.tile(rows[own], (len(queries), 1))], axis=1)
            order = np.argpartition(-best[kind], count - 1, axis=1)[:, :count]
            best[kind], keys[kind] = (np.take_along_axis(a, order, 1) for a in (best[kind], keys[kind]))
    plain, passing = ([{f"p{row}" for row in own} for own in found.tolist()] for found in keys)
    return plain, passing


def filled(store: Any, points: Points) -> tuple[float, float]:
    """Put all points in; seconds of that, and of what makes searches fast."""
    store.require({"part": Kind.NUMBER})
    adding, began = 0.0, time.perf_counter()
    for number, block in enumerate(points.blocks()):
        rows = [
            Row(IndexedImage(f"p{row}", "", 1, 1, b"", {"part": float(row % PASSING)}), vector)
            for row, vector in enumerate(block, start=number * BLOCK)
        ]
        start = time.perf_counter()
        store.add(rows, replacing=False)
        adding += time.perf_counter() - start
        if time.perf_counter() - began > 30:
            print(f"  {(number + 1) * BLOCK:,} rows", flush=True)
            began = time.perf_counter()
    began = time.perf_counter()
    store.compact()
    return adding, time.perf_counter() - began


def asked(store: Any, queries: Vectors, truth: list[set[str]], where: list[Condition]) -> dict[str, float]:
    """Recall and latency of single searches."""
    count, times, right, fewest = len(truth[0]), list[float](), 0, 10**9
    store.nearest(queries[0], count, where)
    for query, own in zip(queries, truth, strict=True):
        began = time.perf_counter()
        found = store.nearest(query, count, where)
        times.append(1000 * (time.perf_counter() - began))
        right += len({one.entry.key for one in found} & own)
        fewest = min(fewest, len(found))
    tenth, middle, late = np.quantile(times, (0.1, 0.5, 0.95)).round(2).tolist()
    recall = round(right / count / len(queries), 4)
    return {"recall": recall, "fewest": fewest, "p10_ms": tenth, "median_ms": middle, "p95_ms": late}


def opened(backend: str, folder: Path, width: int) -> Any:
    """An empty store."""
    if backend == "lance":
        from xfm.search.lance import LanceStore

        return LanceStore(folder / "lance", width)
    from xfm.search.postgres import PostgresStore

    told = ROOT / "build" / "services.env"
    lines = told.read_text().splitlines() if told.exists() else []
    address = (dict(line.split("=", 1) for line in lines) | dict(os.environ))["XFM_TEST_POSTGRES"]
    PostgresStore(address, TABLE, width).drop()
    return PostgresStore(address, TABLE, width)


def measured(
    backend: str, points: Points, truths: tuple[list[set[str]], list[set[str]]], queries: Vectors
) -> list[dict[str, Any]]:
    """A row for each kind of search of one backend."""
    with tempfile.TemporaryDirectory(prefix="xfm-search-") as folder:
        store = opened(backend, Path(folder), points.width)
        try:
            adding, building = (round(one, 1) for one in filled(store, points))
            print(f"{backend}: added in {adding:.0f} s, made compact in {building:.0f} s", flush=True)
            about = {"store": backend, "vectors": points.rows, "width": points.width, "adding_s": adding}
            about |= {"index_s": building, "MB": round(store.stats().bytes / 1e6)}
            passing = [Condition("part", Relation.EQUAL, (0.0,))]
            plain, filtered = truths
            return [
                {**about, "searches": "all", **asked(store, queries, plain, [])},
                {**about, "searches": "one in a hundred", **asked(store, queries, filtered, passing)},
            ]
        finally:
            store.drop()
            store.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--count", type=int, default=10, help="neighbours that each search asks for")
    parser.add_argument("--backends", default="lance,postgres")
    parser.add_argument(
        "--exact-below", type=int, help="rows from which an index is built; as ours if not given"
    )
    add_outputs(parser)
    given = parser.parse_args()
    if given.exact_below is not None:
        from xfm.search import lance, postgres

        lance.EXACT_BELOW = postgres.EXACT_BELOW = given.exact_below
    points = Points(given.rows, given.width)
    queries = points.queries(given.queries)
    truths = exact(points, queries, given.count)
    found = [measured(backend, points, truths, queries) for backend in given.backends.split(",")]
    rows = [row for one in found for row in one]
    print(f"{'store':<10}{'searches':<18}{'recall':>8}{'p10':>8}{'median':>8}{'p95':>8}  ms")
    for row in rows:
        times = "".join(f"{row[name]:>8.1f}" for name in ("p10_ms", "median_ms", "p95_ms"))
        print(f"{row['store']:<10}{row['searches']:<18}{row['recall']:>8.3f}{times}")
    write_outputs(given, rows)


if __name__ == "__main__":
    main()
