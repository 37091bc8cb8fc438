"""The examples of docs/extending.md work, one after the other, in an empty folder."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from xfm.config import tasks

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[int, str]]:
    """The line at which each Python block begins, and its code."""
    text = PAGE.read_text()
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in BLOCK.finditer(text)]


def test_every_section_has_an_example() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == [
        "A corpus",
        "An objective",
        "A task",
        "An encoder",
    ]
    assert all(BLOCK.search(section) and "**In the package.**" in section for section in sections)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ModuleType("extending")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "extending", page)
    monkeypatch.setattr(tasks, "_known", dict(tasks._known))  # what the page adds is known here alone
    for line, code in examples():
        # Empty lines in front keep the page's line numbers in tracebacks.
        exec(compile("\n" * line + code, str(PAGE), "exec"), page.__dict__)


def test_the_files_that_the_page_names_exist() -> None:
    """Paths in backticks lie in the package, but for those that are to be written."""
    root = PAGE.parent.parent
    new = {"objectives/sentence.py", "tasks/label.py"}
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE.read_text()))
    assert named > new
    missing = [
        name for name in named - new if not ((root / "src" / "xfm" / name).exists() or (root / name).exists())
    ]
    assert [name for name in missing if "NAME" not in name] == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("data/sources/__init__.py", "_READERS = {"),
        ("cli.py", "COMMANDS = {"),
        ("config/training.py", "class LossConfig"),
        ("objectives/fused.py", "def ask_matching("),
        ("objectives/step.py", 'getattr(weights, name.rpartition("/")[2])'),
        ("modeling/gradients.py", "INPUTS: Mapping"),
        ("modeling/gradients.py", "PRETRAINING = GradientPolicy("),
        ("config/evaluation.py", "class Part(StrEnum)"),
        ("config/evaluation.py", "class ShortTuning("),
        ("evaluation/parts/__init__.py", "PARTS: dict"),
        ("evaluation/parts/tuned.py", "TUNED: Mapping"),
        ("finetuning/tuning_run.py", "def tune("),
        ("modeling/encoders.py", "class VisionLike(Protocol)"),
        ("modeling/encoders.py", "class LanguageLike(Protocol)"),
        ("modeling/encoders.py", "def build_vision("),
        ("config/model.py", "AnyVisionConfig = VisionConfig |"),
        ("config/model.py", "AnyLanguageConfig = LanguageConfig |"),
    ],
)
def test_the_places_that_the_page_names_exist(file: str, words: str) -> None:
    """When one of these moves, the page must say where to."""
    assert words in (PAGE.parent.parent / "src" / "xfm" / file).read_text()
