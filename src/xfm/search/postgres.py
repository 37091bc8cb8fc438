"""Rows in a PostgreSQL table with pgvector, for collections that several machines search."""

import math
import os
import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql, waiting
from psycopg.abc import RV, PQGen
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from xfm.core.errors import UserError, amount, first_line
from xfm.search.filters import Condition, Kind, Relation, kind_of
from xfm.search.store import EXACT_BELOW, IndexedImage, Neighbour, Row, StoreError, StoreStats
from xfm.search.trusted_hosts import UNREADABLE, read_address, without_password

CONNECT_SECONDS = 10
"""For which a server may take to answer where nobody said how long."""
ANSWER_SECONDS = 10
"""For which a search may take to be answered."""
_CANCEL_SECONDS = 0.5
_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""By which a network that is gone is noticed where waiting has no bound."""
_NO_PGVECTOR = "pgvector is not installed there: install it (0.8 or newer)"
_REMEDIES = (
    (("57014",), "it took too long, or was cancelled: see that the server is not stalled, and do it again"),
    (("08", "57"), "the connection was lost: see that the server runs, and do it again"),
    (("53100",), "its disk is full: free space there, and do it again"),
    (("53",), "it lacks memory or connections: wait, or raise its limits (max_connections)"),
    (("25006",), "it is read-only: name its primary"),
    (("42501",), "the role has no right to do this: let its owner GRANT it, or be asked as its owner"),
    (("42P01",), "the table is not there: build the collection again"),
    (("0A000", "58P01"), _NO_PGVECTOR),
    (("42710",), "something else there has that name: rename it, or name another database"),
    (("22P05",), "it cannot hold every character: make the database with the encoding UTF8"),
    (("22", "42"), "the table is not this collection's: build with another --table"),
    (("23505",), "the table has rows that the collection does not know: do it again, which replaces them"),
    (("40", "55"), "another process was at the table: do it again"),
    (("XX",), "it is damaged: see its log, and restore it or build the collection again"),
    (("",), "see its log"),
)
"""How SQLSTATE begins, and what that is and what to do; the first that fits is said."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is given up at Ctrl-C, or, where `bounded`, without an answer in `ANSWER_SECONDS`."""

    bounded = True
    settings: dict[str, str]

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """See psycopg, whose own waits for the server to cancel."""
        try:
            answer = _within(gen, ANSWER_SECONDS) if self.bounded else gen
            return waiting.wait(answer, self.pgconn.socket, interval=interval)
        except (KeyboardInterrupt, psycopg.errors.ConnectionTimeout):
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)
            self.close()
            raise


def _within(gen: PQGen[RV], seconds: float) -> PQGen[RV]:
    end = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if time.monotonic() > end:
                raise psycopg.errors.ConnectionTimeout(f"no answer in {seconds} seconds")
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value


def connected(address: str) -> BoundedConnection:
    """A new connection; UserError: an unreadable address. StoreError: no connection."""
    told = read_address(address)
    waited = told.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or CONNECT_SECONDS
    given: dict[str, Any] = {**_ALIVE, "client_encoding": "utf8", **told, "connect_timeout": waited}
    try:
        connection = BoundedConnection.connect(autocommit=True, **given)
    except (UnicodeError, psycopg.ProgrammingError):  # no host's name, no number of seconds
        raise UserError(UNREADABLE) from None
    except psycopg.OperationalError as error:
        reason = first_line(error)
        for secret in filter(None, (told.get("password"), os.environ.get("PGPASSWORD"))):
            reason = reason.replace(secret, "...")  # a server may send it back
        raise StoreError(
            f"{without_password(address)}: there is no connection to PostgreSQL ({reason}); check that it "
            "runs there, and the user and the password (PGPASSWORD)"
        ) from error
    connection.settings = {}
    return connection


@contextmanager
def explained(shown: str) -> Iterator[None]:
    """A refusal of the server, or rows of other kinds, as one sentence with the address as shown."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            state = "57014"
        remedy = next(remedy for starts, remedy in _REMEDIES if state.startswith(starts))
        raise StoreError(f"{shown}: the server cannot be used ({first_line(error)}); {remedy}") from error
    except ValueError as error:
        raise StoreError(f"{shown}: the table is damaged ({error}): build the collection again") from error


_LOWEST = (0, 8)
"""Of pgvector: with it an index goes on searching until enough rows have passed the conditions."""
_NEIGHBOURS, _TRIED = 16, 64
"""Of the index: neighbours of each vector (`m`), and how many are tried for them (`ef_construction`)."""
_LOOKED_AT, _MOST_LOOKED_AT = 50, 1000
"""Neighbours that a search keeps (`hnsw.ef_search`) among `EXACT_BELOW` rows, and at most."""
_REFINED = 2
"""The index holds halves; so many times the wanted rows are compared exactly."""
_SECONDS = 5.0
"""For which a connection believes that there is an index, or none; both give right answers."""
_MEMORY = 4 << 30
"""Bytes at most for building the index; what does not fit makes it slow."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_CASTS = {Kind.TEXT: sql.SQL("text"), Kind.NUMBER: sql.SQL("float8"), Kind.BOOLEAN: sql.SQL("boolean")}
_LOCK = 0x78666D
"""Of the database, while a table is made."""


class PostgresStore:
    """A PostgreSQL table of vectors [E], as `xfm.search.lance.LanceStore`. Its comment names its owner.

    UserError: a bad address or name, or an old pgvector.
    StoreError: no answer or a refusal, or a table of another collection.
    """

    def __init__(self, address: str, name: str, width: int, owner: str = "", writing: bool = True) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name} cannot be a table: small letters, digits and _, a letter first, 48 at most"
            )
        self._name, self._table, self._width = name, sql.Identifier(name), width
        self._address, self._shown, self._writes = address, without_password(address), writing
        self._label = f"xfm collection {owner}"
        self._rows, self._looked = 0, -math.inf
        self._open()

    def _open(self) -> None:
        self._opened = connected(self._address)
        try:
            if self._writes:
                self._claim()
            self._require_own()
            with explained(self._shown):
                register_vector(self._opened)
        except BaseException:
            self.close()
            raise

    def _claim(self) -> None:
        """Make the table if it is not there, one client at a time."""
        self._run("SELECT pg_advisory_lock({lock})", lock=_LOCK)
        self._run(
            "DO $$ BEGIN IF to_regclass({name}) IS NULL THEN CREATE EXTENSION IF NOT EXISTS vector; "
            "CREATE TABLE {table} (key text PRIMARY KEY, vector vector({width}) NOT NULL, "
            "pixels bytea NOT NULL, source text NOT NULL, width int NOT NULL, height int NOT NULL, "
            "metadata jsonb NOT NULL); COMMENT ON TABLE {table} IS {label}; END IF; END $$",
        )
        self._run("SELECT pg_advisory_unlock({lock})", lock=_LOCK)

    def _require_own(self) -> None:
        (row,) = self._run(
            "SELECT to_regclass({name}) IS NOT NULL AS there, obj_description(to_regclass({name}), "
            "'pg_class') AS label, (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS version"
        )
        if not row["there"]:
            raise StoreError(f"{self._shown}: there is no table {self._name}: build the collection again")
        if row["label"] != self._label:
            raise StoreError(
                f"the table {self._name} of {self._shown} is another collection's, with "
                f"{amount(self.count(), 'row')}: build with another --table, or drop it if nobody needs it"
            )
        if row["version"] is None:
            raise StoreError(f"{self._shown}: {_NO_PGVECTOR}")
        if tuple(int(part) for part in re.findall(r"\d+", row["version"])[:2]) < _LOWEST:
            raise UserError(
                f"the server has pgvector {row['version']}, and {'.'.join(map(str, _LOWEST))} is needed: "
                "upgrade it, then ALTER EXTENSION vector UPDATE"
            )

    @property
    def _connection(self) -> BoundedConnection:
        """The connection, made anew where the server has ended it."""
        with suppress(psycopg.OperationalError):
            for _ in range(2):  # its last word, and the end
                self._opened.pgconn.consume_input()
        if self._opened.closed:
            self._open()
        return self._opened

    @contextmanager
    def _writing(self) -> Iterator[BoundedConnection]:
        """An unbounded connection, where the table is still this collection's."""
        self._require_own()
        connection = self._connection
        connection.bounded = False
        try:
            with explained(self._shown):
                yield connection
        finally:
            connection.bounded = True

    def _run(self, query: str, values: Any = None, **parts: Any) -> list[dict[str, Any]]:
        with explained(self._shown), self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(self._composed(query, **parts), values)
            return cursor.fetchall() if cursor.description else []

    def _composed(self, query: str, **parts: Any) -> sql.Composed:
        own = {"table": self._table, "name": self._name, "width": self._width, "label": self._label}
        told = {
            name: one if isinstance(one, sql.Composable) else sql.Literal(one)
            for name, one in (own | parts).items()
        }
        return sql.SQL(query).format(**told)  # pyright: ignore[reportArgumentType]

    def add(self, rows: Sequence[Row], replacing: bool) -> None:
        """See `LanceStore.add`."""
        with self._writing() as connection, connection.transaction(), connection.cursor() as cursor:
            if replacing:
                self._run("DELETE FROM {table} WHERE key = ANY(%s)", [[row.entry.key for row in rows]])
            query = "COPY {table} (key, vector, pixels, source, width, height, metadata) FROM STDIN "
            with cursor.copy(self._composed(query + "(FORMAT BINARY)")) as copy:
                copy.set_types(["text", "vector", "bytea", "text", "int4", "int4", "jsonb"])
                for row in rows:
                    one, told = row.entry, Jsonb(dict(row.entry.metadata))
                    copy.write_row((one.key, row.vector, one.pixels, one.source, one.width, one.height, told))

    def remove(self, keys: Sequence[str]) -> None:
        """See `LanceStore.remove`."""
        with self._writing():
            self._run("DELETE FROM {table} WHERE key = ANY(%s)", [list(keys)])

    def require(self, fields: Mapping[str, Kind]) -> None:
        """See `LanceStore.require`; a document takes any."""

    def nearest(
        self, vector: NDArray[np.float32], count: int, where: Sequence[Condition] = ()
    ) -> list[Neighbour]:
        """See `LanceStore.nearest`."""
        if time.monotonic() - self._looked > _SECONDS:
            self._rows, self._looked = self._indexed(), time.monotonic()
        found = self._near(vector, count, where, self._rows)
        if self._rows and len(found) < count and len(found) < self.count(where):
            return self._near(vector, count, where, 0)
        return found

    def _near(
        self, vector: NDArray[np.float32], count: int, where: Sequence[Condition], rows: int
    ) -> list[Neighbour]:
        """By the index of about so many rows, the best compared exactly, or by a look at every vector (0).

        Under conditions the index is gone on with until enough passed.
        """
        passing, values = _passing(where)
        query = "SELECT key, source, width, height, metadata, -(vector <#> %s) AS similarity FROM "
        self._set("enable_indexscan", "on" if rows else "off")
        if rows:
            doublings = max(0.0, math.log2(rows / EXACT_BELOW))
            looked_at = round(_LOOKED_AT * (1 + doublings / 6))  # a sixth more for each doubling
            self._set("enable_seqscan", "off")
            self._set("hnsw.ef_search", str(min(max(looked_at, _REFINED * count), _MOST_LOOKED_AT)))
            self._set("hnsw.iterative_scan", "relaxed_order" if where else "off")
            query += (
                "(SELECT key, vector, source, width, height, metadata FROM {table} WHERE {passing} ORDER BY "
                "(vector::halfvec({width})) <#> %s::halfvec({width}) LIMIT {several}) near "
                "ORDER BY similarity DESC LIMIT {count}"
            )
        else:
            query += "{table} WHERE {passing} ORDER BY vector <#> %s LIMIT {count}"
        given = [vector, *values, HalfVector(vector) if rows else vector]
        found = self._run(query, given, passing=passing, several=_REFINED * count, count=count)
        similar = [(row.pop("similarity"), row) for row in found]
        with explained(self._shown):
            if any(near is None for near, _ in similar):
                raise ValueError("it has a row without a vector")
            return [Neighbour(IndexedImage(**row, pixels=b""), near) for near, row in similar]

    def _set(self, name: str, value: str) -> None:
        """A setting that stays in the connection: a search is one question to the server."""
        if (known := self._connection.settings).get(name) != value:
            self._run("SELECT set_config(%s, %s, false)", [name, value])
            known[name] = value

    def pixels(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See `LanceStore.pixels`."""
        rows = self._run("SELECT key, pixels FROM {table} WHERE key = ANY(%s)", [list(keys)])
        return {row["key"]: bytes(row["pixels"]) for row in rows}

    def keys(self, where: Sequence[Condition] = ()) -> Iterator[str]:
        """See `LanceStore.keys`."""
        return (key for (key,) in self._passed("key", where))

    def _passed(self, cells: str, where: Sequence[Condition]) -> Generator[tuple[Any, ...], None, None]:
        passing, values = _passing(where)
        query = self._composed(f"SELECT {cells} FROM {{table}} WHERE {{passing}}", passing=passing)
        connection = self._connection
        with explained(self._shown), connection.transaction(), connection.cursor("passed") as cursor:
            yield from cursor.execute(query, values)

    def vectors(self, where: Sequence[Condition] = ()) -> tuple[list[IndexedImage], NDArray[np.float32]]:
        """See `LanceStore.vectors`."""
        found, numbers = list[IndexedImage](), list[NDArray[np.float32]]()
        cells = "key, source, width, height, metadata, vector::real[]"
        with explained(self._shown), closing(self._passed(cells, where)) as rows:
            for key, source, width, height, metadata, vector in rows:
                found.append(IndexedImage(key, source, width, height, b"", metadata))
                numbers.append(np.array(vector, np.float32))
            return found, np.array(numbers, np.float32).reshape(len(found), self._width)

    def count(self, where: Sequence[Condition] = ()) -> int:
        """See `LanceStore.count`."""
        passing, values = _passing(where)
        (row,) = self._run("SELECT count(*) AS rows FROM {table} WHERE {passing}", values, passing=passing)
        return row["rows"]

    def is_scattered(self) -> bool:
        """See `LanceStore`; the server keeps its tables in order itself, if they have an index."""
        return not self._indexed() and self.count() >= EXACT_BELOW

    def compact(self) -> None:
        """See `LanceStore.compact`: builds an index of many rows, and cleans up after removals."""
        with self._writing():
            rows = self.count()
            if rows >= EXACT_BELOW and not self._indexed():
                self._build(rows)
            self._run("VACUUM (ANALYZE) {table}")
        self._looked = -math.inf

    def _build(self, rows: int) -> None:
        each = 2 * self._width + 32 * _NEIGHBOURS + 400  # bytes of a vector in the graph, rather too many
        size = f"{max(64, min(rows * each, _MEMORY) >> 20)}MB"
        kind = "USING hnsw ((vector::halfvec({width})) halfvec_ip_ops) WITH (m = {m}, ef_construction = {ef})"
        named = {"index": sql.Identifier(f"{self._name}_vector"), "m": _NEIGHBOURS, "ef": _TRIED}
        self._run("SET maintenance_work_mem = {size}", size=size)
        for workers in ("4", "0"):
            self._run("SET max_parallel_maintenance_workers = {workers}", workers=workers)
            try:
                self._run("CREATE INDEX {index} ON {table} " + kind, **named)
                return
            except StoreError as error:  # workers share memory, of which a container may have little
                if workers == "0" or not isinstance(error.__cause__, psycopg.errors.DiskFull):
                    raise

    def _indexed(self) -> int:
        """The approximate number of rows if they have an index, else 0."""
        (row,) = self._run(
            "SELECT (SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid) "
            "AS there, (SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)) AS rows",
            [f"{self._name}_vector", self._name],
        )
        return max(1, int(row["rows"])) if row["there"] else 0

    def stats(self) -> StoreStats:
        """See `LanceStore.stats`."""
        (row,) = self._run("SELECT pg_total_relation_size(%s::regclass) AS size", [self._name])
        index = "an index of neighbours (HNSW of halves, iterative scan), the best compared exactly"
        search = index if self._indexed() else "exact"
        return StoreStats(self.count(), row["size"], 1, f"PostgreSQL, {search}")

    def drop(self) -> None:
        """See `LanceStore.drop`."""
        with self._writing():
            self._run("DROP TABLE {table}")

    def close(self) -> None:
        """See `LanceStore.close`."""
        self._opened.close()


def _passing(where: Sequence[Condition]) -> tuple[sql.Composable, list[Any]]:
    """Conditions as SQL without their values, and these values."""
    sets = {Relation.EQUAL: "{} = ANY(%s)", Relation.OTHER: "{} <> ALL(%s)"}
    parts: list[sql.Composable] = []
    values: list[Any] = []
    for one in where:
        cast = _CASTS[kind_of(one.values[0])]
        cell = sql.SQL("(metadata ->> {})::{}").format(sql.Literal(one.field), cast)
        # By code points as elsewhere, whatever the order of the database's language.
        order = ' COLLATE "C"' if isinstance(one.values[0], str) else ""
        compared = sets.get(one.relation, f"{{}}{order} {one.relation.value} %s")
        parts.append(sql.SQL(compared).format(cell))  # pyright: ignore[reportArgumentType]
        values.append(list(one.values) if one.relation in sets else one.values[0])
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true"), values
