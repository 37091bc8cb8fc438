"""What the documentation names exists, and its commands parse; `make docs` checks links between its pages."""

import ast
import re
import tomllib
from datetime import date
from functools import cache
from importlib import import_module
from importlib.metadata import version
from inspect import getsource
from pkgutil import iter_modules

import pytest
import yaml
from benchmarks.results import add_outputs

from tests.pages import NOTEBOOKS, PAGES, ROOT, blocks, commands, commands_in, files, mentions, name_of
from tests.task_tables import fine_tuning, pipelines
from xfm.cli.main import COMMANDS, command_module, parse_command
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
        shown = command_module(verb).parser(options).epilog or ""
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
        known = {*known_options(command_module(words[0]).parser([*words[1:]]))}
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
            text += getsource(add_outputs) if "add_outputs(parser)" in text else ""
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


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=name_of)
def test_links_lead_to_files(page):
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


NEWCOMERS = {
    "docs/install.md": "xfm --version",
    "docs/search.md": "xfm search photos/",
    "docs/finetuning.md": "xfm finetune image-classification",
    "docs/tutorials/vqa.md": "xfm finetune vqa",
    "docs/libraries.md": "vectors = model.encode(",
    "docs/serving.md": "xfm serve small",
    "docs/data.md": "xfm pretrain --recipe own.yaml",
    "docs/export.md": "--format onnx",
    "docs/benchmarks.md": "xfm reproduce coco",
    "docs/extending.md": "register_task(",
}
"""What a newcomer wants: the page of the task, and a command or call that stands there."""


@pytest.mark.parametrize(("page", "shown"), NEWCOMERS.items(), ids=NEWCOMERS)
def test_a_newcomer_is_there_within_two_links(page, shown):
    first = {ROOT / link for link in LINK.findall((ROOT / "README.md").read_text()) if link.endswith(".md")}
    second = {(one.parent / link).resolve() for one in first for link in LINK.findall(one.read_text())}
    assert ROOT / page in first | second
    assert shown in "\n".join(blocks(ROOT / page, "bash", "python"))


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


def test_the_citation_has_what_its_format_asks_for():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == version("xfm")
    assert {"message", "title", "authors", "license", "date-released"} <= cited.keys()
