"""Trust in a collection from anybody: the server and model that it names, and passwords in addresses."""

import ipaddress
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from xfm.core.errors import UserError, excerpt, printable
from xfm.models.resolve import packaged

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


def tell_model(place: Path, model: str) -> None:
    """Say which model a collection loads, unless it is the package's."""
    if packaged(model) is None:
        told = f"{place} names its model: {excerpt(model, 200)}"
        print(f"Note: {printable(told)}", file=sys.stderr)


_ADDRESS = re.compile(
    r"(?P<scheme>postgres(?:ql)?://)(?:(?P<user>[^:@/?]*)(?::[^@/]*)?(?P<at>@))?(?![^@/]*@)"
    r"(?P<server>[^@?]*)(?:\?(?P<settings>.*))?"
)
"""Cut as libpq does: user and password end at the first @, before any /; the password may hold a ?."""
_SECRET = re.compile("(ssl)?password=|oauth_client_secret=|scram_(client|server)_key=")


def without_password(address: str) -> str:
    """An address without secrets; UserError: not an address, or an unclear end of its password."""
    read_address(address)  # says where it cannot be read
    if (found := _ADDRESS.fullmatch(address)) is None:
        raise unreadable()
    settings = (found["settings"] or "").split("&")
    kept = "&".join(one for one in settings if not _SECRET.match(unquote(one)))
    shown = f"{found['scheme']}{found['user'] or ''}{found['at'] or ''}{found['server']}"
    return f"{shown}?{kept}" if kept else shown


def read_address(address: str) -> dict[str, Any]:
    """libpq's settings in an address; raises UserError, also where what PostgreSQL needs is not installed."""
    try:
        import_module("pgvector")
        from psycopg import Error
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise UserError(
            f"PostgreSQL needs psycopg and pgvector ({error}): pip install 'xfm[postgres]'"
        ) from error
    try:
        told = conninfo_to_dict(address)
    except (Error, UnicodeError):  # whose messages may hold a part of the password
        raise unreadable() from None
    if not re.fullmatch(r"[\d,]*", str(told.get("port") or "")):
        raise unreadable()
    return told


def unreadable() -> UserError:
    """Of an address, of which nothing is shown."""
    return UserError(
        "the address of the server cannot be read: it is postgresql://HOST/DATABASE, and a password comes by "
        "PGPASSWORD, or has %40, %2F, %3F, %25 for @, /, ?, %"
    )
