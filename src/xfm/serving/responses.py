"""Answers as bytes, and what the document says of the errors of every route."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from fastapi.responses import Response

from xfm.core.errors import printable
from xfm.serving.schemas import ErrorAnswer

_REASONS = {
    400: "The body is no JSON.",
    401: "The key is missing or wrong.",
    403: "The server is asked by a name that is not its own.",
    404: "There is no such model.",
    405: "The route is asked in another way.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    422: "The request cannot be answered; the message says why.",
    429: "The server is busy; the header Retry-After says when to try again.",
    500: "The server failed.",
    503: "The server is shutting down, or a collection cannot be used.",
    504: "It was not answered in time.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its description; what may happen to any request is among them."""
    every = {400, 401, 403, 408, 413, 429, *statuses}
    return {one: {"model": ErrorAnswer, "description": _REASONS[one]} for one in sorted(every)}


ASKING = errors(404, 422, 500, 503, 504)
"""Of the routes that ask a model."""


def reply(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer as JSON; arrays are lists of numbers in it, and what no number is, null."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return Response(orjson.dumps(told, default=_plain, option=options), status, headers, "application/json")


def problem(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> Response:
    """An error as OpenAI's clients read it."""
    told = {"message": printable(message), "type": "invalid_request_error", "param": None, "code": code}
    return reply({"error": told}, status, headers)


def description(document: dict[str, Any]) -> str:
    """What an OpenAPI document says of its routes, as a page without scripts."""
    rows = "".join(
        f"<tr><td>{method.upper()} <code>{escape(path)}</code><td>{escape(told.get('description', ''))}"
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    )
    link = '<a href="/openapi.json">openapi.json</a> has their bodies and answers.'
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>xfm</title>'
    return f"{head}<h1>What this server answers</h1><p>{link}<table>{rows}</table>"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # one whose numbers do not lie side by side
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
