"""The API over HTTP: answers are the pipelines', bounds hold, and errors tell nothing of the inside."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest

from tests.data.web_server import served
from tests.finetuning.conftest import SHORT, on_sample
from tests.refusals import expect_refusal
from tests.serving.attacks import flat_png
from tests.serving.client import ask, shown
from tests.serving.conftest import Running, png
from xfm.config.pipelines import UrlRules
from xfm.core.errors import UserError
from xfm.inference.pipeline import pipeline
from xfm.models.model_reading import read_config

Start = Callable[..., Running]


def test_vectors_are_those_of_the_pipeline(serving: Start, model: Path) -> None:
    running, embed = serving(), pipeline("embed", model)
    picture = png()
    expected = np.stack([embed(text="a red square"), embed(image=picture)])
    np.testing.assert_allclose(running.client().embed(["a red square", picture]), expected, atol=1e-5)
    for given in ("a red square", ["a red square"], {"text": "a red square"}):
        status, told, _ = ask(running.address, "/v1/embeddings", {"input": given, "model": None})
        assert status == 200
        np.testing.assert_allclose(told["data"][0]["embedding"], expected[0], atol=1e-5)
    assert told["usage"]["total_tokens"] > 2
    status, told, _ = ask(running.address, "/v1/embeddings", {"input": "a", "dimensions": 7})
    assert status == 422
    assert "dimensions is 7" in told["error"]["message"]


def test_vectors_are_cut_where_they_were_trained_to_be(serving: Start, model: Path, tmp_path: Path) -> None:
    width = read_config(model)[0].projection
    for sizes, fault in (([0], "from 1 on"), ([3, 3], "once"), ([width], f"cut to {width - 1} at most")):
        with pytest.raises((ValueError, UserError), match=fault):
            on_sample("sentence-similarity", model, tmp_path / "no", replace(SHORT, dimensions=sizes))
    on_sample("sentence-similarity", model, tmp_path / "run", replace(SHORT, dimensions=[4, 3]))
    running = serving(model=tmp_path / "run" / "model")
    whole, four = (
        ask(running.address, "/v1/embeddings", {"input": "a red square", "dimensions": size})[1]["data"]
        for size in (None, 4)
    )
    cut = np.array(whole[0]["embedding"][:4])
    np.testing.assert_allclose(four[0]["embedding"], cut / np.linalg.norm(cut), atol=1e-6)
    told = ask(running.address, "/v1/embeddings", {"input": "a", "dimensions": 5})[1]
    assert f"{width} or 4 or 3" in told["error"]["message"]


def test_the_openai_client_understands_it(serving: Start, model: Path) -> None:
    openai = pytest.importorskip("openai")
    running = serving()
    client = openai.OpenAI(base_url=f"{running.address}/v1", api_key="none")
    found = client.embeddings.create(model=model.parent.name, input=["a red square", shown(png())])
    expected = pipeline("embed", model)([{"text": "a red square"}, {"image": png()}])
    np.testing.assert_allclose([one.embedding for one in found.data], expected, atol=1e-5)
    assert client.models.list().data[0].id == model.parent.name
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.embeddings.create(model="gpt", input="x")


def test_ranking_is_by_match(serving: Start, model: Path) -> None:
    running = serving()
    pictures = [png("red", "blue"), png("green", "red"), png("blue", "yellow")]
    asked = [{"image": one, "text": "a red square"} for one in pictures]
    scores = [one["score"] for one in pipeline("image-text-matching", model)(asked)]
    ranked = running.client().rerank("a red square", pictures)
    assert [place for place, _ in ranked] == np.argsort([-score for score in scores]).tolist()
    assert [score for _, score in ranked] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    told = {"query": "a red square", "documents": [shown(one) for one in pictures], "top_n": 1}
    for version in (1, 2):
        status, found, _ = ask(running.address, f"/v{version}/rerank", {**told, "return_documents": True})
        assert status == 200
        assert [one["index"] for one in found["results"]] == [ranked[0][0]]
    status, found, _ = ask(running.address, "/score", {"text_1": "a red square", "text_2": told["documents"]})
    assert [one["score"] for one in found["data"]] == pytest.approx(scores, abs=1e-5)
    same = running.client().rerank("a red square", ["a red square", "a blue square"])
    assert same[0][0] == 0
    assert same[0][1] == pytest.approx(1, abs=1e-4)


def test_tasks_answer_as_pipelines_do(serving: Start, model: Path) -> None:
    running = serving()
    inputs = [{"image": png(jitter=number), "text": "the left square"} for number in range(3)]
    assert running.client().ask("grounding", inputs) == [
        {**one, "score": pytest.approx(one["score"], abs=1e-3), "box": pytest.approx(one["box"], abs=1e-3)}
        for one in pipeline("grounding", model)(inputs)
    ]
    labels = {"candidate_labels": ["a red square", "a dog"], "top_k": 1}
    found = running.client().ask("zero-shot-image-classification", [{"image": png()}], **labels)
    assert len(found[0]) == 1
    mixed = running.client().ask("grounding", [inputs[0], {"image": b"no picture", "text": "x"}])
    assert "box" in mixed[0]
    assert "looks like a text" in mixed[1]["error"]
    for task, told, words in (
        ("grounding", {"input": {"image": shown(png())}}, "text"),
        ("grounding", {"input": {"image": "photo.jpg", "text": "x"}}, "cannot be asked for"),
        ("vqa", {"input": {"image": shown(png()), "question": "x"}}, "fine-tuned"),
        ("nothing", {"input": {}}, "nothing"),
        ("retrieval", {"input": {"text": "x"}}, "/search"),
        ("grounding", {"input": inputs[0]["text"]}, "input"),
        ("embed", {"input": {"text": "x"}, "options": {"x": 1}}, "unknown option x"),
    ):
        status, found, _ = ask(running.address, f"/v1/tasks/{task}", told)
        assert status == 422, found
        assert words in found["error"]["message"]


def test_a_collection_is_searched(serving: Start, collection: Path) -> None:
    running = serving(index=collection, show_from=[str(collection.parent)])
    found = running.client().search("a red square", top_k=2, where=["name=0.png,1.png"])
    assert found["searched"] == 2
    assert {hit["source"] for hit in found["hits"]} == {"0.png", "1.png"}
    assert str(collection.parent) not in json.dumps(found)
    for hit in found["hits"]:
        with urlopen(f"{running.address}/search/picture?key={hit['key']}") as picture:
            assert picture.headers["content-type"] == "image/jpeg"
    assert found["fits"] in (True, False)
    assert running.client().search(image=png("green", "red"))["hits"][0]["source"].endswith("1.png")
    for told, words in (
        ({}, "a text, a picture"),
        ({"text": "a", "where": ["x"]}, "condition"),
        ({"text": "a", "index": "b"}, "no collection b"),
    ):
        status, found, _ = ask(running.address, "/search", told)
        assert status == 422
        assert words in found["error"]["message"]
    with expect_refusal("--index"):
        serving().client().search("a")


def test_requests_of_many_clients_are_computed_together(serving: Start, model: Path) -> None:
    running = serving()
    texts = [
        f"a {colour} square {'left ' * (number % 5)}" for number in range(40) for colour in ("red", "blue")
    ]
    expected = pipeline("embed", model)(texts)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: running.client().embed([text])[0], texts))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    told = ask(running.address, "/metrics")[1].decode()
    counts = {
        line.split(" ")[0]: float(line.split(" ")[1])
        for line in told.splitlines()
        if not line.startswith("#")
    }
    assert counts['xfm_batch_items_sum{task="embed"}'] == 80
    assert counts['xfm_batch_items_count{task="embed"}'] < 80
    assert counts['xfm_requests_total{route="/v1/embeddings",status="200"}'] == 80
    assert counts["xfm_waiting_items"] == 0


def test_keys_are_asked_for(serving: Start) -> None:
    """Who may ask what, `test_sockets.py` says."""
    running = serving(keys=("k" * 20, "l" * 20))
    status, told, sent = ask(running.address, "/v1/models", authorization="k" * 20)
    assert (status, told["error"]["code"], sent["www-authenticate"]) == (401, "invalid_api_key", "Bearer")
    assert ask(running.address, "/ready")[0] == 200
    for key in ("k", "l"):
        assert running.client(key=key * 20).embed(["a"]).shape[0] == 1


def test_bounds_that_were_set(serving: Start) -> None:
    running = serving(body_bytes=2048, max_items=3)
    assert ask(running.address, "/v1/embeddings", {"input": "x" * 3000})[0] == 413
    assert "3 inputs" in ask(running.address, "/v1/embeddings", {"input": ["a"] * 4})[1]["error"]["message"]


LARGE = (
    "input 0: the bytes of the picture: the picture has 9000 x 9000 pixels, more than the limit of 64000000: "
    "shrink it"
)
PAIR = [{"image": shown(png(jitter=number)), "text": "a"} for number in range(2)]


@pytest.mark.parametrize(
    ("route", "told", "status", "said"),
    [
        ("/v1/embeddings", b"", 422, "the body is missing: send a JSON object, see /openapi.json"),
        ("/v1/embeddings", b"{'a'", 422, "the body is no JSON: Expecting property name"),
        ("/v1/embeddings", b"\xff{", 400, "the body is no JSON in UTF-8"),
        ("/nothing", {}, 404, "/nothing is no route of this server: see /docs"),
        ("/v1/embeddings", {"input": shown(flat_png(9000, 9000))}, 422, LARGE),
        ("/v1/tasks/grounding", {"input": PAIR}, 422, "the pictures of a request may have 1000 pixels"),
    ],
)
def test_what_is_refused_is_said(serving: Start, route: str, told: Any, status: int, said: str) -> None:
    found = ask(serving(pixels=1000 if "tasks" in route else 64_000_000).address, route, told)
    assert (found[0], found[1]["error"]["message"][: len(said)]) == (status, said)
    assert not any(word in found[1]["error"]["message"] for word in ("set_int", "XFM_MAX"))


def test_slow_addresses_starve_nobody(serving: Start) -> None:
    """As many in one request, and in requests of their own, as there were threads that fetch."""
    asked, release = [], threading.Event()

    class ImageHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if "slow" in self.path:
                release.wait(100)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png())

        def log_message(self, *_: Any) -> None: ...

    running = serving(fetch_from=["127.0.0.1"])
    running.server.dispatcher._urls = UrlRules(seconds=100, private=True)
    with (
        served(ThreadingHTTPServer(("127.0.0.1", 0), ImageHandler)) as pictures,
        ThreadPoolExecutor(11) as pool,
    ):

        def embed(*names: str) -> int:
            given = [{"image": f"http://127.0.0.1:{pictures.server_port}/{name}"} for name in names]
            return ask(running.address, "/v1/embeddings", {"input": given})[0]

        slow = [pool.submit(embed, *(f"slow-{number}" for number in range(10)))]
        slow += [pool.submit(embed, f"slow-alone-{number}") for number in range(10)]
        while len(asked) < 8:
            time.sleep(0.01)
        try:
            assert embed("good") == 200
            assert not release.is_set()
            assert not any(one.done() for one in slow)
        finally:
            release.set()


def test_a_busy_server_says_when_to_come_again(serving: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = serving(queue_size=1, max_batch_size=1, request_timeout=20)
    served = next(iter(running.server.models))
    pipe, release = served.pipeline("embed"), threading.Event()
    plain = pipe.answers
    monkeypatch.setattr(pipe, "answers", lambda *given: release.wait(20) and plain(*given))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, running.address, "/v1/embeddings", {"input": "a"})
        time.sleep(0.5)
        second = pool.submit(ask, running.address, "/v1/embeddings", {"input": "b"})
        time.sleep(0.5)
        status, told, headers = ask(running.address, "/v1/embeddings", {"input": "c"})
        assert status == 429
        assert told["error"]["code"] == "busy"
        assert int(headers["retry-after"]) >= 1
        release.set()
        assert [one.result()[0] for one in (first, second)] == [200, 200]


def test_what_takes_too_long_and_who_leaves_free_their_places(serving: Start, monkeypatch) -> None:
    running = serving(max_batch_size=1, request_timeout=0.5)
    served = next(iter(running.server.models))
    pipe, release, computed = served.pipeline("embed"), threading.Event(), []
    plain = pipe.answers

    def slow(items, *others):
        computed.extend(item.shown for item in items)
        release.wait(20)
        return plain(items, *others)

    monkeypatch.setattr(pipe, "answers", slow)
    with ThreadPoolExecutor(4) as pool:
        late = [
            pool.submit(ask, running.address, "/v1/embeddings", {"input": word})
            for word in ("first", "second")
        ]
        assert [one.result()[0] for one in late] == [504, 504]
    host, port = urlsplit(running.address).netloc.split(":")
    body = b'{"input": "left"}'
    with socket.create_connection((host, int(port))) as leaving:
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        leaving.sendall(head % len(body) + body)
        time.sleep(0.2)
    time.sleep(0.2)
    assert running.server.dispatcher.batcher.waiting == 0
    release.set()
    assert ask(running.address, "/v1/embeddings", {"input": "last"})[0] == 200
    # Who of the two came first was computed already.
    assert computed in (["first", "last"], ["second", "last"])


def test_an_error_of_ours_tells_nothing(serving: Start, monkeypatch) -> None:
    running = serving()
    served = next(iter(running.server.models))

    def broken(*_: Any) -> None:
        raise RuntimeError("secret /path/of/ours")

    monkeypatch.setattr(served.pipeline("embed"), "answers", broken)
    status, told, _ = ask(running.address, "/v1/embeddings", {"input": "a"})
    assert status == 500
    assert "secret" not in json.dumps(told)


def test_models_are_loaded_again_without_a_gap(serving: Start, capsys: pytest.CaptureFixture) -> None:
    running = serving()
    before = running.client().embed(["a red square"])
    stop, statuses = threading.Event(), []

    def asking() -> None:
        while not stop.is_set():
            statuses.append(ask(running.address, "/v1/embeddings", {"input": "a red square"})[0])

    threads = [threading.Thread(target=asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    old = next(iter(running.server.models))
    for _ in range(3):
        asyncio.run(running.server.reload())
        assert "Loaded again: " in capsys.readouterr().out
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert next(iter(running.server.models)) is not old
    np.testing.assert_allclose(running.client().embed(["a red square"]), before, atol=1e-6)


def test_the_description_names_every_route(serving: Start) -> None:
    running = serving()
    told = ask(running.address, "/openapi.json")[1]
    assert ask(running.address, "/redoc")[0] == 404
    with urlopen(running.address) as page:  # it leads to /docs, which fetches nothing from other machines
        shown = page.read().decode()
        assert page.url == f"{running.address}/docs"
        assert page.headers["content-type"].startswith("text/html")
    assert all(f"<code>{path}</code>" in shown for path in told["paths"])
    assert not any(word in shown for word in ("<script", "<style", "//", "src="))
