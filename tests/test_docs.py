"""What the documentation names exists, and its commands parse; `make docs` checks links between its pages."""

import ast
import re
import tomllib
from datetime import date
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules

import pytest
import yaml

from tests.pages import PAGES, ROOT, blocks, commands, commands_in, files, mentions, name_of
from tests.task_tables import fine_tuning, pipelines
from xfm.cli.main import COMMANDS, parse_command
from xfm.config.options import known_options
from xfm.core.errors import UserError

PLACES = {"CORPUS": "coco", "RECIPE": "nano", "TASK": "vqa", "N": "1"}
"""What a name in capitals stands for, where not everything may."""
STARTS = {"predict": [["vqa"]], "prepare": [[], ["coco"]], "data": [["index"]]}
"""How the options of commands begin that have more than one help."""
REMARK = re.compile(r"(?<=\S) {3,}.*| \|.*")
"""What stands behind an example, and pipes."""
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_commands_parse(page, monkeypatch, tmp_path):
    shown = files(page)
    for name, text in shown.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path if shown else ROOT)
    for words in commands(page, "xfm"):
        arguments = [word for word in words if word != "$resume"]  # a variable that may be empty
        if "--help" in arguments or "--version" in arguments or not arguments:
            with pytest.raises(SystemExit) as stop:
                parse_command(arguments or ["--help"])
            assert not stop.value.code
        else:
            parse_command(arguments)


@every_page
def test_commands_in_sentences_have_options_that_exist(page):
    for arguments in mentions(page, "xfm") if page.name != "CHANGELOG.md" else ():  # which is history
        check_mention(arguments)


@pytest.mark.parametrize("verb", COMMANDS)
def test_examples_of_the_help_parse(verb):
    for options in STARTS.get(verb, [[]]):
        shown = COMMANDS[verb].parser(options).epilog or ""
        examples = commands_in(REMARK.sub("", shown), "xfm")
        assert examples
        for arguments in examples:
            check_mention(arguments)


UNSAID = re.compile("required|cannot be read|expected one argument")
"""How a command is refused of which an example leaves something out, or names a file that it makes first."""


def check_mention(arguments: list[str]) -> None:
    check_words(tuple(PLACES.get(word, word) for word in arguments if word != "..."))


@cache
def check_words(words: tuple[str, ...]) -> None:
    if not words or words[0].startswith("-") or words[0].endswith(",") or "--help" in words:
        return
    try:
        known = {*known_options(COMMANDS[words[0]].parser([*words[1:]])), "--to"}
        named = {word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")}
        assert named <= known
        parse_command([*words])
    except UserError as error:
        if not UNSAID.search(str(error)):
            raise


@every_page
def test_benchmarks_have_the_options_that_are_given(page):
    for arguments in commands(page, "python") + mentions(page, "python"):
        if name := re.match(r"(?:-m )?benchmarks[./](\w+)", " ".join(arguments)):
            text = (ROOT / "benchmarks" / f"{name[1]}.py").read_text()
            named = {word.partition("=")[0] for word in arguments if word.startswith("--")}
            assert [option for option in named if f'"{option}"' not in text] == []


@every_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    words = [word for arguments in commands(page, "make") for word in arguments]
    assert {word for word in words if "=" not in word and not word.startswith("-")} <= targets


def missing_names(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "xfm":
            module = import_module(node.module)
            inner = {found.name for found in iter_modules(getattr(module, "__path__", []))}
            for name in node.names:
                if not hasattr(module, name.name) and name.name not in inner:
                    yield f"{node.module}.{name.name}"


@every_page
def test_python_examples_import_what_exists(page):
    assert [name for code in blocks(page, "python") for name in missing_names(code)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_import_what_exists(path):
    assert [*missing_names(path.read_text())] == []


@every_page
def test_links_lead_to_files(page):
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def test_models_of_the_pages_are_made_by_a_quickstart_or_by_a_command_of_theirs():
    text = "\n".join(page.read_text() for page in PAGES)
    made = {"quickstart", "own"} | set(re.findall(r"--out runs/([\w-]+)", text))
    named = re.findall(r"\bruns/([\w-]+)/model\b", text)
    assert named
    assert not set(named) - made


def test_every_page_is_in_the_navigation_of_the_site():
    nav = str(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    pages = [str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")]
    assert [page for page in [*pages, "index.md", "CONTRIBUTING.md", "CHANGELOG.md"] if page not in nav] == []


@pytest.mark.parametrize(("page", "table"), [("pipelines.md", pipelines()), ("finetuning.md", fine_tuning())])
def test_the_tables_of_tasks_are_those_of_the_rows(page, table):
    assert table in (ROOT / "docs" / page).read_text(), f"put this into docs/{page}:\n{table}"


def test_the_changes_end_with_this_version():
    heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased"
    released = [head.split(" - ") for head in heads[1:]]
    assert released[0][0] == version("xfm")
    assert [date.fromisoformat(day) for _, day in released]
    kinds = set(re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_has_what_its_format_asks_for():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == version("xfm")
    assert {"message", "title", "authors", "license", "date-released"} <= cited.keys()
    (paper,) = cited["references"]
    assert {"type", "title", "authors", "year", "url", "doi"} <= paper.keys()
    assert paper["doi"].endswith("2301.05065")
    assert all({"family-names", "given-names"} == author.keys() for author in paper["authors"])


def test_the_page_on_extending_has_examples_and_names_files_of_the_package():
    page = ROOT / "docs" / "extending.md"
    sections = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[1:]
    heads = [section.splitlines()[0] for section in sections]
    assert heads == ["A corpus", "An objective", "A schedule", "A task", "An encoder"]
    assert all("```python" in section and "**In the package.**" in section for section in sections)
    new = {"objectives/caption.py", "tasks/label.py"}
    named = {name for name in re.findall(r"`([\w/]+\.py)`", page.read_text()) if "NAME" not in name}
    assert named - {name for name in named for at in ("src/xfm", ".") if (ROOT / at / name).exists()} == new


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("data/sources/__init__.py", "_READERS = {"),
        ("cli/main.py", "COMMANDS = {"),
        ("config/training.py", "class LossConfig"),
        ("objectives/fusion_losses.py", "def matching_query("),
        ("objectives/losses.py", "class StepLoss("),
        ("objectives/step.py", "NEEDED_BY = {"),
        ("models/composition.py", "HEADS = ("),
        ("training/optim.py", "LR_SCHEDULES: dict"),
        ("objectives/step.py", 'getattr(weights, name.rpartition("/")[2])'),
        ("models/gradients.py", "INPUTS: Mapping"),
        ("models/gradients.py", "PRETRAINING = GradientPolicy.of("),
        ("config/evaluation.py", "class Part(StrEnum)"),
        ("config/evaluation.py", "class ShortTuning("),
        ("evaluation/parts/__init__.py", "PARTS: dict"),
        ("evaluation/parts/tuned.py", "TUNED: Mapping"),
        ("finetuning/tuning_run.py", "def tune("),
        ("models/encoders.py", "class VisionLike(Layered, Protocol)"),
        ("models/encoders.py", "class LanguageLike(Layered, Protocol)"),
        ("models/encoders.py", "def build_vision("),
        ("config/encoders.py", "AnyVisionConfig = VisionConfig |"),
        ("config/encoders.py", "AnyLanguageConfig = LanguageConfig |"),
    ],
)
def test_the_places_that_the_page_on_extending_names_exist(file, words):
    """When one of these moves, the page must say where to."""
    assert words in (ROOT / "src" / "xfm" / file).read_text()
