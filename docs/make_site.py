"""Lays out the pages of the site in build/docs: the documentation, the project's pages, and the reference.

`make docs` calls this and then zensical, which reads zensical.toml. README, CONTRIBUTING and CHANGELOG stand
in the root of the repository, and the cards of the package's models beside their weights; their links are
turned so that they hold among the other pages. A page `api/ROOM.md` of the navigation is written here: every
module of that room, from its docstrings.
"""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xfm
from xfm.models.shipped import boxed_names

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "build" / "docs"
CARDS = {f"src/xfm/models/shipped/{name}/README.md": f"{name}.md" for name in boxed_names()}
PROJECT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
} | CARDS
FILES = ("LICENSE", "src/xfm/method.py", "benchmarks/own_data.py", "results/photos/README.md")
"""What pages link as it is."""


def public() -> str:
    """The page of the names that `xfm` offers."""
    short = "    options: {show_root_full_path: false}"
    names = [f"::: {xfm._HOMES[name]}.{name}\n{short}\n" for name in xfm.__all__]
    return "\n".join(["# xfm\n", "What `import xfm` offers; the other pages have the modules.\n", *names])


def room(name: str) -> str:
    """The page of a room: its modules, without those that are its own affair."""
    folder = ROOT / "src" / "xfm" / name
    found = sorted(path.relative_to(ROOT / "src").with_suffix("") for path in folder.rglob("*.py"))
    modules = [".".join(path.parts) for path in found if not path.name.startswith("_")]
    return "\n".join([f"# xfm.{name}\n", *(f"::: {module}\n" for module in modules)])


def navigated(nav: Any) -> Iterator[str]:
    """The pages of the navigation."""
    if isinstance(nav, str):
        yield nav
    for entry in [] if isinstance(nav, str) else nav.values() if isinstance(nav, dict) else nav:
        yield from navigated(entry)


def main() -> None:
    """Write all pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for page in PAGES.glob("*.md"):
        page.write_text(page.read_text().replace("](../", "]("))
    for source, name in PROJECT.items():
        text = (ROOT / source).read_text()
        for card, page in CARDS.items():
            text = text.replace(f"]({card})", f"]({page})")
        (PAGES / name).write_text(text.replace("](docs/", "](").replace('"docs/', '"'))
    for name in FILES:
        (PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, PAGES / name)
    (PAGES / "api").mkdir()
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    for page in navigated(nav):
        if page.startswith("api/"):
            name = Path(page).stem
            (PAGES / page).write_text(public() if name == "index" else room(name))


if __name__ == "__main__":
    main()
