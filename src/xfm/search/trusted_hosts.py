"""Trust in a collection from anybody: the server that it names, and passwords in addresses."""

import ipaddress
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError, excerpt, explained

HOSTS = "XFM_STORE_HOSTS"
"""Of the environment: hosts of PostgreSQL that collections may name, with commas."""


def require_trusted(place: Path, address: str) -> None:
    """Refuse a server on another machine that a collection names and `XFM_STORE_HOSTS` does not."""
    known = {host.strip().lower() for host in os.environ.get(HOSTS, "").split(",")}
    told = read_address(address)  # a local socket is empty or a path, a service counts as a host
    named = [str(told[name]) for name in ("host", "hostaddr") if told.get(name)]
    hosts = [host.strip() for several in named for host in several.split(",")]
    hosts += [str(told[name]) for name in ("service", "servicefile") if told.get(name)]
    strange = [host for host in hosts if not _is_here(host) and host.lower() not in known]
    if strange:
        raise UserError(
            f"{place} keeps its rows at {excerpt(strange[0])}, another machine, which is asked if you trust "
            f"it: set {HOSTS}={excerpt(','.join(strange), 200)} in the environment"
        )


def _is_here(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


UNREADABLE = (
    "the address of the server cannot be read: it is postgresql://HOST/DATABASE, and a password comes by "
    "PGPASSWORD, or has %40, %2F, %3F, %25 for @, /, ?, %"
)
"""Of an address nothing is shown."""
_SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")


def without_password(address: str) -> str:
    """An address without secrets, as libpq's settings (`host=db dbname=shop`); UserError: unreadable."""
    told = read_address(address)  # says where psycopg is missing
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**{name: told[name] for name in sorted(told) if name not in _SECRETS})


def read_address(address: str) -> dict[str, Any]:
    """libpq's settings in an address; raises UserError, also where what PostgreSQL needs is not installed."""
    with explained("PostgreSQL needs psycopg and pgvector", "pip install 'xfm[postgres]'", ImportError):
        import_module("pgvector")
        from psycopg import Error
        from psycopg.conninfo import conninfo_to_dict
    try:
        told = conninfo_to_dict(address)
    except (Error, UnicodeError):  # whose messages may hold a part of the password
        raise UserError(UNREADABLE) from None
    # A password that is not written as it should may go on in what follows it.
    unclear = any("@" in str(told.get(name)) for name in ("host", "dbname"))
    if unclear or not re.fullmatch(r"[\d,]*", str(told.get("port") or "")):
        raise UserError(UNREADABLE)
    return told
