"""Rows in a table of PostgreSQL with pgvector, for collections that several machines search."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.rows import dict_row

from xfm.errors import UserError
from xfm.index.conditions import Condition, Kind, Relation, kind_of
from xfm.index.rows import IndexedPicture, Near, Row
from xfm.index.store import EXACT_BELOW, StoreError, StoreStats

_LOWEST = (0, 8)
"""Of pgvector: with it an index goes on searching until enough rows have passed the conditions."""
_LOOKED_AT = 100
"""Neighbours that the index keeps while it searches (`hnsw.ef_search`)."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_CASTS = {Kind.TEXT: sql.SQL("text"), Kind.NUMBER: sql.SQL("float8"), Kind.BOOLEAN: sql.SQL("boolean")}


class PostgresStore:
    """See `xfm.index.store.Store`.

    Args:
        address: `postgresql://HOST/DATABASE`; what it leaves out comes from libpq's environment and files.
        name: of the table, which is made if it is not there.
        width: E, of the vectors.

    Raises:
        UserError: the server cannot be reached or refuses (StoreError), or lacks pgvector.
    """

    def __init__(self, address: str, name: str, width: int) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name} cannot be a table: small letters, digits and _, a letter first, 48 at most"
            )
        self._name, self._table = name, sql.Identifier(name)
        self._address = address
        with _explained(address):
            self._opened = psycopg.connect(address, autocommit=True)
            self._opened.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(self._opened)
        self._check_version()
        self._run(
            "CREATE TABLE IF NOT EXISTS {table} (key text PRIMARY KEY, vector vector({width}) NOT NULL, "
            "pixels bytea NOT NULL, source text NOT NULL, width int NOT NULL, height int NOT NULL, "
            "metadata jsonb NOT NULL)",
            width=sql.Literal(width),
        )

    def _check_version(self) -> None:
        (row,) = self._run("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        version = tuple(int(part) for part in row["extversion"].split(".")[:2])
        if version < _LOWEST:
            raise UserError(
                f"the server has pgvector {row['extversion']}, and {'.'.join(map(str, _LOWEST))} is needed: "
                "upgrade it, then ALTER EXTENSION vector UPDATE"
            )

    @property
    def _connection(self) -> psycopg.Connection[Any]:
        """The connection; a new one where the server has ended the last, as one that starts again does."""
        if self._opened.closed:
            with _explained(self._address):
                self._opened = psycopg.connect(self._address, autocommit=True)
            register_vector(self._opened)
        return self._opened

    def _run(self, query: str, values: Any = None, **parts: sql.Composable) -> list[dict[str, Any]]:
        """The rows of a query; `{table}` in it is ours."""
        composed = sql.SQL(query).format(table=self._table, **parts)  # pyright: ignore[reportArgumentType]
        lost = _explained(self._address, psycopg.OperationalError)
        with lost, self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(composed, values)
            return cursor.fetchall() if cursor.description else []

    def add(self, rows: Sequence[Row], replacing: bool) -> None:
        """See `Store.add`."""
        clash = "ON CONFLICT (key) DO UPDATE SET (vector, pixels, source, width, height, metadata) = "
        clash += "(excluded.vector, excluded.pixels, excluded.source, excluded.width, excluded.height, "
        clash += "excluded.metadata)"
        query = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %s, %s, %s) {}").format(
            self._table,
            sql.SQL(clash if replacing else ""),  # pyright: ignore[reportArgumentType]
        )
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(query, [_cells(row) for row in rows])

    def remove(self, keys: Sequence[str]) -> None:
        """See `Store.remove`."""
        self._run("DELETE FROM {table} WHERE key = ANY(%s)", [list(keys)])

    def require(self, fields: Mapping[str, Kind]) -> None:
        """See `Store.require`; a document takes any."""

    def nearest(self, vector: NDArray[np.float32], count: int, where: Sequence[Condition] = ()) -> list[Near]:
        """See `Store.nearest`."""
        found = self._nearest(vector, count, where, exact=False)
        if len(found) < count and self._index() and len(found) < self.count(where):
            return self._nearest(vector, count, where, exact=True)
        return found

    def _nearest(
        self, vector: NDArray[np.float32], count: int, where: Sequence[Condition], exact: bool
    ) -> list[Near]:
        passing, values = _passing(where)
        with self._connection.transaction():
            if exact:
                self._run("SET LOCAL enable_indexscan = off")
            else:
                self._run("SET LOCAL hnsw.iterative_scan = strict_order")
                looked = max(_LOOKED_AT, min(1000, count))
                self._run("SET LOCAL hnsw.ef_search = {looked}", looked=sql.Literal(looked))
            rows = self._run(
                "SELECT key, source, width, height, metadata, -(vector <#> %s) AS similarity FROM {table} "
                "WHERE {passing} ORDER BY vector <#> %s LIMIT %s",
                [vector, *values, vector, count],
                passing=passing,
            )
        return [Near(_entry(row), row["similarity"]) for row in rows]

    def pixels(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See `Store.pixels`."""
        rows = self._run("SELECT key, pixels FROM {table} WHERE key = ANY(%s)", [list(keys)])
        return {row["key"]: bytes(row["pixels"]) for row in rows}

    def keys(self, where: Sequence[Condition] = ()) -> Iterator[str]:
        """See `Store.keys`."""
        passing, values = _passing(where)
        query = sql.SQL("SELECT key FROM {} WHERE {}").format(self._table, passing)
        with self._connection.transaction(), self._connection.cursor("keys") as cursor:
            for row in cursor.execute(query, values):
                yield row[0]

    def count(self, where: Sequence[Condition] = ()) -> int:
        """See `Store.count`."""
        passing, values = _passing(where)
        (row,) = self._run("SELECT count(*) AS rows FROM {table} WHERE {passing}", values, passing=passing)
        return row["rows"]

    def compact(self) -> None:
        """See `Store.compact`: builds an index of many rows, and cleans up after removals."""
        if self.count() >= EXACT_BELOW and not self._index():
            index = sql.Identifier(f"{self._name}_vector")
            self._run("SET maintenance_work_mem = '2GB'")
            self._run("CREATE INDEX {index} ON {table} USING hnsw (vector vector_ip_ops)", index=index)
        self._run("VACUUM (ANALYZE) {table}")

    def _index(self) -> bool:
        rows = self._run(
            "SELECT 1 FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s "
            "AND indexname = %s",
            [self._name, f"{self._name}_vector"],
        )
        return bool(rows)

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        (row,) = self._run("SELECT pg_total_relation_size(%s::regclass) AS size", [self._name])
        search = "an index of neighbours (HNSW, iterative scan)" if self._index() else "exact"
        return StoreStats(self.count(), row["size"], 1, f"PostgreSQL, {search}")

    def drop(self) -> None:
        """See `Store.drop`."""
        self._run("DROP TABLE IF EXISTS {table}")

    def close(self) -> None:
        """See `Store.close`."""
        self._opened.close()


@contextmanager
def _explained(address: str, kind: type[psycopg.Error] = psycopg.Error) -> Iterator[None]:
    """A server that refuses, as one sentence."""
    try:
        yield
    except kind as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StoreError(
            f"{without_password(address)}: the server cannot be used ({reason}); check address, rights and "
            "that pgvector is installed there"
        ) from error


def without_password(address: str) -> str:
    """An address as it may be shown and kept."""
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1@", address)


def _cells(row: Row) -> tuple[Any, ...]:
    one = row.entry
    told = json.dumps(dict(one.metadata))
    return one.key, row.vector, one.pixels, one.source, one.width, one.height, told


def _entry(row: Mapping[str, Any]) -> IndexedPicture:
    return IndexedPicture(row["key"], row["source"], row["width"], row["height"], b"", row["metadata"])


def _passing(where: Sequence[Condition]) -> tuple[sql.Composable, list[Any]]:
    """The conditions as SQL with places for values, and these values."""
    if not where:
        return sql.SQL("true"), []
    parts: list[sql.Composable] = []
    values: list[Any] = []
    for one in where:
        cast = _CASTS[kind_of(one.values[0])]
        cell = sql.SQL("(metadata ->> {})::{}").format(sql.Literal(one.field), cast)
        if one.relation in (Relation.EQUAL, Relation.OTHER):
            compared = "{} = ANY(%s)" if one.relation is Relation.EQUAL else "{} <> ALL(%s)"
            parts.append(sql.SQL(compared).format(cell))
            values.append(list(one.values))
        else:
            relation = sql.SQL(one.relation.value)  # pyright: ignore[reportArgumentType]
            parts.append(sql.SQL("{} {} %s").format(cell, relation))
            values.append(one.values[0])
    return sql.Composed(parts).join(" AND "), values
