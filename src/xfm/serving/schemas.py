"""Requests and answers as the field writes them: OpenAI's embeddings, Cohere's and Jina's rerank, tasks."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from xfm.serving.limits import TOP

Given = str | dict[str, Any]
"""A text, a data URL, or an object with `text` or `image`."""


class ModelRequest(BaseModel):
    """What requests to a model share; a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str | None = Field(None, description="name of a served model; the first one if not given")


class CompatibleRequest(ModelRequest):
    """In the shape of others: fields that are not below are passed over, as their clients send many."""

    model_config = ConfigDict(extra="ignore", strict=True)


class EmbeddingRequest(CompatibleRequest):
    """`POST /v1/embeddings`, as OpenAI's clients send it; pictures as data URLs."""

    input: Given | list[Given] = Field(description='texts, data URLs, {"text": ...} or {"image": data URL}')
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="refused unless it is the model's own")


class Embedding(BaseModel):
    """One vector: numbers, or little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class RerankRequest(CompatibleRequest):
    """`POST /v1/rerank` and `/v2/rerank`: a text against pictures, a picture against texts, or like kinds."""

    query: Given
    documents: list[Given] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


class Reranked(BaseModel):
    """A document: where it stood, and how well it fits, from 0 to 1."""

    index: int
    relevance_score: float
    document: Any = None


class RerankAnswer(BaseModel):
    """Documents, the best first."""

    id: str
    model: str
    results: list[Reranked]
    usage: Usage
    meta: dict[str, Any]


class ScoreRequest(CompatibleRequest):
    """`POST /score`: pairs, or one against many."""

    text_1: Given | list[Given]
    text_2: Given | list[Given]


class PairScore(BaseModel):
    """A pair."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreAnswer(BaseModel):
    """Scores in the order of the pairs."""

    object: Literal["list"] = "list"
    data: list[PairScore]
    model: str
    usage: Usage


class TaskRequest(ModelRequest):
    """`POST /v1/tasks/NAME`: one input or several, with the options of the task."""

    input: dict[str, Any] | list[dict[str, Any]]
    options: dict[str, Any] = Field(default_factory=dict)


class TaskAnswer(BaseModel):
    """Answers in the order of the inputs; an input that cannot be used has its error in its place."""

    model: str
    task: str
    answers: list[Any]


class AttentionRequest(ModelRequest):
    """`POST /v1/attention`: a picture and a text."""

    image: Given
    text: str
    layer: int | None = Field(None, ge=0, description="of the fusion encoder; the middle one if not given")


class AttentionAnswer(BaseModel):
    """Where the fusion encoder looks; maps are [rows][columns] over the picture, not negative."""

    model: str
    layer: int
    layers: int = Field(description="how many there are")
    match: float = Field(description="probability that the text fits the picture")
    whole: list[list[float]] = Field(description="of the whole text")
    words: list[str]
    maps: list[list[list[float]]] = Field(description="of each word")


class SearchRequest(BaseModel):
    """`POST /search`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str | None = None
    image: Given | None = None
    index: str | None = Field(None, description="name of a collection; the first one if not given")
    top_k: int = Field(10, ge=1, le=TOP)
    rerank: int = Field(32, ge=0, le=TOP)
    least: float | None = Field(
        None, ge=0, le=1, description="probability from which something fits; the model's own if not given"
    )
    where: list[Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=list, max_length=16, description="conditions on metadata, all of which hold"
    )


class Problem(BaseModel):
    """What is wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """The answer to a request that is refused, or that failed."""

    error: Problem


class ModelInfo(BaseModel):
    """A model that is served, and the tasks that it answers."""

    id: str
    object: Literal["model"] = "model"
    owned_by: str = "xfm"
    tasks: list[str]


class ModelList(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]


class Box(BaseModel):
    """In pixels of the picture as it was given; y points down."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class SearchHit(BaseModel):
    """A picture that was found; match and box only where it was re-ranked."""

    key: str = Field(description="its id, or a digest where it has none; GET /search/picture shows it")
    source: str = Field(description="its path in the folder that was indexed, or the name of its file")
    width: int
    height: int
    score: float
    similarity: float
    match: float | None = None
    box: Box | None = None
    metadata: dict[str, str | float | bool]


class SearchAnswer(BaseModel):
    """The nearest pictures; `fits` false says that none of them is what was searched."""

    hits: list[SearchHit]
    fits: bool | None
    best: float | None
    least: float
    fitted: bool
    searched: int
    limits: str = Field(description="what the model is not made for, where it is not sure; else empty")


class Health(BaseModel):
    """`GET /health`."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`GET /ready`."""

    ready: bool
    models: list[str]
    collections: list[str]
    unavailable: list[str] = Field(description="collections that do not answer now")
    waiting: int
