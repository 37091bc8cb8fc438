"""How the page is used: by keyboard, by screen readers, in the dark, on narrow screens, with a key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.alike import some, thorough
from tests.demo.conftest import CONTRAST, CONTROLS, TABS, Open, Visit
from tests.finetuning.conftest import FILES, SAMPLES, on_sample
from tests.serving.conftest import Running
from xfm.serving.examples import Examples

Go = Callable[..., Visit]
KEY = "a-key-of-24-characters-0"


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.tagName")


@thorough
def test_tabs_by_keyboard(tiny: Running, visit: Go) -> None:
    page = visit(tiny.address).page
    page.wait_for_selector("body[data-ready=true]")
    assert page.locator("[role=tablist]").get_attribute("aria-orientation") == "vertical"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the tabs"
    page.focus("#tab-search")
    seen = []
    for key in ("ArrowDown", "ArrowRight", "End", "ArrowDown", "ArrowUp", "Home"):
        page.keyboard.press(key)
        seen.append(focused(page))
    names = ["ask", "find", "look", "search", "look", "search"]
    assert seen == [f"tab-{name}" for name in names]
    selected = page.locator("[role=tab][aria-selected=true]")
    assert (selected.count(), selected.get_attribute("id")) == (1, "tab-search")
    assert page.locator("[role=tabpanel]:visible").count() == 1
    # One tab stop for all tabs; the next one is the panel, named by its tab.
    assert page.locator("[role=tab][tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert focused(page) == "panel-search"
    assert page.locator("#panel-search").get_attribute("aria-labelledby") == "tab-search"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@thorough
def test_a_question_by_keyboard_alone(tiny: Running, visit: Go) -> None:
    gone = visit(f"{tiny.address}/#ask")
    page = gone.page
    page.wait_for_selector("body[data-ready=true]")
    panel = page.locator("#panel-ask")
    panel.locator(".stage img").wait_for()
    page.focus("#tab-ask")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "text":
            break
    page.keyboard.type("what colour is the left square?")
    page.keyboard.press("Enter")
    gone.answered(panel)
    assert page.evaluate("document.activeElement.type") == "text"  # the focus stays where it was
    live = panel.locator("[aria-live=polite][role=status]")
    assert (live.count(), live.get_attribute("aria-busy")) == (1, "false")
    assert "%" in live.inner_text()


@thorough
@pytest.mark.parametrize("scheme", some(["light", "dark"], 2))
def test_names_and_contrast(tiny: Running, visit: Go, scheme: str) -> None:
    gone = visit(tiny.address, color_scheme=scheme)
    page = gone.page
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, ground[4:-1].split(","))) < 60) is (scheme == "dark")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    for name in TABS:
        panel = gone.tab(name)
        if name != "search":
            panel.locator(".stage img").first.wait_for()
        if panel.locator("form + .suggestions .suggestion").count():
            panel.locator("form + .suggestions .suggestion").first.click()
            gone.answered(panel)
        page.wait_for_timeout(300)
        assert page.evaluate(CONTRAST) == [], name
        controls = page.evaluate(CONTROLS)
        assert controls
        assert [one for one in controls if not one["name"]] == [], name
        small = [one for one in controls if one["height"] < 24 and one["kind"] not in ("INPUT:file", "A")]
        assert small == [], name
        assert page.locator("img:not([alt])").count() == 0
        twice = "() => { const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);"
        assert page.evaluate(f"{twice} return ids.length - new Set(ids).size; }}") == 0


@thorough
def test_narrow_screens_scroll_in_one_direction(tiny: Running, visit: Go) -> None:
    width = 320
    gone = visit(tiny.address, viewport={"width": width, "height": 700})
    for name in TABS:
        gone.tab(name)
        assert gone.page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert gone.page.locator("[role=tablist]").get_attribute("aria-orientation") == "horizontal"


@thorough
def test_a_key_is_asked_for_once(opened: Open, visit: Go, runs: dict[str, Path]) -> None:
    running = opened(runs[""], keys=(KEY,))
    gone = visit(running.address)
    page = gone.page
    field = page.get_by_label("Key", exact=True)
    field.fill("not the key")
    field.press("Enter")
    page.get_by_text("not one of the server's").wait_for()
    field.fill(KEY)
    field.press("Enter")
    gone.tab("search").locator(".gallery.browse img[src^=blob]").first.wait_for()
    page.reload()
    page.wait_for_selector("body[data-ready=true]")
    assert not page.locator("dialog[open]").count()
    assert gone.strangers == []


@thorough
def test_the_model_in_the_box(opened: Open, visit: Go, examples: Examples) -> None:
    """What it is good for works, and it says no where nothing fits."""
    running = opened("small")
    gone = visit(running.address)
    panel = gone.tab("search")
    queries = panel.locator("form + .suggestions .suggestion")
    queries.first.wait_for()
    queries.first.click()
    panel.locator(".verdict.good").wait_for()
    words = queries.first.inner_text().split()[-1]
    assert words in panel.locator(".gallery .hit .told").first.inner_text()
    for place in (-2, -1):
        queries.nth(queries.count() + place).click()
        panel.locator(".verdict.warn", has_text=queries.nth(queries.count() + place).inner_text()).wait_for()
        assert "Nothing found among 96 pictures" in panel.locator(".verdict").inner_text()
    panel, _ = gone.suggested("find")
    assert "The model is" in panel.locator(".answer .verdict").inner_text()
    assert "is calibrated" in panel.locator(".foot").inner_text()
    last = panel.locator("form + .suggestions .suggestion").last
    last.click()
    panel.get_by_text("Probably not there").wait_for()
    assert panel.locator(".overlay.unsure").count() == 1
    panel = gone.tab("classify")
    gone.answered(panel)
    assert panel.locator(".said").inner_text() in {
        one for told in examples.tabs["classify"] for one in told["truths"]
    }
    for name in ("ask", "compare", "caption"):
        panel = gone.tab(name)
        assert gone.page.locator(f"#tab-{name}").get_attribute("aria-disabled") == "true"
        assert panel.get_by_text("This tab is off").count() == 1
        assert panel.locator("input, textarea").count() == 0
        assert "xfm finetune" in panel.locator("pre").first.inner_text()
    assert "comes with the package" in gone.page.locator("header.top").inner_text()
    assert (gone.strangers, gone.faults) == ([], [])


@thorough
def test_contrast_of_a_fine_tuning_report(chromium: Any, runs: dict[str, Path], tmp_path: Path) -> None:
    kind = "image-classification"
    on_sample(kind, runs[""], tmp_path / "out", test=SAMPLES / FILES[kind][0])
    for scheme in ("light", "dark"):
        context = chromium.new_context(color_scheme=scheme, viewport={"width": 1240, "height": 2000})
        page = context.new_page()
        page.goto((tmp_path / "out" / "report.html").as_uri())
        for details in page.locator("details").all():
            details.evaluate("one => { one.open = true; }")
        assert page.evaluate(CONTRAST) == [], scheme
        context.close()
