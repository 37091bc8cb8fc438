"""Photographs the page of `xfm demo`: `python -m benchmarks.page_pictures small --out docs/images`.

Every tab is asked its first example in a headless Chromium (Debian's `chromium`), in light, dark and narrow;
`--all` keeps all of these, else those that README and docs show. The art in the scenes is Twemoji's
(CC-BY-4.0).
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

KEPT = {
    ("find", "light"): ("demo", 0),
    ("search", "dark"): ("demo-search", 0),
    ("look", "narrow"): ("demo-narrow", 0),
}
"""Names of the pictures that README and docs show, and which of the suggestions they ask."""
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1240, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1240, "height": 860}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
MOST_BYTES = 150_000


@contextmanager
def served(arguments: list[str]) -> Iterator[str]:
    """The address of a demo that runs meanwhile."""
    command = [sys.executable, "-m", "xfm", "demo", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if " is at http" in line), "")
        if not line:
            raise SystemExit("the page did not start")
        yield line.split(" is at ")[1].split()[0]
    finally:
        process.terminate()
        process.wait(30)


def asked(page: Page, address: str, tab: str, number: int = 0) -> bool:
    """Open a tab and ask its first example; whether it is one that is answered."""
    page.goto(f"{address}/#{tab}")
    page.reload()
    page.wait_for_selector("body[data-ready=true]")
    panel = page.locator(f"#panel-{tab}")
    if page.locator(f"#tab-{tab}").get_attribute("aria-disabled") == "true":
        return False
    page.wait_for_timeout(1500)
    suggestions = panel.locator(".suggestion")
    if suggestions.count():
        suggestions.nth(number).click()
    page.wait_for_timeout(300)
    panel.locator("[aria-live][aria-busy=false]").wait_for()
    page.wait_for_timeout(1200)
    return True


def compressed(data: bytes) -> bytes:
    """A WebP of less than `MOST_BYTES`."""
    picture, found = Image.open(io.BytesIO(data)).convert("RGB"), b""
    for quality in (88, 80, 70, 60, 50):
        out = io.BytesIO()
        picture.save(out, "webp", quality=quality, method=6)
        found = out.getvalue()
        if len(found) < MOST_BYTES:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["small"])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--all", action="store_true", help="every tab in every view, as PNG")
    parser.add_argument("--address", help="of a demo that runs already")
    parser.add_argument("--tabs", default="search,ask,find,compare,caption,classify,fill,look")
    parser.add_argument("--views", default=",".join(VIEWS))
    chosen = parser.parse_args()
    browser_path = shutil.which("chromium")
    if browser_path is None:
        raise SystemExit("there is no chromium: apt install chromium")
    chosen.out.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def there() -> Iterator[str]:
        yield chosen.address

    with (
        there() if chosen.address else served([",".join(chosen.models)]) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for view in chosen.views.split(","):
            page = browser.new_context(**VIEWS[view]).new_page()
            page.on("console", lambda said: print("console:", said.text) if said.type == "error" else None)
            for tab in chosen.tabs.split(","):
                if not chosen.all and (tab, view) not in KEPT:
                    continue
                name, number = KEPT.get((tab, view), ("", 0))
                asked(page, address, tab, number)
                data = page.screenshot(full_page=chosen.all)
                if chosen.all:
                    (chosen.out / f"{tab}-{view}.png").write_bytes(data)
                else:
                    (chosen.out / f"{name}.webp").write_bytes(compressed(data))
        browser.close()


if __name__ == "__main__":
    main()
