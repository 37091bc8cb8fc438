"""Connections to PostgreSQL, and what a server refuses as one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from xfm.errors import first_line
from xfm.index.server_address import without_password
from xfm.index.store import StoreError

CONNECT_SECONDS = 10
"""For which a server may take to answer where nobody said how long."""


def connected(address: str) -> psycopg.Connection[Any]:
    """A new connection.

    It is waited for as long as the address (`connect_timeout`) or libpq's environment (`PGCONNECT_TIMEOUT`)
    says, else `CONNECT_SECONDS`.

    Raises:
        StoreError: there is none; names host and port.
    """
    told = conninfo_to_dict(address)

    def said(name: str, variable: str, otherwise: object) -> str:
        return str(told.get(name) or os.environ.get(variable) or otherwise)

    waited = said("connect_timeout", "PGCONNECT_TIMEOUT", "")
    limit: dict[str, Any] = {} if waited else {"connect_timeout": CONNECT_SECONDS}
    try:
        return psycopg.connect(address, autocommit=True, **limit)
    except psycopg.OperationalError as error:
        late = isinstance(error, psycopg.errors.ConnectionTimeout)
        reason = f"no answer in {waited or CONNECT_SECONDS} seconds" if late else first_line(error)
        host, port = said("host", "PGHOST", told.get("hostaddr") or "localhost"), said("port", "PGPORT", 5432)
        raise StoreError(
            f"{without_password(address)}: there is no connection to PostgreSQL at host {host}, port {port} "
            f"({reason}); check that it runs there, and the user and the password (PGPASSWORD)"
        ) from error


@contextmanager
def explained(address: str) -> Iterator[None]:
    """A server that refuses, as one sentence."""
    try:
        yield
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StoreError(
            f"{without_password(address)}: the server cannot be used ({reason}); check address, rights and "
            "that pgvector is installed there"
        ) from error
