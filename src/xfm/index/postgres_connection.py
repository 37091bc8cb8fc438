"""Connections to PostgreSQL that wait within bounds, and what a server refuses as one sentence."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import waiting
from psycopg.abc import RV, PQGen

from xfm.errors import first_line
from xfm.index.server_address import read_address, without_password
from xfm.index.store import StoreError

CONNECT_SECONDS = 10
"""For which a server may take to answer where nobody said how long."""
ANSWER_SECONDS = 10
"""For which a search may take to be answered."""
_CANCEL_SECONDS = 0.5
_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""By which a network that is gone is noticed where waiting has no bound."""
_REMEDIES = (
    (("57014",), "it took too long, or was cancelled: see that the server is not stalled, and do it again"),
    (("08", "57"), "the connection was lost: see that the server runs, and do it again"),
    (("53100",), "its disk is full: free space there, and do it again"),
    (("53",), "it lacks memory or connections: wait, or raise its limits (max_connections)"),
    (("25006",), "it is read-only: name its primary"),
    (("42501",), "the role has no right to do this: let its owner GRANT it, or be asked as its owner"),
    (("42P01",), "the table is not there: build the collection again"),
    (("0A000", "58P01"), "pgvector is not installed there: install it (0.8 or newer)"),
    (("22", "42"), "the table is not this collection's: build with another --table"),
    (("23505",), "the table has rows that the collection does not know: do it again, which replaces them"),
    (("40", "55"), "another process was at the table: do it again"),
    (("XX",), "it is damaged: see its log, and restore it or build the collection again"),
    (("",), "see its log"),
)
"""How SQLSTATE begins, and what that is and what to do; the first that fits is said."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is given up where an answer does not come, or at Ctrl-C.

    Attributes:
        bounded: whether answers must come within `ANSWER_SECONDS`; a stalled server ends nothing by itself.
        settings: that were made in it.
    """

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
    """A new connection.

    Raises:
        UserError: the address cannot be read.
        StoreError: there is no connection; names host and port.
    """
    told = read_address(address)

    def said(name: str, variable: str, otherwise: object) -> str:
        return str(told.get(name) or os.environ.get(variable) or otherwise)

    waited = said("connect_timeout", "PGCONNECT_TIMEOUT", CONNECT_SECONDS)
    given: dict[str, Any] = {**_ALIVE, **told, "connect_timeout": waited}
    try:
        connection = BoundedConnection.connect(autocommit=True, **given)
    except psycopg.OperationalError as error:
        late = isinstance(error, psycopg.errors.ConnectionTimeout)
        reason = f"no answer in {waited} seconds" if late else first_line(error)
        host, port = said("host", "PGHOST", told.get("hostaddr") or "localhost"), said("port", "PGPORT", 5432)
        raise StoreError(
            f"{without_password(address)}: there is no connection to PostgreSQL at host {host}, port {port} "
            f"({reason}); check that it runs there, and the user and the password (PGPASSWORD)"
        ) from error
    connection.settings = {}
    return connection


@contextmanager
def explained(shown: str) -> Iterator[None]:
    """A server that refuses, as one sentence; its address is shown as given."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            state = "57014"
        remedy = next(remedy for starts, remedy in _REMEDIES if state.startswith(starts))
        raise StoreError(f"{shown}: the server cannot be used ({first_line(error)}); {remedy}") from error
