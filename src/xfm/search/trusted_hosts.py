"""What a collection names and nobody here has: a server, a model. Its folder may come from anybody.

A folder of pictures may even hold one that nobody sees (`xfm.search.manifest.HIDDEN`). So whom it would have
asked, and with which password of the environment, is not for it alone to say.
"""

import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from xfm.core.errors import UserError, excerpt, printable
from xfm.core.paths import home_path
from xfm.models.shipped import boxed_model

HOSTS = "XFM_STORE_HOSTS"
"""Of the environment: hosts of PostgreSQL that collections may name, with commas."""


def require_trusted(place: Path, address: str) -> None:
    """Refuse a server of another machine that a collection names, and nobody here has.

    Args:
        place: of the collection.
        address: of the server, as it names it.

    Raises:
        UserError: it is on another machine, and `XFM_STORE_HOSTS` does not name it; or it cannot be read.
    """
    known = {host.strip().lower() for host in os.environ.get(HOSTS, "").split(",")}
    strange = [host for host in hosts_of(address) if not _is_here(host) and host.lower() not in known]
    if strange:
        raise UserError(
            f"{place} keeps its rows at {excerpt(strange[0])}, another machine, which is asked if you trust "
            f"it: set {HOSTS}={excerpt(','.join(strange), 200)} in the environment"
        )


def hosts_of(address: str) -> list[str]:
    """Every host that an address of PostgreSQL leads to; a socket of this machine is empty or a path.

    A service counts as a host, too: another file says where it is.

    Raises:
        UserError: it is no address.
    """
    told = read_address(address)
    lists = [str(told[name]).split(",") for name in ("host", "hostaddr") if told.get(name)]
    services = [str(told[name]) for name in ("service", "servicefile") if told.get(name)]
    return [host.strip() for hosts in lists for host in hosts] + services


def _is_here(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tell_model(place: Path, model: str) -> None:
    """Say which model is loaded because a collection names it, unless it is one of the package."""
    if home_path(model).exists() or boxed_model(model) is None:
        print(
            f"Note: {printable(str(place))} names its model: {printable(excerpt(model, 200))}",
            file=sys.stderr,
        )


_ADDRESS = re.compile(
    r"(?P<scheme>postgres(?:ql)?://)(?:(?P<user>[^:@/?]*)(?::[^@/]*)?(?P<at>@))?(?![^@/]*@)"
    r"(?P<server>[^@?]*)(?:\?(?P<settings>.*))?"
)
"""Cut as libpq does: user and password end at the first @, before any /; the password may hold a ?."""
_SECRET = re.compile("(ssl)?password=|oauth_client_secret=|scram_(client|server)_key=")


def without_password(address: str) -> str:
    """An address as it may be shown and kept.

    Raises:
        UserError: it is none, or where its password ends is not sure.
    """
    read_address(address)  # says where it cannot be read
    if (found := _ADDRESS.fullmatch(address)) is None:
        raise unreadable()
    settings = (found["settings"] or "").split("&")
    kept = "&".join(one for one in settings if not _SECRET.match(unquote(one)))
    shown = f"{found['scheme']}{found['user'] or ''}{found['at'] or ''}{found['server']}"
    return f"{shown}?{kept}" if kept else shown


def read_address(address: str) -> dict[str, Any]:
    """What libpq reads in an address, by the names of its settings.

    Raises:
        UserError: it cannot.
    """
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    try:
        return conninfo_to_dict(address)
    except (Error, UnicodeError):  # whose messages may hold a part of the password
        raise unreadable() from None


def unreadable() -> UserError:
    """Of an address, of which nothing is shown."""
    return UserError(
        "the address of the server cannot be read: it is postgresql://HOST/DATABASE, and a password comes by "
        "PGPASSWORD, or has %40, %2F, %3F, %25 for @, /, ?, %"
    )
