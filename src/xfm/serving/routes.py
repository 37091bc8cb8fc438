"""The routes: requests into inputs of tasks, and answers into the clients' formats."""

import base64
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from fastapi import Path as Parameter
from fastapi.responses import Response

from xfm.config.pipelines import SearchOptions
from xfm.config.tasks import EMBED, MATCHING, task_spec, task_specs
from xfm.core.errors import UserError, naming
from xfm.inference.attention import attention_maps, default_layer
from xfm.search.searching import Searcher, SearchQuery, Shortlist
from xfm.serving import schemas
from xfm.serving.batching import BatchKey
from xfm.serving.dispatcher import PICTURE_LENGTH, Dispatcher
from xfm.serving.inputs import SentImage, check_texts
from xfm.serving.served import Searches, ServedModel

TaskName = Annotated[str, Parameter(json_schema_extra={"enum": [one.name for one in task_specs()]})]
Input = dict[str, Any]
"""`{"text": str}` or `{"image": Sent}`."""


def routes(dispatcher: Dispatcher, searches: Searches) -> APIRouter:
    """All routes that ask a model."""
    router = APIRouter()

    @router.get("/v1/models", tags=["models"], response_model=schemas.ModelList)
    async def models() -> Response:
        """The models that are served, as OpenAI lists them, with the tasks that each answers."""
        told = {"object": "model", "owned_by": "xfm"}
        data = [{"id": one.name, **told, "tasks": one.tasks} for one in dispatcher.models]
        return schemas.reply({"object": "list", "data": data})

    @router.post(
        "/v1/embeddings", tags=["embeddings"], response_model=schemas.EmbeddingList, responses=schemas.ASKING
    )
    async def embeddings(asked: schemas.EmbeddingRequest) -> Response:
        """Unit vectors of texts and pictures, in one space: their products are cosines."""
        served = dispatcher.models.model(asked.model)
        task, size = served.pretrained.task, asked.dimensions
        sizes = served.pretrained.model.config.projection, *(task.task.dimensions if task else ())
        if size not in (None, *sizes):
            own = " or ".join(map(str, sizes))
            raise UserError(f"dimensions is {size}, and the model's vectors have {own}: leave it out")
        given = _inputs(dispatcher, asked.input)
        vectors = _all_good(await dispatcher.ask(served, EMBED.name, given))
        if size in sizes[1:]:
            vectors = [one[:size] / np.linalg.norm(one[:size]) for one in vectors]
        if asked.encoding_format == "base64":
            vectors = [base64.b64encode(one.astype("<f4").tobytes()).decode() for one in vectors]
        data = [
            {"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(vectors)
        ]
        usage = await _usage(dispatcher, served, given)
        return schemas.reply({"object": "list", "data": data, "model": served.name, "usage": usage})

    @router.post("/v1/rerank", tags=["rerank"], response_model=schemas.RerankAnswer, responses=schemas.ASKING)
    @router.post("/v2/rerank", tags=["rerank"], response_model=schemas.RerankAnswer, responses=schemas.ASKING)
    async def rerank(asked: schemas.RerankRequest) -> Response:
        """Documents by how well they fit a query, from 0 to 1. Between a text and a picture that is the
        calibrated probability of a match, else (1 + cosine) / 2."""
        served = dispatcher.models.model(asked.model)
        (query,), documents = _inputs(dispatcher, asked.query), _inputs(dispatcher, asked.documents)
        scores = await _scores(dispatcher, served, [query] * len(documents), documents)
        order = sorted(range(len(scores)), key=lambda place: -scores[place])[: asked.top_n]
        shown = [_shown(one) for one in documents] if asked.return_documents else [None] * len(documents)
        results = [{"index": one, "relevance_score": scores[one], "document": shown[one]} for one in order]
        told = {"id": uuid.uuid4().hex, "model": served.name, "results": results}
        told |= {"usage": await _usage(dispatcher, served, [query, *documents])}
        return schemas.reply(
            told | {"meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}
        )

    @router.post("/score", tags=["rerank"], response_model=schemas.PairScoreList, responses=schemas.ASKING)
    async def score(asked: schemas.ScoreRequest) -> Response:
        """Scores of pairs; one `text_1` stands for as many as there are `text_2`."""
        served = dispatcher.models.model(asked.model)
        first, second = (_inputs(dispatcher, one) for one in (asked.text_1, asked.text_2))
        every = [*first, *second]
        if len(first) == 1:
            first = first * len(second)
        if len(first) != len(second):
            raise UserError(f"text_1 has {len(first)} and text_2 {len(second)}: give one, or as many")
        scores = await _scores(dispatcher, served, first, second)
        data = [{"index": place, "object": "score", "score": value} for place, value in enumerate(scores)]
        usage = await _usage(dispatcher, served, every)
        return schemas.reply({"object": "list", "data": data, "model": served.name, "usage": usage})

    @router.post(
        "/v1/tasks/{task}", tags=["tasks"], response_model=schemas.TaskAnswer, responses=schemas.ASKING
    )
    async def answer(task: TaskName, asked: schemas.TaskRequest) -> Response:
        """Answers of a task that the model was trained for, see `GET /v1/models`."""
        spec, served = task_spec(task), dispatcher.models.model(asked.model)
        if spec.gallery:
            raise UserError(f"{spec.name} searches in a gallery: POST /search, or /v2/rerank with documents")
        several = asked.input if isinstance(asked.input, list) else [asked.input]
        dispatcher.check_count(len(several))
        given = [dispatcher.inputs.of_task(one, spec.inputs) for one in several]
        found = await dispatcher.ask(served, spec.name, given, asked.options)
        if all(isinstance(one, UserError) for one in found) and found:
            raise found[0]
        answers = [{"error": str(one)} if isinstance(one, UserError) else one for one in found]
        return schemas.reply({"model": served.name, "task": spec.name, "answers": answers})

    @router.post(
        "/v1/attention", tags=["tasks"], response_model=schemas.AttentionAnswer, responses=schemas.ASKING
    )
    async def attention(asked: schemas.AttentionRequest) -> Response:
        """Where the fusion encoder looks for a text, and for each of its words (Grad-CAM)."""
        served = dispatcher.models.model(asked.model)
        check_texts({"text": asked.text}, dispatcher.config.characters)
        dispatcher.batcher.check_room(1)
        given = dispatcher.inputs.picture(asked.image)
        served.pipeline(MATCHING.name)  # refuses a model that does not answer it
        shown = await dispatcher.picture(served.reader.read, given)
        look = partial(attention_maps, served.pretrained, shown, asked.text, asked.layer)
        maps = await dispatcher.compute(f"attention of {served.name}", look)
        layers = len(served.pretrained.model.fusion.layers)
        layer = default_layer(layers) if asked.layer is None else asked.layer
        told = {"model": served.name, "layer": layer, "layers": layers, "match": maps.match}
        return schemas.reply({**told, "whole": maps.whole, "words": list(maps.words), "maps": maps.maps})

    @router.post("/search", tags=["search"], response_model=schemas.SearchAnswer, responses=schemas.ASKING)
    async def search(asked: schemas.SearchRequest) -> Response:
        """Pictures of a collection by a text, a picture or both; `fits` false says that nothing was found."""
        searcher = await dispatcher.in_thread(lambda: searches.of(asked.index))
        check_texts({"text": asked.text}, dispatcher.config.characters)
        dispatcher.batcher.check_room(1)
        options = SearchOptions(asked.top_k, asked.rerank, asked.min_score, asked.where)
        ask, match = BatchKey("search: ask", id(searcher)), BatchKey("search: match", id(searcher))
        began, image = time.perf_counter(), None
        with dispatcher.batcher.expecting():
            if asked.image is not None:
                given = dispatcher.inputs.picture(asked.image)
                image = await dispatcher.picture(searcher.reader.read, given)
            length = len(asked.text or "") + PICTURE_LENGTH * (image is not None)
            query = await dispatcher.together(ask, searcher.queries, (asked.text, image), length, began)
            listed, marks = await dispatcher.look_up(searcher, lambda: _listed(searcher, query, options))
        found = await dispatcher.together(match, searcher.answers, listed, len(listed.near), began)
        return schemas.reply(searches.told(searcher, found, marks))

    @router.get("/search/picture", tags=["search"], responses=schemas.ASKING)
    async def picture(key: str, index: str | None = None) -> Response:
        """A picture of a collection, by the key that a search gave, made smaller where it is large."""
        searcher = await dispatcher.in_thread(lambda: searches.of(index))
        data, kind = await dispatcher.in_thread(lambda: searches.picture(searcher, key)), "image/jpeg"
        if data is None:
            data = await dispatcher.look_up(searcher, lambda: searcher.pixels(searcher.key_of(key)))
            kind = "image/png"
        return Response(data, media_type=kind, headers={"cache-control": "private, max-age=300"})

    return router


def _listed(
    searcher: Searcher, query: SearchQuery, options: SearchOptions
) -> tuple[Shortlist, dict[str, str]]:
    listed = searcher.shortlist(query, options)
    return listed, searcher.marks([one.entry.key for one in listed.near])


def _inputs(dispatcher: Dispatcher, given: schemas.Given | list[schemas.Given]) -> list[Input]:
    given = given if isinstance(given, list) else [given]
    dispatcher.check_count(len(given))
    found: list[Input] = []
    for place, one in enumerate(given):
        with naming(f"input {place}"):
            found.append(dispatcher.inputs.text_or_image(one))
    return found


def _all_good(found: list[Any]) -> list[Any]:
    for place, one in enumerate(found):
        if isinstance(one, UserError):
            raise UserError(f"input {place}: {one}")
    return found


async def _scores(
    dispatcher: Dispatcher, served: ServedModel, first: Sequence[Input], second: Sequence[Input]
) -> list[float]:
    pairs, scores = [*zip(first, second, strict=True)], [0.0] * len(first)
    crossed = [place for place, (one, other) in enumerate(pairs) if {*one} != {*other}]
    alike = [place for place, (one, other) in enumerate(pairs) if {*one} == {*other}]
    if crossed:
        joined = [pairs[place][0] | pairs[place][1] for place in crossed]
        found = _all_good(await dispatcher.ask(served, MATCHING.name, joined))
        for place, one in zip(crossed, found, strict=True):
            scores[place] = one["score"]
    if alike:
        distinct = {(*one.items(),): one for place in alike for one in pairs[place]}
        asked = await dispatcher.ask(served, EMBED.name, [*distinct.values()], counted=True)
        vectors = dict(zip(distinct, _all_good(asked), strict=True))
        for place in alike:
            one, other = (vectors[(*side.items(),)] for side in pairs[place])
            scores[place] = min(1.0, max(0.0, (1 + float(one @ other)) / 2))
    return scores


async def _usage(dispatcher: Dispatcher, served: ServedModel, given: Sequence[Input]) -> dict[str, int]:
    """Tokens of the texts; a picture counts its patches."""
    texts = [one["text"] for one in given if "text" in one]
    read = served.count([], len(given) - len(texts))
    for text in texts:  # one by one: who counts a short text waits for no long ones
        read += await dispatcher.light(len(text), partial(served.count, [text], 0))
    return {"prompt_tokens": read, "total_tokens": read}


def _shown(given: Input) -> dict[str, str]:
    return {name: value.value if isinstance(value, SentImage) else value for name, value in given.items()}
