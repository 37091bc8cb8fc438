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
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
SPAN = re.compile(r"`([^`]+)`")
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def files(page: Path) -> dict[str, str]:
    found = {block.partition("\n")[0]: block for block in blocks(page, "yaml")}
    return {name.removeprefix("# "): block for name, block in found.items() if name.endswith(".yaml")}


def commands(page: Path, program: str) -> list[list[str]]:
    shown = blocks(page, "bash", "sh", "shell", "console")
    return [words for block in shown for words in commands_in(block, program)]


def mentions(page: Path, program: str) -> list[list[str]]:
    spans = SPAN.findall(BLOCK.sub("", page.read_text()))
    return [words for span in spans for words in commands_in(" ".join(span.split()), program)]


def commands_in(lines: str, program: str) -> list[list[str]]:
    """Arguments of a program in lines of a shell; continued lines are joined, comments dropped."""
    found = []
    for line in lines.replace("\\\n", " ").splitlines():
        if program not in line:
            continue  # what is no shell's need not be read as one
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            del words[0]  # environment
        if "-m" in words and program in words[1:]:
            del words[: words.index("-m") + 1]  # torchrun, or Python
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
