"""The server as an ASGI application: routes, guards, errors as sentences, and an orderly end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from xfm.config.serving import ServeConfig
from xfm.core.errors import UserError, excerpt, printable
from xfm.search.store import StoreError
from xfm.serving.batching import BatcherClosed, QueueFull
from xfm.serving.dispatcher import Dispatcher
from xfm.serving.middleware import BUSY, App, Guard, Metrics
from xfm.serving.routes import routes
from xfm.serving.schemas import Readiness, description, errors, problem, reply
from xfm.serving.served import Models, Searches, UnknownModel

LOG = logging.getLogger("xfm.serving")
_LOOK_SECONDS = 1.0
"""For which `/ready` waits for a collection."""


class Server:
    """A server and its state; `guarded` is the ASGI application that uvicorn runs."""

    def __init__(
        self, models: Models, searches: Searches, config: ServeConfig, keys: Sequence[str] = ()
    ) -> None:
        self.models, self.searches, self.config = models, searches, config
        self.metrics = Metrics(lambda: self.dispatcher.batcher.waiting)
        self.dispatcher = Dispatcher(models, config, self.metrics.batch)
        self.ready, self._reloading = False, asyncio.Lock()
        self.app = FastAPI(
            title="xfm",
            version=version("xfm"),
            lifespan=self._lifespan,
            docs_url=None,  # these pages would fetch their scripts from other machines
            redoc_url=None,
            redirect_slashes=False,  # the address would be made of what the request says of the host
            responses=errors(),
        )
        self.app.include_router(routes(self.dispatcher, searches))
        self._add_watching()
        for kind in (UserError, RequestValidationError, HTTPException, QueueFull, BatcherClosed, Exception):
            self.app.add_exception_handler(kind, _explained)
        self.guarded: App = Guard(self.app, config, keys, self.metrics)

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self.dispatcher.batcher.start()
        self.ready = True
        yield
        self.ready = False
        await self.dispatcher.close()
        self.searches.close()

    def _add_watching(self) -> None:
        app = self.app

        @app.get("/health", tags=["watching"], response_model=dict[str, str], responses=errors(503))
        async def health() -> Response:
            """That the process lives, and computes what it is asked."""
            if not self.dispatcher.batcher.alive:
                return problem(503, "nothing is computed any more: start the server again", "broken")
            return reply({"status": "ok"})

        @app.get(
            "/ready",
            tags=["watching"],
            response_model=Readiness,
            responses={503: {"model": Readiness, "description": "Not yet, or not any more."}},
        )
        async def ready() -> Response:
            """Whether requests are taken, and what there is to ask."""
            ready = self.ready and self.dispatcher.batcher.alive
            names = self.searches.names
            found = await asyncio.gather(*map(self._look, names), return_exceptions=True)
            gone = [name for name, error in zip(names, found, strict=True) if error is not None]
            told = {"ready": ready, "models": [one.name for one in self.models], "unavailable": gone}
            told |= {"collections": [name for name in names if name not in gone]}
            return reply(told | {"waiting": self.dispatcher.batcher.waiting}, 200 if ready else 503)

        @app.get("/docs", include_in_schema=False)
        async def docs() -> Response:
            """All routes as a page that fetches nothing."""
            return Response(description(app.openapi()), media_type="text/html")

        @app.get("/metrics", tags=["watching"], response_class=PlainTextResponse)
        async def metrics() -> Response:
            """Counts and times, for Prometheus."""
            return Response(generate_latest(self.metrics.registry), media_type="text/plain; version=0.0.4")

    async def _look(self, name: str) -> None:
        searcher = self.searches.of(name)
        await self.dispatcher.look_up(searcher, lambda: searcher.index.store.pixels([""]), _LOOK_SECONDS)

    async def reload(self) -> None:
        """Load the models again; requests under way are answered by the old ones."""
        try:
            async with self._reloading:
                names = await asyncio.to_thread(self.models.reload)
        except Exception as error:
            LOG.error("the models stay as they are: %s", printable(str(error)))
        else:
            print(f"Loaded again: {printable(', '.join(names))}", flush=True)


async def _explained(request: Request, error: Exception) -> Response:
    """Errors as one sentence, without internals."""
    match error:
        case StoreError():
            LOG.error("%s: %s", printable(request.url.path), error)
            return problem(503, "the collection cannot be used now", "unavailable", {"retry-after": "5"})
        case UnknownModel():
            return problem(404, str(error), "model_not_found")
        case UserError():
            return problem(422, str(error), "invalid_input")
        case RequestValidationError():
            return problem(422, _said(error), "invalid_request")
        case HTTPException(status_code=404) if (request.method, request.url.path) == ("GET", "/"):
            return RedirectResponse("/docs")  # where no page has it, as that of `xfm demo` does
        case HTTPException():
            code, message = _WRONG.get(error.status_code, ("not_found", "{detail}"))
            asked = {"method": request.method, "path": excerpt(request.url.path), "detail": error.detail}
            return problem(error.status_code, message.format(**asked), code, dict(error.headers or {}))
        case QueueFull():
            return problem(429, *BUSY, {"retry-after": "1"})
        case BatcherClosed():
            return problem(503, "the server is shutting down", "closing", {"retry-after": "5"})
    LOG.error("%s failed", printable(request.url.path), exc_info=error)
    return problem(500, "the server failed at this request", "internal")


_WRONG = {
    400: (
        "invalid_request",
        "the body is no JSON in UTF-8, nested too deep, or has a number that is too long",
    ),
    404: ("not_found", "{path} is no route of this server: see /docs"),
    405: ("wrong_method", "{path} is not asked by {method}: see /docs"),
}
"""Codes and messages of what is refused before a route is reached."""


def _said(error: RequestValidationError) -> str:
    first: Any = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {first['ctx']['error']} (character {first['loc'][-1]})"
    if first["loc"] == ("body",) and first["type"] == "missing":
        return "the body is missing: send a JSON object, see /openapi.json"
    where = ".".join(excerpt(str(part)) for part in first["loc"] if part != "body")
    if first["type"] == "extra_forbidden":
        return f"{where} is no field of this request: leave it out, or see /openapi.json for its name"
    return f"{where}: {first['msg']}" if where else str(first["msg"])
