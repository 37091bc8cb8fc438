"""Rows in a LanceDB table: a folder, and nothing to start."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import BTree, IvfPq, IvfRq
from lancedb.query import LanceVectorQueryBuilder
from numpy.typing import NDArray

from xfm.core.errors import UserError
from xfm.search.filters import Condition, Kind, Relation, Value
from xfm.search.store import EXACT_BELOW, IndexedImage, Neighbour, Row, StoreStats, guarded

TABLE = "pictures"
T = TypeVar("T")
_PREFIX = "m_"
"""Before the names of metadata, which would else meet our own columns."""
_TYPES = {Kind.NUMBER: pa.float64(), Kind.BOOLEAN: pa.bool_()}  # others are texts
_PROBES, _SHARE, _REFINED = 40, 24, 4
"""Lists of the index that are looked at: so many, or one in so many if that is more; and how many times the
wanted rows are compared exactly."""
_WIDER = 4
"""Times as many lists under conditions: the nearest that pass are farther away."""
_ROUNDS, _SAMPLED = 15, 64
"""In which the lists are found, and rows a list that they are found with."""
_FEW = 64
"""Numbers of a vector, below which one bit for each says too little."""
_NOW = timedelta(milliseconds=1)
"""Files of earlier versions go at once: a process that was about to read one asks again (`_read`)."""
_ATTEMPTS = 8
_PARTS, _MOST_PARTS, _GROWTH = 64, 1024, 0.25
"""Rows are scattered from so many files, beside the largest that share of its rows, or from the most."""
_MANY = 10_000


@guarded
class LanceStore:
    """A LanceDB table in a folder: rows by key, found by the direction of their vectors [E].

    Conditions are checked, and all must hold. One process writes; others may read, and see each `add` and
    `remove` whole or not at all. What has returned is durable. StoreError: damaged, or not there without
    `make`; so does every method.
    """

    def __init__(self, folder: Path, width: int, make: bool = True) -> None:
        if any(ord(one) < 32 for one in os.path.abspath(folder)):
            raise UserError(f"{folder}: LanceDB opens no path with control characters; rename the folder")
        self.place, self._width = folder, width
        self._known = (0, 0)  # a version of the table, and the lists that a search of it looks at
        for one in folder.rglob("*"):
            if not (one.is_file() or one.is_dir()) and os.path.lexists(one):  # others may remove files
                raise ValueError(f"{one.name} is a pipe or a device")
        # Every call sees what other processes have added before it.
        self._database = lancedb.connect(str(folder), read_consistency_interval=timedelta(0))
        if not make or (folder / f"{TABLE}.lance").exists():
            self._table = self._database.open_table(TABLE)
            return
        columns = {
            "key": pa.string(),
            "vector": pa.list_(pa.float32(), width),
            "pixels": pa.large_binary(),
            "told": pa.string(),  # all that a search shows of a row: each column that is read costs 2 ms
        }
        fields = [pa.field(name, kind, nullable=name == "pixels") for name, kind in columns.items()]
        self._table = self._database.create_table(TABLE, schema=pa.schema(fields))

    def add(self, rows: Sequence[Row], replacing: bool) -> None:
        """Add rows with different keys; `replacing` where rows of these keys may be there."""
        if not rows:
            return
        entries = [row.entry for row in rows]
        vectors = np.concatenate([row.vector for row in rows]).astype(np.float32, copy=False)
        columns: dict[str, Any] = {
            "key": [one.key for one in entries],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), self._width),
            "pixels": [one.pixels for one in entries],
            "told": [
                json.dumps([one.key, one.source, one.width, one.height, dict(one.metadata)])
                for one in entries
            ],
        }
        schema = self._table.schema
        for name in schema.names:
            if name not in columns:
                columns[name] = [one.metadata.get(name.removeprefix(_PREFIX)) for one in entries]
        table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
        if replacing:
            merge = self._table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(table)
        else:
            self._table.add(table)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove rows; unknown keys are ignored."""
        for start in range(0, len(keys), _MANY):
            named = ", ".join(map(_literal, keys[start : start + _MANY]))
            self._table.delete(f"key IN ({named})")

    def require(self, fields: Mapping[str, Kind]) -> None:
        """Make room for fields of metadata."""
        present = self._table.schema.names
        kinds = {_PREFIX + name: _TYPES.get(kind, pa.string()) for name, kind in fields.items()}
        if new := [pa.field(name, kind) for name, kind in kinds.items() if name not in present]:
            self._table.add_columns(new)

    def nearest(
        self, vector: NDArray[np.float32], count: int, where: Sequence[Condition] = ()
    ) -> list[Neighbour]:
        """The rows nearest to a unit vector [E], nearest first: `count` if so many pass."""
        version = self._read(lambda: self._table.version)
        if version != self._known[0]:
            rows = self.count() if self._index() else 0
            self._known = version, max(_PROBES, _lists(rows) // _SHARE) if rows else 0
        probes = self._known[1]
        found = self._nearest(vector, count, where, _WIDER * probes if where else probes)
        if probes and len(found) < count and len(found) < self.count(where):  # these lists held no more
            return self._nearest(vector, count, where, 0)
        return found

    def _read(self, query: Callable[[], T]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                return query()
            except (RuntimeError, OSError, ValueError) as error:
                if attempt + 1 == _ATTEMPTS or "not found" not in str(error).lower():
                    raise
                self._table.checkout_latest()
        raise AssertionError

    def _nearest(
        self, vector: NDArray[np.float32], count: int, where: Sequence[Condition], probes: int
    ) -> list[Neighbour]:
        query = self._table.search(vector, vector_column_name="vector", query_type="vector")
        assert isinstance(query, LanceVectorQueryBuilder)
        query = query.distance_type("cosine").select(["told", "_distance"]).limit(count)
        query = query.nprobes(probes).refine_factor(_REFINED) if probes else query.bypass_vector_index()
        if where:
            query = query.where(_sql(where), prefilter=True)
        rows = self._read(query.to_arrow).to_pylist()
        return [Neighbour(_entry(row["told"]), 1.0 - row["_distance"]) for row in rows]

    def vectors(self, where: Sequence[Condition] = ()) -> tuple[list[IndexedImage], NDArray[np.float32]]:
        """The N rows that pass, without pixels, in no order, and their vectors [N, E]."""
        query = self._table.search().select(["told", "vector"]).limit(None)
        found = self._read((query.where(_sql(where)) if where else query).to_arrow)
        vectors = found.column("vector").combine_chunks().flatten().to_numpy()
        return [*map(_entry, found.column("told").to_pylist())], vectors.reshape(len(found), self._width)

    def pixels(self, keys: Sequence[str]) -> dict[str, bytes]:
        """PNGs by key; unknown keys are absent."""
        if not keys:
            return {}
        named = ", ".join(map(_literal, keys))
        query = self._table.search().where(f"key IN ({named})").select(["key", "pixels"]).limit(len(keys))
        return {row["key"]: row["pixels"] for row in self._read(query.to_arrow).to_pylist()}

    def keys(self, where: Sequence[Condition] = ()) -> Iterator[str]:
        """Keys of the rows that pass, in no order."""
        query = self._table.search().select(["key"]).limit(None)
        if where:
            query = query.where(_sql(where))
        return iter(self._read(query.to_arrow).column("key").to_pylist())

    def count(self, where: Sequence[Condition] = ()) -> int:
        """Number of rows that pass."""
        return self._read(lambda: self._table.count_rows(_sql(where) if where else None))

    def is_scattered(self) -> bool:
        """Whether compacting is worth it: so seldom that its cost stays a share of adding's."""
        found: Any = self._table.stats()  # a dictionary, whatever its type says
        parts, largest = found["fragment_stats"]["num_fragments"], found["fragment_stats"]["lengths"]["max"]
        if found["num_rows"] >= EXACT_BELOW and not self._index():
            return True
        if parts < _PARTS:
            return False
        return parts >= _MOST_PARTS or found["num_rows"] - largest >= _GROWTH * largest

    def compact(self) -> None:
        """Make searches as fast, and the store as small, as if all rows had been added at once.

        LanceDB's incremental update rounds the codes twice, and loses a twentieth of the neighbours;
        meanwhile searches compare every vector.
        """
        rows = self.count()
        for one in self._table.list_indices():
            if one.columns == ["vector"]:
                self._table.drop_index(one.name)
        if rows >= EXACT_BELOW and not any(one.columns == ["key"] for one in self._table.list_indices()):
            self._table.create_index("key", config=BTree())
        self._table.optimize(cleanup_older_than=_NOW)
        if rows >= EXACT_BELOW:
            shape: Any = {"num_partitions": _lists(rows), "max_iterations": _ROUNDS, "sample_rate": _SAMPLED}
            width, config = self._width, IvfRq(distance_type="cosine", **shape)
            if width % 8 or width < _FEW:
                parts = next(parts for parts in range(max(1, width // 4), 0, -1) if width % parts == 0)
                config = IvfPq(distance_type="cosine", num_sub_vectors=parts, **shape)
            self._table.create_index("vector", config=config)

    def _index(self) -> bool:
        return any(one.columns == ["vector"] for one in self._table.list_indices())

    def stats(self) -> StoreStats:
        """How large the store is."""
        size = sum(path.stat().st_size for path in self.place.rglob("*") if path.is_file())
        found: Any = self._table.stats()
        parts = found["fragment_stats"]["num_fragments"]
        search = "an index of inverted lists (IVF), the best compared exactly" if self._index() else "exact"
        return StoreStats(self.count(), size, parts, f"LanceDB, {search}")

    def drop(self) -> None:
        """Remove the store."""
        self._database.drop_table(TABLE)

    def close(self) -> None:
        """Close connections and files; there is nothing to close."""


def _lists(rows: int) -> int:
    return round(math.sqrt(rows))


def _entry(told: str) -> IndexedImage:
    key, source, width, height, metadata = json.loads(told)
    return IndexedImage(key, source, width, height, b"", metadata)


def _sql(where: Sequence[Condition]) -> str:
    words, parts = {Relation.EQUAL: "IN ({})", Relation.OTHER: "NOT IN ({})"}, list[str]()
    for one in where:
        compared = words.get(one.relation, f"{one.relation} {{}}").format(
            ", ".join(map(_literal, one.values))
        )
        parts.append(f"`{_PREFIX}{one.field}` {compared}")
    return " AND ".join(parts)


def _literal(value: Value) -> str:
    """A value in SQL: a quote is doubled, and nothing else has a meaning in a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
