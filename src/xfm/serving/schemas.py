"""Requests and answers as the field writes them: OpenAI's embeddings, Cohere's and Jina's rerank, tasks."""

from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, conlist, create_model

from xfm.core.errors import printable
from xfm.serving.inputs import TOP

Given = str | dict[str, Any]
"""A text, a data URL, or an object with `text` or `image`."""


class ModelRequest(BaseModel):
    """What requests to a model share; a field that is not known is refused, but in the shape of others, whose
    clients send many."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str | None = Field(None, description="name of a served model; the first one if not given")


class EmbeddingRequest(ModelRequest, extra="ignore"):
    """`POST /v1/embeddings`, as OpenAI's clients send it; pictures as data URLs."""

    input: Given | list[Given] = Field(description='texts, data URLs, {"text": ...} or {"image": data URL}')
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="the model's own, or a size it was trained for")


class RerankRequest(ModelRequest, extra="ignore"):
    """`POST /v1/rerank` and `/v2/rerank`: a text against pictures, a picture against texts, or like kinds."""

    query: Given
    documents: list[Given] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


class ScoreRequest(ModelRequest, extra="ignore"):
    """`POST /score`: pairs, or one against many."""

    text_1: Given | list[Given]
    text_2: Given | list[Given]


class TaskRequest(ModelRequest):
    """`POST /v1/tasks/NAME`: one input or several, with the options of the task."""

    input: dict[str, Any] | list[dict[str, Any]]
    options: dict[str, Any] = Field(default_factory=dict)


class AttentionRequest(ModelRequest):
    """`POST /v1/attention`: a picture and a text."""

    image: Given
    text: str
    layer: int | None = Field(None, ge=0, description="of the fusion encoder; the middle one if not given")


class SearchRequest(BaseModel):
    """`POST /search`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str | None = None
    image: Given | None = None
    index: str | None = Field(None, description="name of a collection; the first one if not given")
    top_k: int = Field(10, ge=1, le=TOP)
    rerank: int = Field(32, ge=0, le=TOP)
    min_score: float | None = Field(
        None, ge=0, le=1, description="probability from which something fits; the model's own if not given"
    )
    where: list[Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=list, max_length=16, description="conditions on metadata, all of which hold"
    )


# ---------------------------------------------------------------- answers
def _answer(name: str, does: str, **fields: Any) -> type[BaseModel]:
    """A model for the document of the API alone: answers are dicts. A field with a default may be absent."""
    whole: Any = {one: kind if isinstance(kind, tuple) else (kind, ...) for one, kind in fields.items()}
    return create_model(name, __doc__=does, **whole)


def _listing(kind: type[BaseModel], **more: Any) -> type[BaseModel]:
    does = "A list, as OpenAI writes it, in the order of the inputs."
    return _answer(f"{kind.__name__}List", does, object=Literal["list"], data=conlist(kind), **more)


_READ: dict[str, Any] = {
    "model": str,
    "usage": Annotated[dict[str, int], Field(description="tokens that were read")],
}
ErrorAnswer = _answer(
    "ErrorAnswer",
    "The answer to a request that is refused or failed: message, type, param and code, as OpenAI's have.",
    error=dict[str, str | None],
)
ModelList = _listing(
    _answer(
        "ModelInfo",
        "A model that is served, and the tasks that it answers.",
        id=str, object=Literal["model"], owned_by=str, tasks=list[str],
    )
)  # fmt: skip
EmbeddingList = _listing(
    _answer(
        "Embedding",
        "One vector: numbers, or little-endian float32 in base64.",
        object=Literal["embedding"], index=int, embedding=list[float] | str,
    ),
    **_READ,
)  # fmt: skip
PairScoreList = _listing(
    _answer("PairScore", "A pair.", index=int, object=Literal["score"], score=float), **_READ
)
Reranked = _answer(
    "Reranked",
    "A document: where it stood, and how well it fits, from 0 to 1.",
    index=int, relevance_score=float, document=Any,
)  # fmt: skip
RerankAnswer = _answer(
    "RerankAnswer",
    "Documents, the best first.",
    id=str, results=conlist(Reranked), meta=dict[str, Any], **_READ,
)  # fmt: skip
TaskAnswer = _answer(
    "TaskAnswer",
    "Answers in the order of the inputs; an input that cannot be used has its error in its place.",
    model=str, task=str, answers=list[Any],
)  # fmt: skip
AttentionAnswer = _answer(
    "AttentionAnswer",
    "Where the fusion encoder looks, in one of its layers, for the whole text and for each word; maps are "
    "[rows][columns] over the picture, not negative. `match` is the probability that the text fits.",
    model=str, layer=int, layers=int, match=float, whole=list[list[float]], words=list[str],
    maps=list[list[list[float]]],
)  # fmt: skip
SearchHit = _answer(
    "SearchHit",
    "A picture that was found; match and box (in pixels; y points down) only where it was re-ranked.",
    key=Annotated[str, Field(description="GET /search/picture shows it")],
    source=Annotated[str, Field(description="its path in the indexed folder, or the name of its file")],
    width=int, height=int, score=float, similarity=float, match=(float | None, None),
    box=(dict[str, float] | None, None), metadata=dict[str, str | float | bool],
)  # fmt: skip
SearchAnswer = _answer(
    "SearchAnswer",
    "The nearest pictures; `fits` false says that none of them is what was searched. `limits` says what the "
    "model is not made for, where it is not sure; else it is empty.",
    hits=conlist(SearchHit), fits=bool | None, best=float | None, min_score=float, fitted=bool, searched=int,
    limits=str,
)  # fmt: skip
Readiness = _answer(
    "Readiness",
    "`GET /ready`; collections that do not answer now are unavailable.",
    ready=bool, models=list[str], collections=list[str], unavailable=list[str], waiting=int,
)  # fmt: skip


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, with those of any request."""
    every = {400, 401, 403, 408, 413, 429, *statuses}
    return {one: {"model": ErrorAnswer, "description": HTTPStatus(one).phrase} for one in sorted(every)}


ASKING = errors(404, 422, 500, 503, 504)
"""Of the routes that ask a model."""


def reply(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON; arrays become lists, NaN becomes null."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return Response(orjson.dumps(told, default=_plain, option=options), status, headers, "application/json")


def problem(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> Response:
    """An error as OpenAI's clients read it."""
    told = {"message": printable(message), "type": "invalid_request_error", "param": None, "code": code}
    return reply({"error": told}, status, headers)


def description(document: dict[str, Any]) -> str:
    """An OpenAPI document's routes as a page without scripts."""
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
