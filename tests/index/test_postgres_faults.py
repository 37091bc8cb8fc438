"""PostgreSQL's failures: who owns a table, a server that falls silent or starts again, what errors advise."""

import json
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.alike import thorough
from tests.finetuning.conftest import Cli
from tests.finetuning.conftest import cli as cli
from tests.index.conftest import WIDTH, expect_unopened, postgres_address, rows_of, unit
from tests.index.proxy import Proxy
from tests.processes import XFM, Running
from tests.refusals import expect_refusal
from xfm.data.skipped import SkippedRecords
from xfm.search.opening import open_index
from xfm.search.sources import FolderSupply
from xfm.search.store import Row, StoreError

if TYPE_CHECKING:
    from xfm.search.postgres import PostgresStore

psycopg = pytest.importorskip("psycopg")
postgres = pytest.importorskip("xfm.search.postgres")


@pytest.fixture
def name() -> Iterator[str]:
    """Of a table, which is gone at the end."""
    made = f"t{uuid.uuid4().hex[:12]}"
    yield made
    execute(f"DROP TABLE IF EXISTS {made}")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(postgres_address()) as made:
        yield made


def execute(query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(postgres_address(), autocommit=True) as connection:
        found = connection.execute(query)
        return found.fetchall() if found.description else []


def rows(count: int, width: int = WIDTH, first: int = 0) -> list[Row]:
    return rows_of(unit(np.random.default_rng(first), count, width), first)


# ---------------------------------------------------------------- whose table


def test_a_table_is_taken_by_one_of_many_that_come_at_once(name: str) -> None:
    come = threading.Barrier(6, timeout=60)

    def take(owner: int) -> str:
        come.wait()
        try:
            store = postgres.PostgresStore(postgres_address(), name, WIDTH, str(owner))
        except StoreError as error:
            return str(error)
        store.close()
        return "taken"

    with ThreadPoolExecutor(6) as pool:
        told = [*pool.map(take, range(6))]
    assert told.count("taken") == 1
    assert sum(f"the table {name}" in one and "another collection's" in one for one in told) == 5


def test_a_table_of_another_collection_is_neither_opened_nor_emptied(
    model: Path, tmp_path: Path, name: str
) -> None:
    given = {"make": True, "address": postgres_address(), "table": name}
    with open_index(tmp_path / "one", model, **given) as index:
        index.store.add(rows(3, index.about.width), replacing=False)
        execute(f"DROP TABLE {name}")
        expect_unopened(tmp_path / "one", f"no table {name}", writing=False)
        with open_index(tmp_path / "two", model, **given) as other:
            other.store.add(rows(2, index.about.width), replacing=False)
        for change in (lambda: index.store.remove(["k0"]), lambda: index.store.drop(), index.compact):
            with expect_refusal(f"the table {name}", "another collection"):
                change()
        with expect_refusal(f"the table {name}"):
            index.store.add(rows(1, index.about.width), replacing=True)
    for writing in (False, True):
        expect_unopened(tmp_path / "one", f"the table {name}", writing=writing)
    with open_index(tmp_path / "two", writing=False) as other:
        assert other.store.count() == 2


def test_a_removal_that_the_server_refuses_changes_nothing(
    model: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    given = {"make": True, "address": postgres_address(), "table": name}
    with open_index(tmp_path / "one", model, **given) as index:
        index.add(FolderSupply(photos).candidates(), SkippedRecords(1))
        before, keys = len(index), index.journal.offered()
        index.store._run("SET default_transaction_read_only = on")
        with expect_refusal("read-only"):
            index.remove(keys[:1])
        assert len(index) == before == index.store.count()


def test_stats_count_the_rows_that_are_there(
    model: Path, photos: Path, tmp_path: Path, name: str, cli: Cli
) -> None:
    made = tmp_path / "made"
    where = ("--model", model, "--store", postgres_address(), "--table", name)
    cli.prints("index", "build", "--images", photos, "--out", made, *where)
    execute(f"DELETE FROM {name} WHERE key LIKE '%red%'")
    ((there,),) = execute(f"SELECT count(*) FROM {name}")
    told = json.loads(cli.prints("index", "stats", made))
    assert there not in (0, 12)
    assert told["pictures"] == told["stored"] == told["store"]["rows"] == there
    assert f"Note: {12 - int(str(there))} pictures have no row any more: `xfm index compact " in cli.errors


# ---------------------------------------------------------------- silence and new starts
@pytest.fixture
def through(proxy: Proxy, name: str) -> "Iterator[PostgresStore]":
    """A store of ten rows that is asked through the relay."""
    store = postgres.PostgresStore(f"{proxy.address}?application_name={name}", name, WIDTH)
    store.add(rows(10), replacing=False)
    yield store
    store.close()


def asked(store: "PostgresStore") -> list[str]:
    return [near.entry.key for near in store.nearest(rows(10)[4].vector, 1)]


def test_a_silent_connection_is_given_up_and_the_next_search_has_a_new_one(
    monkeypatch: pytest.MonkeyPatch, proxy: Proxy, through: "PostgresStore"
) -> None:
    expected = asked(through)
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 1)
    proxy.silent.set()
    began = time.monotonic()
    with expect_refusal("no answer in 1 second"):
        asked(through)
    assert time.monotonic() - began < 8
    proxy.silent.clear()
    assert asked(through) == expected


@pytest.mark.parametrize("end", ["the server ends it", "the network cuts it"])
def test_the_first_search_after_a_new_start_of_the_server_is_answered(
    proxy: Proxy, through: "PostgresStore", name: str, end: str
) -> None:
    expected = asked(through)
    if end == "the server ends it":
        mine = f"FROM pg_stat_activity WHERE application_name = '{name}'"
        assert execute(f"SELECT pg_terminate_backend(pid, 5000) {mine}") == [(True,)]
    else:
        proxy.cut()
    assert asked(through) == expected


@pytest.fixture
def searched(proxy: Proxy, model: Path, tmp_path: Path, name: str) -> Path:
    """A collection of three pictures that is asked through the relay."""
    with open_index(tmp_path / "pg", model, make=True, address=proxy.address, table=name) as index:
        index.store.add(rows(3, index.about.width), replacing=False)
    return tmp_path / "pg"


@thorough
def test_ctrl_c_ends_a_search_that_waits_for_a_silent_server(proxy: Proxy, searched: Path) -> None:
    proxy.silent_at = b"ORDER BY vector"
    with Running([*XFM, "search", str(searched), "a square"]) as running:
        running.wait_until(proxy.silent.is_set)
        began = time.monotonic()
        running.signal(signal.SIGINT)
        ended = running.end(60)
        assert time.monotonic() - began < 8  # the query itself is given up after ten
    assert ended.status == 130
    assert ended.said() == ["xfm: interrupted"]


# ---------------------------------------------------------------- what errors advise
@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("53100", ["its disk is full", "free space"]),
        ("42501", ["GRANT"]),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_a_server_refuses_is_said_with_what_to_do(name: str, state: str, words: list[str]) -> None:
    store = postgres.PostgresStore(postgres_address(), name, WIDTH)
    execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'oh dear' USING ERRCODE = '{state}'; END $$"
    )
    execute(f"CREATE TRIGGER refusing BEFORE INSERT ON {name} EXECUTE FUNCTION {name}()")
    with expect_refusal("oh dear", *words):
        store.add(rows(1), replacing=False)
    store.drop()
    execute(f"DROP FUNCTION {name}")
    store.close()


@thorough
def test_a_server_without_pgvector_is_told_and_one_with_a_new_one_is_used(name: str) -> None:
    execute(f"CREATE DATABASE {name}")
    address = f"{postgres_address().rpartition('/')[0]}/{name}"
    try:
        postgres.PostgresStore(address, "pictures", WIDTH).close()
        with psycopg.connect(address, autocommit=True) as owner:
            owner.execute("UPDATE pg_extension SET extversion = '0.9-dev' WHERE extname = 'vector'")
            postgres.PostgresStore(address, "pictures", WIDTH).close()
            owner.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
            with expect_refusal("pgvector 0.7.4", "0.8 is needed"):
                postgres.PostgresStore(address, "pictures", WIDTH)
            owner.execute("DROP EXTENSION vector CASCADE")
        for writing in (False, True):
            with expect_refusal("pgvector is not installed there"):
                postgres.PostgresStore(address, "pictures", WIDTH, writing=writing)
    finally:
        execute(f"DROP DATABASE {name} WITH (FORCE)")
