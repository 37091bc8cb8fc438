"""Every tab in a real browser: what it shows is what the pipelines answer."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.alike import thorough
from tests.data.picture_kinds import saved
from tests.demo.conftest import TABS, Visit
from tests.serving.conftest import Running
from xfm.inference.attention import attention_maps
from xfm.inference.pipeline import pipeline
from xfm.models.folder import load_model
from xfm.serving.examples import Examples

pytestmark = pytest.mark.filterwarnings("ignore:.*may have changed the parts")


@pytest.fixture
def gone(tiny: Running, visit: Callable[..., Visit]) -> Visit:
    return visit(tiny.address)


def percent(share: float) -> str:
    value = 100 * share
    if 99.5 < value < 100:
        return "over 99 %"
    return "under 1 %" if 0 < value < 0.5 else f"{int(value + 0.5)} %"


def near(shown: str, share: float) -> bool:
    return any(percent(min(1, max(0, share + by))) in shown for by in (-2e-4, 0, 2e-4))


def told(panel: Any) -> str:
    return panel.locator(".answer .said").inner_text()


def bars(panel: Any) -> list[tuple[str, str]]:
    rows = panel.locator(".answer .bar")
    return [
        (rows.nth(n).locator(".what").inner_text(), rows.nth(n).locator(".share").inner_text())
        for n in range(rows.count())
    ]


def pictured(panel: Any, shown: list[dict[str, Any]]) -> dict[str, Any]:
    label = panel.locator(".thumb[aria-pressed=true]").get_attribute("aria-label")
    return shown[int(label.split()[1]) - 1]


@thorough
def test_only_what_the_model_gets_right_is_suggested(gone: Visit, runs: Any, examples: Examples) -> None:
    """The tab says how much that is."""
    right = dict[tuple[str, ...], list[str]]()
    reason = pipeline("reasoning", runs["reasoning"])
    for one in examples.tabs["compare"]:
        images = [examples.pictures[name] for name in one["images"]]
        said = {text: reason(images=images, text=text)[0]["label"] for text in one["texts"]}
        truths = zip(one["texts"], one["truths"], strict=True)
        right[*one["images"]] = [text for text, truth in truths if said[text] == truth]
    count, cases = sum(map(len, right.values())), sum(len(one["texts"]) for one in examples.tabs["compare"])
    assert 0 < count < cases  # of each pair of sentences one is true, and one is not
    panel = gone.tab("compare")
    told = f"this model gets {count} of {cases} such comparisons (chance: half) right; only those stand here"
    panel.locator("header", has_text=told).wait_for()
    panel.locator(".stage img").nth(1).wait_for()
    suggestions = panel.locator("form + .suggestions .suggestion")
    suggestions.first.wait_for()
    assert suggestions.all_inner_texts() == right[*pictured(panel, examples.tabs["compare"])["images"]]
    assert gone.faults == []


@thorough
def test_ask_and_nothing_else_is_asked_for(gone: Visit, runs: Any, examples: Examples) -> None:
    panel, question = gone.suggested("ask")
    example = pictured(panel, examples.tabs["ask"])
    picture = examples.pictures[example["images"][0]]
    assert question in example["texts"]
    expected = pipeline("vqa", runs["vqa"])(image=picture, question=question)
    assert told(panel) == expected[0]["answer"]
    found = bars(panel)
    assert [text for text, _ in found] == [one["answer"] for one in expected]
    assert all(near(share, one["score"]) for (_, share), one in zip(found, expected, strict=True))
    assert "vqa" in panel.locator(".foot").inner_text()
    for name in TABS:
        gone.tab(name)
        gone.page.wait_for_timeout(200)
    assert (gone.strangers, gone.faults) == ([], [])


def test_find(gone: Visit, runs: Any, examples: Examples) -> None:
    panel, phrase = gone.suggested("find")
    picture = examples.pictures[pictured(panel, examples.tabs["find"])["images"][0]]
    box = pipeline("grounding", runs["grounding"])(image=picture, text=phrase)["box"]
    shown = {
        name: float(panel.locator(".overlay .line").get_attribute(name) or "nan")
        for name in ("x", "y", "width", "height")
    }
    assert shown["x"] == pytest.approx(box["xmin"], abs=0.02)
    assert shown["y"] == pytest.approx(box["ymin"], abs=0.02)
    assert shown["x"] + shown["width"] == pytest.approx(box["xmax"], abs=0.02)
    assert shown["y"] + shown["height"] == pytest.approx(box["ymax"], abs=0.02)
    match = pipeline("image-text-matching", runs[""])(image=picture, text=phrase)["score"]
    assert near(bars(panel)[0][1], match)
    assert "Nobody calibrated it" in panel.locator(".foot").inner_text()
    # The box lies where it should, in the picture's own pixels, whatever its size on the screen.
    drawn = panel.locator(".overlay .line").bounding_box()
    image = panel.locator(".stage img").bounding_box()
    scale = image["width"] / 384
    assert drawn["x"] - image["x"] == pytest.approx(box["xmin"] * scale, abs=4)
    assert drawn["y"] - image["y"] == pytest.approx(box["ymin"] * scale, abs=4)


@thorough
def test_caption(gone: Visit, runs: Any, examples: Examples) -> None:
    panel = gone.tab("caption")
    panel.get_by_role("button", name="Picture 3").click()
    gone.answered(panel)
    picture = examples.pictures[examples.tabs["caption"][2]["images"][0]]
    expected = pipeline("captioning", runs["captioning"])([picture], texts=3, beams=4)[0]
    texts = list(dict.fromkeys(one["generated_text"] for one in expected if one["generated_text"]))
    if not texts:
        assert "wrote nothing" in panel.locator(".answer").inner_text()
        return
    assert told(panel) == texts[0][0].upper() + texts[0][1:]
    score = pipeline("image-text-matching", runs[""])(image=picture, text=texts[0])["score"]
    assert near(panel.locator(".answer .verdict").inner_text(), score)


@thorough
def test_classify(gone: Visit, runs: Any, examples: Examples) -> None:
    panel = gone.tab("classify")
    gone.answered(panel)  # the first example asks by itself
    field = panel.get_by_label("Your classes, with commas")
    field.fill("red square, blue square, red square, green square")
    panel.get_by_role("button", name="Classify").click()
    picture = examples.pictures[pictured(panel, examples.tabs["classify"])["images"][0]]
    labels = ["red square", "blue square", "green square"]
    expected = pipeline("zero-shot-image-classification", runs[""])(
        picture, candidate_labels=labels, hypothesis_template=["a {}", "a picture of a {}"]
    )
    panel.locator(".said", has_text=expected[0]["label"]).wait_for()
    assert [text for text, _ in bars(panel)] == [one["label"] for one in expected]
    assert all(near(share, one["score"]) for (_, share), one in zip(bars(panel), expected, strict=True))
    match = pipeline("image-text-matching", runs[""])(image=picture, text=f"a {expected[0]['label']}")[
        "score"
    ]
    assert near(panel.locator(".answer .verdict").inner_text(), match)
    before = bars(panel)
    field.fill("a photo of a red square, a photo of a blue square, a photo of a green square")
    field.press("Enter")
    panel.locator(".said", has_text=f"a photo of a {expected[0]['label']}").wait_for()
    assert f"“a photo of a {expected[0]['label']}”" in panel.locator(".answer .verdict").inner_text()
    assert len(bars(panel)) == len(before)
    field.fill("one class")
    field.press("Enter")
    panel.locator(".verdict.bad", has_text="two classes at least").wait_for()


@thorough
def test_fill_in(gone: Visit, runs: Any, examples: Examples) -> None:
    panel = gone.tab("fill")
    panel.locator(".stage img").wait_for()
    field = panel.get_by_label("A sentence with a gap (___)")
    field.fill("a  square")
    field.evaluate("input => input.setSelectionRange(2, 2)")
    panel.get_by_role("button", name="Put a gap ___").click()
    assert field.input_value() == "a ___ square"
    panel.get_by_role("button", name="Fill in", exact=True).click()
    gone.answered(panel)
    pipe = pipeline("fill-mask", runs[""])
    picture = examples.pictures[pictured(panel, examples.tabs["fill"])["images"][0]]
    expected = [pipe("a <mask> square"), pipe({"text": "a <mask> square", "image": picture})]
    words = [[one["token_str"].strip() or "(space)" for one in side] for side in expected]
    assert [text for text, _ in bars(panel)] == [*words[0], *words[1]]
    shares = [one["score"] for side in expected for one in side]
    assert all(near(shown, share) for (_, shown), share in zip(bars(panel), shares, strict=True))
    field.fill("a ___ square left of a ___ one")
    field.press("Enter")
    panel.locator(".answer", has_text="Gap 2").wait_for()
    assert panel.locator(".answer .bars").count() == 4
    field.fill("no gap at all")
    field.press("Enter")
    panel.locator(".verdict.bad", has_text="has no gap").wait_for()


@thorough
def test_look(gone: Visit, runs: Any, examples: Examples) -> None:
    panel, text = gone.suggested("look")
    picture = examples.pictures[pictured(panel, examples.tabs["look"])["images"][0]]
    model = load_model(runs[""])
    maps = attention_maps(model, picture, text)
    words = panel.locator("[aria-label=Words] button")
    assert [words.nth(n).inner_text() for n in range(words.count())] == ["whole text", *maps.words]
    assert near(panel.locator(".answer .verdict").inner_text(), maps.match)
    canvas = panel.locator("canvas.overlay")
    whole = canvas.evaluate("one => one.toDataURL()")
    assert "the model looks" in (canvas.get_attribute("aria-label") or "")
    words.nth(2).click()
    assert canvas.evaluate("one => one.toDataURL()") != whole
    assert words.nth(2).get_attribute("aria-pressed") == "true"
    # The strongest pixel of the canvas lies in the strongest patch.
    heat = maps.maps[1]
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    pixels = canvas.evaluate(
        "one => { const data = one.getContext('2d').getImageData(0, 0, one.width, one.height).data;"
        "let best = 0; for (let n = 0; n < data.length; n += 4) if (data[n] + 256 * (255 - data[n + 3]) <"
        " data[best] + 256 * (255 - data[best + 3])) best = n; return [best / 4 % one.width / one.width,"
        " Math.floor(best / 4 / one.width) / one.height]; }"
    )
    assert int(pixels[0] * heat.shape[1]) == pytest.approx(column, abs=1)
    assert int(pixels[1] * heat.shape[0]) == pytest.approx(row, abs=1)
    layers = panel.get_by_label("Layer of the fusion encoder")
    layers.select_option("1")
    panel.locator(".foot", has_text="layer 1 of").wait_for()
    assert layers.locator("option").count() == 1 + len(model.model.fusion.layers)


@thorough
def test_search_by_text_by_picture_and_by_both(gone: Visit, tiny: Running, examples: Examples) -> None:
    panel = gone.tab("search")
    panel.locator(".gallery.browse .hit").first.wait_for()
    assert f"The gallery: {len(examples.gallery)} pictures" in panel.inner_text()
    panel.get_by_label("What to search for").fill("a red square")
    panel.get_by_label(re.compile("Something is found from")).fill("0")
    panel.get_by_role("button", name="Search", exact=True).click()
    panel.locator(".verdict.good").wait_for()
    expected = tiny.client().search("a red square", top_k=24, min_score=0.0)
    assert near(panel.locator(".verdict").inner_text(), expected["best"])
    hits = panel.locator(".gallery .hit")
    assert hits.count() == 24
    captions = [examples.gallery[hit["key"]] for hit in expected["hits"]]
    assert [hits.nth(n).locator(".told").inner_text() for n in range(3)] == captions[:3]
    box = hits.first.locator(".overlay .line")
    assert float(box.get_attribute("x") or "nan") == pytest.approx(
        expected["hits"][0]["box"]["xmin"], abs=0.02
    )
    hits.first.locator("img[src^=blob]").wait_for()
    assert hits.first.locator("img").evaluate("one => one.naturalWidth") == 384
    panel.get_by_label("What to search for").fill("")
    name = expected["hits"][5]["key"]
    file = {"name": name, "mimeType": "image/jpeg", "buffer": examples.pictures[name]}
    panel.locator("input[type=file]").set_input_files(file)
    panel.locator(".verdict", has_text="by likeness").wait_for()
    alike = panel.locator(".gallery img").first
    alike.wait_for()
    assert alike.get_attribute("alt") == examples.gallery[name]


@thorough
def test_an_own_picture_by_file(gone: Visit, runs: Any) -> None:
    panel = gone.tab("ask")
    panel.locator(".stage img").wait_for()
    mine = saved(Image.new("RGB", (300, 100), "red"), "png")
    field = panel.locator("input[type=file]")
    field.set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": mine})
    panel.locator("img[alt='Picture: mine.png']").wait_for()
    assert panel.locator(".thumb[aria-pressed=true]").count() == 0
    question = "<img src=x onerror=alert(1)> what <b>colour</b>?"
    panel.get_by_label("Your question").fill(question)
    panel.get_by_role("button", name="Ask", exact=True).click()
    gone.answered(panel)
    expected = pipeline("vqa", runs["vqa"])(image=mine, question=question)
    assert told(panel) == expected[0]["answer"]


def refused(panel: Any) -> Any:
    return panel.locator("[role=alert]", has_text="cannot show this file")


@thorough
def test_a_picture_that_cannot_be_taken(gone: Visit) -> None:
    """The page says why, and asks nothing about the picture that was there before."""
    file = {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"}
    panel, _ = gone.suggested("ask")
    panel.locator("input[type=file]").set_input_files(file)
    refused(panel).wait_for()
    assert panel.locator(".stage img").count() == panel.locator(".answer .said").count() == 0
    assert panel.locator(".thumb[aria-pressed=true]").count() == 0
    panel.get_by_role("button", name="Ask", exact=True).click()
    panel.locator(".answer", has_text="Choose a picture first").wait_for()
    panel = gone.tab("search")
    panel.locator(".gallery.browse .hit").first.wait_for()
    panel.locator("input[type=file]").set_input_files(file)
    refused(panel).wait_for()
    panel = gone.tab("compare")
    panel.locator(".stage img").nth(1).wait_for()
    panel.locator("input[type=file]").last.set_input_files(file)
    refused(panel).wait_for()
    assert panel.locator(".stage img").count() == 1


@thorough
def test_what_people_write_is_text(gone: Visit) -> None:
    panel = gone.tab("find")
    panel.locator(".stage img").wait_for()
    panel.get_by_label("What to look for").fill("<img src=x id=hit onerror=document.title='hit'>")
    panel.get_by_role("button", name="Find", exact=True).click()
    gone.answered(panel)
    assert "<img src=x id=hit" in panel.locator(".answer .verdict").inner_text()
    assert gone.page.locator("#hit").count() == 0
    assert (gone.page.title(), gone.faults) == ("Find - xfm demo", [])


@thorough
def test_a_server_that_is_gone_is_a_sentence(gone: Visit) -> None:
    panel = gone.tab("find")
    panel.locator(".stage img").wait_for()
    panel.get_by_label("What to look for").fill("a red square")
    gone.page.route("**/v1/tasks/**", lambda route: route.abort())
    panel.get_by_role("button", name="Find", exact=True).click()
    panel.locator(".verdict.bad", has_text="The server does not answer").wait_for()
    busy = json.dumps({"error": {"message": "the server is busy: try again later"}})
    gone.page.route("**/v1/tasks/**", lambda route: route.fulfill(status=429, body=busy))
    panel.get_by_role("button", name="Find", exact=True).click()
    again = panel.locator(".verdict.bad", has_text="try again in a moment")
    again.wait_for()
    assert again.count() == 1
