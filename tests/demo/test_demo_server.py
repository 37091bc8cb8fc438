"""What is behind the page: its routes and guards, the examples, which model a tab asks."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests.demo.conftest import Open
from tests.evaluation.tiny import draw
from tests.inference.models import save, tuned
from tests.serving.client import ask, shown
from tests.serving.conftest import Running, png
from xfm.inference.attention import attention_maps
from xfm.models.folder import load_model
from xfm.serving.demo import HEADERS, page_files, with_tuned
from xfm.serving.examples import Examples, draw_examples

pytestmark = pytest.mark.filterwarnings("ignore:.*may have changed the parts")


@pytest.fixture(scope="module")
def running(opened: Open, runs: dict[str, Path]) -> Running:
    return opened(runs[""], runs["vqa"], runs["grounding"])


def test_every_answer_says_what_a_browser_may_do(running: Running) -> None:
    for path in ("/", "/page/app.js", "/page/about", "/health", "/nothing", "/page/tabs/../../about.py"):
        status, _, headers = ask(running.address, path)
        assert {name: headers[name] for name in HEADERS} == HEADERS, path
        assert status == (404 if "nothing" in path or ".." in path else 200), path
    assert "'unsafe" not in HEADERS["content-security-policy"]


def test_the_page_names_nothing_that_lies_elsewhere() -> None:
    for name, (data, _) in page_files().items():
        text = data.decode().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("://", "//").replace("// ", "").replace("///", ""), name
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style="):
            assert word not in text, f"{name} has {word}"


def test_a_key_lets_no_other_page_in(opened: Open, runs: dict[str, Path]) -> None:
    """A page elsewhere may have been given the key, too; what asks without a browser sends no origin."""
    address = opened(runs[""], keys=("secret",)).address
    asked = {"input": {"text": "a <mask>"}}
    for origin, key, expected in (
        ("http://evil.example", "secret", 403),
        (address, "secret", 200),
        (None, "secret", 200),
        (address, "guess", 401),
    ):
        headers = {"authorization": f"Bearer {key}"} | ({"origin": origin} if origin else {})
        assert ask(address, "/v1/tasks/fill-mask", asked, **headers)[0] == expected, (origin, key)


def test_attention_is_that_of_the_function(running: Running, runs: dict[str, Path]) -> None:
    picture = png()
    told = {"image": shown(picture), "text": "a red square"}
    maps = attention_maps(load_model(runs[""]), picture, "a red square")
    status, found, _ = ask(running.address, "/v1/attention", told)
    assert (status, found["words"], found["model"]) == (200, list(maps.words), "plain")
    np.testing.assert_allclose(found["maps"], maps.maps, atol=1e-5)
    np.testing.assert_allclose(found["whole"], maps.whole, atol=1e-5)
    assert found["match"] == pytest.approx(maps.match, abs=1e-5)
    assert (found["layer"], found["layers"]) == (1, 2)
    status, found, _ = ask(running.address, "/v1/attention", {**told, "layer": 0})
    np.testing.assert_allclose(
        found["maps"], attention_maps(load_model(runs[""]), picture, "a red square", 0).maps, atol=1e-5
    )
    for wrong, word in (
        ({"layer": 2}, "layers 0 to 1"),
        ({"text": " "}, "no words"),
        ({"image": "/etc/passwd"}, "data URL"),
        ({"model": "none"}, "no model none"),
    ):
        status, found, _ = ask(running.address, "/v1/attention", {**told, **wrong})
        assert status in (404, 422)
        assert word in found["error"]["message"]


def test_pictures_of_a_search_and_no_others(opened: Open, runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    large = draw("red", "blue").resize((900, 700))
    large.save(folder / "large.png")
    draw("green", "red").save(folder / "gone.png")
    (tmp_path / "secret.png").write_bytes(png())
    running = opened(runs[""], index=folder)
    hits = {hit["source"]: hit for hit in running.client().search("a red square")["hits"]}
    assert (hits["large.png"]["width"], hits["large.png"]["height"]) == (900, 700)
    (folder / "gone.png").unlink()
    sizes = {}
    for name, hit in hits.items():
        status, data, headers = _picture(running, hit["key"])
        assert status == 200
        (tmp_path / "got").write_bytes(data)
        with Image.open(tmp_path / "got") as found:
            sizes[name] = (headers["content-type"], found.size)
    # A file that is there is shown smaller; one that is gone, as the model saw it.
    assert sizes == {"large.png": ("image/jpeg", (640, 498)), "gone.png": ("image/png", (32, 32))}
    for key in (str(tmp_path / "secret.png"), "../secret.png", "' OR 1=1 --", "\0"):
        status, data, _ = _picture(running, key)
        assert status == 422, key
        assert "no picture of that key" in data["error"]["message"]
    status, about, _ = ask(running.address, "/page/about")
    told = {"name": "photos", "kind": "collection", "pictures": 2, "calibrated": False, "lacking": ""}
    assert about["gallery"] == told


def _picture(running: Running, key: str) -> tuple[int, Any, dict[str, str]]:
    return ask(running.address, f"/search/picture?key={quote(key, safe='')}")


def test_each_tab_asks_the_model_that_was_made_for_it(running: Running) -> None:
    _, about, _ = ask(running.address, "/page/about")
    asked = {tab["name"]: tab["model"] for tab in about["tabs"]}
    assert asked == {
        "search": "plain",
        "ask": "vqa",
        "find": "boxes",
        "compare": None,
        "caption": None,
        "classify": "plain",
        "fill": "plain",
        "look": "plain",
    }
    assert about["matching"] == "plain"
    off = {tab["name"]: tab for tab in about["tabs"] if tab["model"] is None}
    assert "no served model has the task reasoning" in off["compare"]["why"]
    assert off["compare"]["commands"][0].startswith("xfm finetune reasoning --model ")
    assert off["compare"]["commands"][1].endswith(",runs/compare")


def test_a_run_opens_with_its_fine_tuned_models(tmp_path: Path) -> None:
    run = tmp_path / "quick"
    save(run / "model", tuned(None))
    for part in ("vqa", "reasoning"):
        save(run / "tasks" / part / "model", tuned(part))
    kept = [str(run / "tasks" / part / "model") for part in ("vqa", "reasoning")]
    assert with_tuned([str(run)]) == [str(run), *kept]
    assert with_tuned([str(run / "model"), "small"]) == [str(run / "model"), "small"]
    scores = tmp_path / "scores"
    os.rename(run / "tasks", tmp_path / "tasks")
    scores.mkdir()
    os.rename(tmp_path / "tasks", scores / "tasks")
    assert with_tuned([str(scores)]) == [
        str(scores / "tasks" / part / "model") for part in ("vqa", "reasoning")
    ]


def test_examples_are_the_same_at_every_start(examples: Examples) -> None:
    assert draw_examples() == examples
    named = [name for tab in examples.tabs.values() for one in tab for name in one["images"]]
    assert {*named, *examples.gallery} == examples.pictures.keys()
    (searched,) = examples.tabs["search"]
    absent = [text for text, found in zip(searched["texts"], searched["truths"], strict=True) if not found]
    assert len(absent) == 2
    assert not [text for text in examples.gallery.values() for one in absent if one.split()[1] in text]
    masked = [text for one in examples.tabs["fill"] for text in one["texts"]]
    assert masked
    assert all(text.count("{mask}") == 1 and "an {mask}" not in text for text in masked)
    assert all(
        len(one["texts"]) >= 2 for name in ("ask", "find", "fill", "look") for one in examples.tabs[name]
    )
    labels = [label for one in examples.tabs["compare"] for label in one["truths"]]
    assert labels.count("true") == labels.count("false") > 2
