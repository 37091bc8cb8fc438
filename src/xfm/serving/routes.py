"""The routes: each turns a request into inputs of tasks, and answers into the shape that its clients read."""

import base64
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray

from xfm.config.index import SearchOptions
from xfm.config.tasks import task_spec
from xfm.errors import UserError
from xfm.serving.desk import Desk
from xfm.serving.inputs import DATA
from xfm.serving.models import Served
from xfm.serving.searches import Searches
from xfm.serving.shapes import (
    Embedding,
    EmbeddingAnswer,
    EmbeddingRequest,
    Given,
    PairScore,
    RerankAnswer,
    Reranked,
    RerankRequest,
    ScoreAnswer,
    ScoreRequest,
    SearchRequest,
    TaskAnswer,
    TaskRequest,
    Usage,
)

EMBED, MATCH = "embed", "image-text-matching"


def routes(desk: Desk, searches: Searches) -> APIRouter:
    """All routes that ask a model."""
    router = APIRouter()

    @router.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        """The models that are served, as OpenAI lists them, with the tasks that each answers."""
        listed = await desk.in_thread(lambda: [(one.name, one.tasks()) for one in desk.models])
        data = [{"id": name, "object": "model", "owned_by": "xfm", "tasks": tasks} for name, tasks in listed]
        return {"object": "list", "data": data}

    @router.post("/v1/embeddings", tags=["embeddings"])
    async def embeddings(asked: EmbeddingRequest) -> EmbeddingAnswer:
        """Unit vectors of texts and pictures, in one space: their products are cosines."""
        served = desk.models.model(asked.model)
        width = served.pretrained.model.config.projection
        if asked.dimensions not in (None, width):
            raise UserError(
                f"dimensions is {asked.dimensions}, and the model's vectors have {width}: leave it out"
            )
        given = asked.input if isinstance(asked.input, list) else [asked.input]
        vectors = await _vectors(desk, served, given)
        shown = [
            Embedding(index=place, embedding=_shown(vector, asked.encoding_format))
            for place, vector in enumerate(vectors)
        ]
        return EmbeddingAnswer(data=shown, model=served.name, usage=await _usage(desk, served, given))

    @router.post("/v1/rerank", tags=["rerank"])
    @router.post("/v2/rerank", tags=["rerank"])
    async def rerank(asked: RerankRequest) -> RerankAnswer:
        """Documents by how well they fit a query, from 0 to 1.

        Between a text and a picture that is the calibrated probability of a match, else (1 + cosine) / 2.
        """
        served = desk.models.model(asked.model)
        scores = await _scores(desk, served, [asked.query] * len(asked.documents), asked.documents)
        order = sorted(range(len(scores)), key=lambda place: -scores[place])[: asked.top_n]
        results = [
            Reranked(
                index=place,
                relevance_score=scores[place],
                document=_document(asked.documents[place]) if asked.return_documents else None,
            )
            for place in order
        ]
        usage = await _usage(desk, served, [asked.query, *asked.documents])
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return RerankAnswer(id=uuid.uuid4().hex, model=served.name, results=results, usage=usage, meta=meta)

    @router.post("/score", tags=["rerank"])
    async def score(asked: ScoreRequest) -> ScoreAnswer:
        """Scores of pairs; one `text_1` stands for as many as there are `text_2`."""
        served = desk.models.model(asked.model)
        first, second = (one if isinstance(one, list) else [one] for one in (asked.text_1, asked.text_2))
        if len(first) == 1:
            first = first * len(second)
        if len(first) != len(second):
            raise UserError(f"text_1 has {len(first)} and text_2 {len(second)}: give one, or as many")
        scores = await _scores(desk, served, first, second)
        data = [PairScore(index=place, score=value) for place, value in enumerate(scores)]
        return ScoreAnswer(data=data, model=served.name, usage=await _usage(desk, served, [*first, *second]))

    @router.post("/v1/tasks/{task}", tags=["tasks"])
    async def answer(task: str, asked: TaskRequest) -> TaskAnswer:
        """Answers of a task that the model was trained for, see `GET /v1/models`."""
        spec, served = task_spec(task), desk.models.model(asked.model)
        if spec.gallery:
            raise UserError(f"{spec.name} searches in a gallery: POST /search, or /v2/rerank with documents")
        several = asked.input if isinstance(asked.input, list) else [asked.input]
        given = await desk.in_thread(lambda: [desk.inputs.of_task(one, spec.inputs) for one in several])
        found = await desk.ask(served, spec.name, given, asked.options)
        if all(isinstance(one, UserError) for one in found) and found:
            raise found[0]
        answers = [{"error": str(one)} if isinstance(one, UserError) else _plain(one) for one in found]
        return TaskAnswer(model=served.name, task=spec.name, answers=answers)

    @router.post("/search", tags=["search"])
    async def search(asked: SearchRequest) -> dict[str, Any]:
        """Pictures of a collection by a text, a picture or both; `fits` false says that nothing was found."""
        image = None
        if asked.image is not None:
            image = desk.inputs.picture(
                asked.image.get("image") if isinstance(asked.image, dict) else asked.image
            )
        options = SearchOptions(asked.top_k, asked.rerank, asked.least, asked.where)
        searcher = searches.of(asked.index)
        return await desk.compute(
            asked.index or "", lambda: searches.answer(searcher, asked.text, image, options)
        )

    return router


async def _vectors(desk: Desk, served: Served, given: Sequence[Given]) -> list[NDArray[np.float32]]:
    """Vectors of texts and pictures; the first that cannot be used is refused with its place."""
    inputs = await desk.in_thread(lambda: [_numbered(desk, place, one) for place, one in enumerate(given)])
    found = await desk.ask(served, EMBED, inputs)
    for place, one in enumerate(found):
        if isinstance(one, UserError):
            raise UserError(f"input {place}: {one}")
    return found


def _numbered(desk: Desk, place: int, given: Given) -> dict[str, Any]:
    try:
        return desk.inputs.text_or_picture(given)
    except UserError as error:
        raise UserError(f"input {place}: {error}") from None


async def _scores(desk: Desk, served: Served, first: Sequence[Given], second: Sequence[Given]) -> list[float]:
    """How well pairs fit, from 0 to 1."""
    sides = await desk.in_thread(
        lambda: [[_numbered(desk, place, one) for place, one in enumerate(side)] for side in (first, second)]
    )
    pairs = [{**one, **other} for one, other in zip(*sides, strict=True)]
    crossed = [place for place, pair in enumerate(pairs) if len(pair) == 2]
    alike = [place for place, pair in enumerate(pairs) if len(pair) == 1]
    scores = [0.0] * len(pairs)
    if crossed:
        found = await desk.ask(served, MATCH, [pairs[place] for place in crossed])
        for place, one in zip(crossed, found, strict=True):
            if isinstance(one, UserError):
                raise UserError(f"input {place}: {one}")
            scores[place] = one["score"]
    if alike:
        vectors = await _vectors(desk, served, [side[place] for side in (first, second) for place in alike])
        for number, place in enumerate(alike):
            cosine = float(vectors[number] @ vectors[len(alike) + number])
            scores[place] = min(1.0, max(0.0, (1 + cosine) / 2))
    return scores


def _shown(vector: NDArray[np.float32], encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()


async def _usage(desk: Desk, served: Served, given: Sequence[Given]) -> Usage:
    """Tokens of the texts; a picture counts its patches."""
    texts = [
        text for one in given if isinstance(text := one if isinstance(one, str) else one.get("text"), str)
    ]
    words = [text for text in texts if not text.startswith(DATA)]
    patches = served.pretrained.model.config.vision.patches * (len(given) - len(words))
    return await desk.in_thread(lambda: _counted(served, words, patches))


def _counted(served: Served, texts: Sequence[str], patches: int) -> Usage:
    longest = served.pretrained.model.config.language.longest
    read = int(served.pretrained.tokenizer.encode_batch(texts, longest).tokens.mask.sum()) if texts else 0
    return Usage(prompt_tokens=read + patches, total_tokens=read + patches)


def _document(given: Given) -> Given:
    return {"text": given} if isinstance(given, str) else given


def _plain(value: Any) -> Any:
    """An answer as JSON has it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
