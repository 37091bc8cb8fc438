"""The address of a server that keeps rows, without what nobody else is to see."""

import re
from urllib.parse import unquote

from xfm.errors import UserError


def without_password(address: str) -> str:
    """An address as it may be shown and kept.

    Raises:
        UserError: it is none.
    """
    if not address.startswith(("postgresql://", "postgres://")):
        raise UserError(
            "the address of a server is postgresql://HOST/DATABASE; a password comes by PGPASSWORD"
        )
    before, query, settings = address.partition("?")
    kept = [one for one in settings.split("&") if not unquote(one).startswith(("password=", "sslpassword="))]
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1@", before) + (query + "&".join(kept) if any(kept) else "")
