"""Rows in a LanceDB table: a folder, and nothing to start."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import BTree, IvfPq
from lancedb.query import LanceVectorQueryBuilder
from numpy.typing import NDArray

from xfm.index.conditions import Condition, Kind, Relation, Value
from xfm.index.rows import IndexedPicture, Near, Row
from xfm.index.store import EXACT_BELOW, StoreStats

TABLE = "pictures"
_OWN = ("key", "source", "width", "height")
_PREFIX = "m_"
"""Before the names of metadata, which would else meet our own columns."""
_TYPES = {Kind.TEXT: pa.string(), Kind.NUMBER: pa.float64(), Kind.BOOLEAN: pa.bool_()}
_PROBES, _REFINED = 24, 10
"""Lists of the index that are looked at at least, and how many times the wanted rows are compared exactly."""
_KEPT = timedelta(minutes=1)
"""For so long the files of earlier versions stay: another process may be reading them."""
_MANY = 10_000


class LanceStore:
    """See `xfm.index.store.Store`.

    Args:
        folder: of the table, which is made if it is not there.
        width: E, of the vectors.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._folder, self._width = folder, width
        # Every call sees what other processes have added before it.
        self._database = lancedb.connect(str(folder), read_consistency_interval=timedelta(0))
        if (folder / f"{TABLE}.lance").exists():
            self._table = self._database.open_table(TABLE)
        else:
            self._table = self._database.create_table(TABLE, schema=self._schema())

    def _schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field("key", pa.string(), nullable=False),
                pa.field("vector", pa.list_(pa.float32(), self._width), nullable=False),
                pa.field("pixels", pa.large_binary()),
                pa.field("source", pa.string()),
                pa.field("width", pa.int32()),
                pa.field("height", pa.int32()),
            ]
        )

    def add(self, rows: Sequence[Row], replacing: bool) -> None:
        """See `Store.add`."""
        if not rows:
            return
        table = self._as_table(rows)
        if replacing:
            merge = self._table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(table)
        else:
            self._table.add(table)

    def _as_table(self, rows: Sequence[Row]) -> pa.Table:
        entries = [row.entry for row in rows]
        vectors = np.concatenate([row.vector for row in rows]).astype(np.float32, copy=False)
        columns: dict[str, Any] = {
            "key": [one.key for one in entries],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), self._width),
            "pixels": [one.pixels for one in entries],
            "source": [one.source for one in entries],
            "width": [one.width for one in entries],
            "height": [one.height for one in entries],
        }
        schema = self._table.schema
        for name in schema.names:
            if name not in columns:
                columns[name] = [one.metadata.get(name.removeprefix(_PREFIX)) for one in entries]
        return pa.table({name: columns[name] for name in schema.names}, schema=schema)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Store.remove`."""
        for start in range(0, len(keys), _MANY):
            named = ", ".join(map(_literal, keys[start : start + _MANY]))
            self._table.delete(f"key IN ({named})")

    def require(self, fields: Mapping[str, Kind]) -> None:
        """See `Store.require`."""
        present = self._table.schema.names
        new = [
            pa.field(_PREFIX + name, _TYPES[kind])
            for name, kind in fields.items()
            if _PREFIX + name not in present
        ]
        if new:
            self._table.add_columns(new)

    def nearest(self, vector: NDArray[np.float32], count: int, where: Sequence[Condition] = ()) -> list[Near]:
        """See `Store.nearest`."""
        if not self._index():
            return self._nearest(vector, count, where, exact=True)
        found = self._nearest(vector, count, where, exact=False)
        if len(found) < count and len(found) < self.count(
            where
        ):  # the lists that were looked at held no more
            return self._nearest(vector, count, where, exact=True)
        return found

    def _nearest(
        self, vector: NDArray[np.float32], count: int, where: Sequence[Condition], exact: bool
    ) -> list[Near]:
        query = self._table.search(vector, vector_column_name="vector", query_type="vector")
        assert isinstance(query, LanceVectorQueryBuilder)
        query = query.distance_type("cosine").select([*_OWN, *self._fields(), "_distance"]).limit(count)
        query = query.bypass_vector_index() if exact else query.nprobes(_PROBES).refine_factor(_REFINED)
        if where:
            query = query.where(_sql(where), prefilter=True)
        return [Near(_entry(row), 1.0 - row["_distance"]) for row in query.to_arrow().to_pylist()]

    def _fields(self) -> list[str]:
        return [name for name in self._table.schema.names if name.startswith(_PREFIX)]

    def pixels(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See `Store.pixels`."""
        if not keys:
            return {}
        named = ", ".join(map(_literal, keys))
        query = self._table.search().where(f"key IN ({named})").select(["key", "pixels"]).limit(len(keys))
        return {row["key"]: row["pixels"] for row in query.to_arrow().to_pylist()}

    def keys(self, where: Sequence[Condition] = ()) -> Iterator[str]:
        """See `Store.keys`."""
        query = self._table.search().select(["key"]).limit(None)
        if where:
            query = query.where(_sql(where))
        for batch in query.to_batches():
            yield from batch.column("key").to_pylist()

    def count(self, where: Sequence[Condition] = ()) -> int:
        """See `Store.count`."""
        return self._table.count_rows(_sql(where) if where else None)

    def compact(self) -> None:
        """See `Store.compact`: joins fragments, brings the index up to date, and builds one of many rows."""
        rows = self.count()
        if not self._index() and rows >= EXACT_BELOW:
            lists, parts = round(math.sqrt(rows)), _sub_vectors(self._width)
            index = IvfPq(distance_type="cosine", num_partitions=lists, num_sub_vectors=parts)
            self._table.create_index("vector", config=index)
        if rows >= EXACT_BELOW and not any(one.columns == ["key"] for one in self._table.list_indices()):
            self._table.create_index("key", config=BTree())
        self._table.optimize(cleanup_older_than=_KEPT)

    def _index(self) -> bool:
        return any(one.columns == ["vector"] for one in self._table.list_indices())

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        size = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        parts = sum(1 for _ in (self._folder / f"{TABLE}.lance" / "data").glob("*.lance"))
        search = (
            "an index of inverted lists (IVF_PQ), the best compared exactly" if self._index() else "exact"
        )
        return StoreStats(self.count(), size, parts, f"LanceDB, {search}")

    def drop(self) -> None:
        """See `Store.drop`."""
        self._database.drop_table(TABLE)

    def close(self) -> None:
        """See `Store.close`."""


def _sub_vectors(width: int) -> int:
    """Parts that a vector is quantised in: of about four numbers each."""
    return next(parts for parts in range(max(1, width // 4), 0, -1) if width % parts == 0)


def _entry(row: Mapping[str, Any]) -> IndexedPicture:
    metadata = {
        name.removeprefix(_PREFIX): value
        for name, value in row.items()
        if name.startswith(_PREFIX) and value is not None
    }
    return IndexedPicture(row["key"], row["source"], row["width"], row["height"], b"", metadata)


def _sql(where: Sequence[Condition]) -> str:
    return " AND ".join(_condition(one) for one in where)


def _condition(one: Condition) -> str:
    column, values = f"`{_PREFIX}{one.field}`", [_literal(value) for value in one.values]
    if one.relation is Relation.EQUAL:
        return f"{column} IN ({', '.join(values)})"
    if one.relation is Relation.OTHER:
        return f"{column} NOT IN ({', '.join(values)})"
    return f"{column} {one.relation} {values[0]}"


def _literal(value: Value) -> str:
    """A value in SQL; a quote inside a text is doubled, and nothing else has a meaning there."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
