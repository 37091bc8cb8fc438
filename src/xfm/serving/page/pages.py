"""The page over HTTP: its files, its examples, and what keeps other pages away from the API."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from xfm.serving.middleware import OPEN, App, Receive, Scope, Send
from xfm.serving.page.examples import Examples

PAGE, PICTURES = "/page", "/page/examples"
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every answer: nothing is loaded from elsewhere, and no other page shows or reads this one."""


@cache
def page_files() -> Mapping[str, tuple[bytes, str]]:
    """The page's files by their path in the address, each with its media type."""
    home = files("xfm.serving.page") / "page"
    found: dict[str, tuple[bytes, str]] = {}
    for folder, name in ((home, PAGE), (home / "tabs", f"{PAGE}/tabs")):
        for entry in folder.iterdir():
            kind = _KINDS.get(entry.name.rpartition(".")[2])
            if kind and entry.is_file():
                found[f"{name}/{entry.name}"] = (entry.read_bytes(), kind)
    found["/"] = found.pop(f"{PAGE}/index.html")
    return found


def free_paths(examples: Examples | None) -> frozenset[str]:
    """Paths that need no key: the page itself, which asks for one, and the examples, which all can draw."""
    drawn = [f"{PICTURES}/{name}" for name in examples.pictures] if examples else []
    return OPEN | frozenset(page_files()) | frozenset(drawn)


def page_routes(told: Mapping[str, Any], examples: Examples | None) -> APIRouter:
    """The routes of the page.

    Args:
        told: from `xfm.serving.page.about.about`.
        examples: whose pictures are given; None has none.
    """
    router = APIRouter(include_in_schema=False)
    about = json.dumps(told, ensure_ascii=False).encode()

    @router.get(f"{PAGE}/about")
    async def described() -> Response:
        return Response(about, media_type="application/json", headers={"cache-control": "no-store"})

    @router.get(f"{PICTURES}/{{name}}")
    async def example(name: str) -> Response:
        data = examples.pictures.get(name) if examples else None
        if data is None:
            raise HTTPException(404, "there is no such example")
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    @router.get("/")
    @router.get(f"{PAGE}/{{name:path}}")
    async def page(request: Request) -> Response:
        found = page_files().get(request.url.path)
        if found is None:
            raise HTTPException(404, "there is no such file")
        return Response(found[0], media_type=found[1], headers={"cache-control": "no-cache"})

    return router


class PageHeaders:
    """Says with every answer what a browser may do with it.

    That the server is asked by one of its own names and its own page, the guard behind it sees to.

    Args:
        app: what answers.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, sending)
