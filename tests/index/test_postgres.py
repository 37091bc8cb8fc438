"""What is PostgreSQL's alone: rights, the language of a database, tables that several share."""

import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.index.conftest import WIDTH, holds, postgres_address, rows_of, unit
from tests.refusals import expect_refusal
from xfm.core.errors import UserError
from xfm.search.filters import Condition, Relation
from xfm.search.store import Row
from xfm.search.trusted_hosts import without_password

psycopg = pytest.importorskip("psycopg")
conninfo_to_dict = psycopg.conninfo.conninfo_to_dict
postgres = pytest.importorskip("xfm.search.postgres")


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def german(name: str) -> Iterator[str]:
    """The address of a database whose texts are in the order of a dictionary."""
    address = postgres_address()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de' "
            "LOCALE 'C.UTF-8'"
        )
        yield f"{address.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name}")


def test_texts_are_compared_by_their_letters_in_a_database_of_any_language(german: str) -> None:
    store = postgres.PostgresStore(german, "pictures", WIDTH)
    said = ("Zoo", "apple", "Übung", "zoo", "-a", "b")
    vectors = unit(np.random.default_rng(0), len(said))
    rows: list[Row] = []
    for place, text in enumerate(said):
        rows += rows_of(vectors[place : place + 1], first=place, said=text)
    store.add(rows, replacing=False)
    for relation in (Relation.LESS, Relation.AT_MOST, Relation.MORE, Relation.AT_LEAST):
        for text in said:
            one = Condition("said", relation, (text,))
            expected = {row.entry.key for row in rows if holds(one, row.entry.metadata)}
            assert set(store.keys([one])) == expected
    store.close()


@pytest.mark.parametrize("kind", ["a role that may read", "a replica"])
def test_a_search_needs_no_right_but_to_read(name: str, kind: str) -> None:
    address, rows = postgres_address(), rows_of(unit(np.random.default_rng(1), 5))
    store = postgres.PostgresStore(address, name, WIDTH)
    store.add(rows, replacing=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        connection.execute(f"GRANT SELECT ON {name} TO {name}")
        try:
            if kind == "a replica":
                asked = f"{address}?options=-c%20default_transaction_read_only%3Don"
            else:
                asked = address.replace("//postgres", f"//{name}")
            reader = postgres.PostgresStore(asked, name, WIDTH, writing=False)
            assert reader.nearest(rows[2].vector, 1)[0].entry.key == "k2"
            assert reader.count([Condition("even", Relation.EQUAL, (True,))]) == 3
            with expect_refusal("cannot be used"):
                reader.remove(["k2"])
            reader.close()
        finally:
            store.drop()
            store.close()
            connection.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:secret@db:5432/shop", "dbname=shop host=db port=5432 user=u"),
        ("postgres://db/shop?sslmode=require&passw%6Frd=secret", "dbname=shop host=db sslmode=require"),
        ("postgresql://%2Fvar%2Frun/shop", "dbname=shop host=/var/run"),
        ("postgresql://u:se?password=cret@[::1]:5432/shop", "dbname=shop host=::1 port=5432 user=u"),
        ("postgresql://u:secr:et@db,db2:5433/shop", "dbname=shop host=db,db2 port=,5433 user=u"),
    ],
)
def test_a_password_is_not_kept(address: str, shown: str) -> None:
    assert without_password(address) == shown
    read, kept = conninfo_to_dict(address), conninfo_to_dict(shown)
    assert kept == {name: value for name, value in read.items() if "password" not in name}


@given(
    st.text("abc:/?@#&=%+ [],", min_size=3), st.sampled_from(["", ":5432", "/shop", "/shop?sslmode=require"])
)
def test_no_password_is_shown_however_it_is_written(password: str, rest: str) -> None:
    secret = f"zzz{password}zzz"
    for address in (f"postgresql://u:{secret}@db{rest}", f"postgresql://db/shop?password={secret}&port=1"):
        with suppress(UserError):
            shown = without_password(address)
            assert "zzz" not in shown
            conninfo_to_dict(shown)


def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 2)
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes connections, and says nothing
        port, began = silent.getsockname()[1], time.monotonic()
        with pytest.raises(UserError) as caught:
            postgres.PostgresStore(f"postgresql://u:secret@127.0.0.1:{port}/shop", "pictures", WIDTH)
        assert time.monotonic() - began < 8
    assert f"host=127.0.0.1 port={port} user=u: there is no connection" in str(caught.value)
    assert "(connection timeout expired)" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "rest",
    ["a..b/shop", "h" * 64 + ".example/shop", "x/shop?connect_timeout=abc", "u:secret@x:1:secret/shop"],
)
def test_a_host_that_no_name_can_be_is_no_address(rest: str) -> None:
    with expect_refusal("cannot be read"):
        postgres.connected(f"postgresql://{rest}")


def test_a_server_that_sends_the_password_back_is_quoted_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise psycopg.OperationalError("no entry for secret")

    monkeypatch.setattr(postgres.BoundedConnection, "connect", refused)
    with pytest.raises(UserError, match=r"no entry for \.\.\.") as caught:
        postgres.connected("postgresql://u:secret@127.0.0.1/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {table} SET metadata = '[1]'",
        "ALTER TABLE {table} ALTER vector DROP NOT NULL; UPDATE {table} SET vector = NULL",
    ],
)
def test_a_row_of_other_kinds_is_damage(name: str, change: str) -> None:
    store = postgres.PostgresStore(postgres_address(), name, WIDTH)
    vectors = unit(np.random.default_rng(0), 1)
    store.add(rows_of(vectors, said="a"), replacing=False)
    store._run(change)
    with expect_refusal("table is damaged", "build"):
        store.nearest(vectors[0], 1)
    with expect_refusal("table is damaged", "build"):
        store.vectors()
    store.drop()


def test_a_database_of_another_encoding_says_what_it_cannot_hold(name: str) -> None:
    address = postgres_address()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        try:
            store = postgres.PostgresStore(f"{address.rpartition('/')[0]}/{name}", "pictures", WIDTH)
            with expect_refusal("encoding UTF8"):
                store.add(rows_of(unit(np.random.default_rng(0), 1), said="\U0001f408"), replacing=False)
            store.close()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
