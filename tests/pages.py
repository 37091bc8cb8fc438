"""What the pages of the documentation hold: code, commands, files, links."""

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    """The page's blocks of code in some languages."""
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def files(page: Path) -> dict[str, str]:
    """Files that the page shows: YAML blocks that begin with a name."""
    found = {block.partition("\n")[0]: block for block in blocks(page, "yaml")}
    return {name.removeprefix("# "): block for name, block in found.items() if name.endswith(".yaml")}


def commands(page: Path, program: str) -> list[list[str]]:
    """Arguments of a program in the page's shell blocks; continued lines are joined, comments dropped."""
    found = []
    for block in blocks(page, "bash", "sh", "shell", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                del words[0]  # environment
            if words and Path(words[0]).name == program:
                found.append(words[1:])
    return found


def run_python(page: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the page's Python blocks one after the other in one module, and return what it holds then."""
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = page.read_text()
    for found in BLOCK.finditer(text):
        if found[1] == "python":
            # Empty lines in front keep the page's line numbers in tracebacks.
            lines = "\n" * text.count("\n", 0, found.start(2))
            exec(compile(lines + found[2], str(page), "exec"), module.__dict__)
    return module.__dict__
