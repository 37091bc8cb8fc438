"""The address of a server that keeps rows, without what nobody else is to see."""

import re
from typing import Any
from urllib.parse import unquote

from xfm.errors import UserError

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
        raise _unreadable()
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
        raise _unreadable() from None


def _unreadable() -> UserError:
    return UserError(
        "the address of the server cannot be read: it is postgresql://HOST/DATABASE, and a password comes by "
        "PGPASSWORD, or has %40, %2F, %3F, %25 for @, /, ?, %"
    )
