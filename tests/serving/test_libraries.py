"""LangChain and LlamaIndex need nothing but the OpenAI route, Cohere's client the two of its own.

Nothing else is asked over the network.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.support import close
from tests.pages import ROOT, run_python
from tests.serving.client import shown
from tests.serving.conftest import Running, png
from xfm.config.serving import ServeConfig
from xfm.inference.pipeline import pipeline
from xfm.inference.sentence_folder import write_sentence_folder
from xfm.serving.app import Server
from xfm.serving.served import Models, Searches

Start = Callable[..., Running]
SAID = ["a red square", "a green square left of a blue one", "yellow"]
_asked: list[str] = []
_watching: list[bool] = []


def _watch(event: str, told: tuple[Any, ...]) -> None:
    if _watching and event in ("socket.connect", "socket.getaddrinfo"):
        _asked.append(str(told[1][0] if event == "socket.connect" else told[0]))


@pytest.fixture(scope="module", autouse=True)
def _audited() -> None:
    sys.addaudithook(_watch)  # for good: Python has no way to take one away


@pytest.fixture(autouse=True)
def only_here() -> Iterator[None]:
    """Whatever a library does, it asks this machine alone: no tokens, no telemetry, no downloads."""
    _asked.clear()
    _watching.append(True)
    yield
    _watching.clear()
    assert {*_asked} <= {"127.0.0.1"}  # a test that is skipped asks nothing at all


@pytest.fixture
def expected(model: Path) -> np.ndarray:
    return pipeline("embed", model)([*({"text": text} for text in SAID), {"image": png()}])


def test_langchain(serving: Start, model: Path, expected: np.ndarray) -> None:
    library = pytest.importorskip("langchain_openai", reason="make libraries installs langchain-openai")
    from langchain_core.vectorstores import InMemoryVectorStore

    embeddings = library.OpenAIEmbeddings(
        model=model.parent.name,
        base_url=f"{serving().address}/v1",
        api_key="none",
        check_embedding_ctx_length=False,  # otherwise it sends tokens of a model of OpenAI's
    )
    close(embeddings.embed_documents([*SAID, shown(png())]), expected)
    close(embeddings.embed_query(SAID[1]), expected[1])
    close(asyncio.run(embeddings.aembed_documents(SAID)), expected[:3])
    store = InMemoryVectorStore.from_texts(SAID, embeddings)
    found = store.similarity_search_with_score(shown(png()), k=3)
    cosines = expected[:3] @ expected[3]
    assert [one.page_content for one, _ in found] == [SAID[place] for place in np.argsort(-cosines)]
    close([score for _, score in found], np.sort(cosines)[::-1])


def test_llama_index(serving: Start, model: Path, expected: np.ndarray) -> None:
    reason = "make libraries installs llama-index-embeddings-openai-like"
    library = pytest.importorskip("llama_index.embeddings.openai_like", reason=reason)
    from llama_index.core import Document, VectorStoreIndex

    embeddings = library.OpenAILikeEmbedding(
        model_name=model.parent.name, api_base=f"{serving().address}/v1", api_key="none"
    )
    close(embeddings.get_text_embedding_batch([*SAID, shown(png())]), expected)
    close(embeddings.get_query_embedding(SAID[1]), expected[1])
    close(asyncio.run(embeddings.aget_text_embedding_batch(SAID)), expected[:3])
    documents = [Document(text=text) for text in SAID]
    index = VectorStoreIndex.from_documents(documents, embed_model=embeddings)
    found = index.as_retriever(similarity_top_k=3).retrieve(SAID[2])
    cosines = expected[:3] @ expected[2]
    assert [one.text for one in found] == [SAID[place] for place in np.argsort(-cosines)]
    close([one.score for one in found], np.sort(cosines)[::-1])


@pytest.mark.parametrize("kind", ["Client", "ClientV2"])  # of /v1/rerank, and of /v2/rerank
def test_cohere(serving: Start, model: Path, kind: str) -> None:
    library = pytest.importorskip("cohere")
    running = serving()
    client = getattr(library, kind)(api_key="none", base_url=running.address)
    named: dict[str, Any] = {"model": model.parent.name, "query": "a red square left of a blue square"}
    pictures = [
        shown(png(left, right)) for left, right in (("green", "yellow"), ("red", "blue"), ("red", "green"))
    ]
    for documents in (SAID, pictures):
        found = client.rerank(documents=documents, top_n=2, **named)
        expected = running.client().rerank(named["query"], documents, top_n=2)
        assert [(one.index, one.relevance_score) for one in found.results] == expected
    with pytest.raises(library.errors.UnprocessableEntityError, match="not a JPEG"):
        client.rerank(documents=["data:image/png;base64,none"], **named)


@pytest.mark.parametrize(
    ("name", "module"), [("langchain", "langchain_openai"), ("llama_index", "llama_index")]
)
def test_what_the_page_shows(name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(module, reason="make libraries installs it")
    pytest.importorskip("sentence_transformers", minversion="6")
    monkeypatch.chdir(tmp_path)
    for folder, kind in (
        ("models/small-st", "sentence-transformers"),
        ("models/small-match", "cross-encoder"),
    ):
        write_sentence_folder("small", Path(folder), kind)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(png())
    page = run_python(ROOT / "docs" / "libraries.md", monkeypatch)
    running = Running(Server(Models(["small"]), Searches([]), ServeConfig(port=0), ()))
    try:
        (found,) = page[name](running.address)
        assert "cat" in str(found)
    finally:
        running.stop()
