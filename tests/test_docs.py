"""The commands, code and links of the documentation hold; what they do is run by CI and the other tests."""

import ast
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from xfm.cli import main, parse_command
from xfm.modeling.folder import load_model

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def blocks(page: Path, *languages: str) -> list[str]:
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page, monkeypatch, tmp_path):
    shown = files(page)
    for name, text in shown.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path if shown else ROOT)
    for arguments in commands(page, "xfm"):
        if "--help" in arguments or "--version" in arguments or not arguments:
            with pytest.raises(SystemExit) as stop:
                parse_command(arguments or ["--help"])
            assert not stop.value.code
        else:
            parse_command(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for arguments in commands(page, "make"):
        for word in arguments:
            if "=" not in word and not word.startswith("-"):
                assert word in targets, f"{page.name}: make {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_examples_import_what_exists(page):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "xfm":
                module = import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{page.name}: {node.module}.{name.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_models_of_the_pages_are_made_by_a_quickstart_or_by_a_command_of_theirs():
    text = "\n".join(page.read_text() for page in PAGES)
    made = {"quickstart", "own"} | set(re.findall(r"--out runs/([\w-]+)", text))
    named = re.findall(r"\bruns/([\w-]+)/model\b", text)
    assert named
    assert not set(named) - made


def test_own_data_becomes_a_model(tmp_path, monkeypatch):
    """The page on data, from the files that it assumes to a model, in two steps."""
    page = ROOT / "docs" / "data.md"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "photos").mkdir(parents=True)
    captions = [f"a {colour} square" for colour in ("red", "green", "blue", "yellow") for _ in range(3)]
    for number in range(len(captions)):
        Image.new("RGB", (40, 30), (20 * number, 90, 200)).save(tmp_path / f"own/photos/{number}.png")
    rows = [{"image": f"photos/{n}.png", "caption": caption} for n, caption in enumerate(captions)]
    (tmp_path / "own" / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [{"text": f"Number {number} is a {word}."} for number, word in enumerate(captions)]
    (tmp_path / "own" / "text.jsonl").write_text("\n".join(map(json.dumps, texts)))
    (code,) = blocks(page, "python")
    exec(compile(code, str(page), "exec"), {})
    (tmp_path / "own.yaml").write_text(files(page)["own.yaml"])
    small = ["--training.steps", "2", "--data.workers", "0", "--data.text.batch-size", "4"]
    small += ["--data.pair.batch-size", "4", "--data.image.batch-size", "2"]
    ((_, *arguments),) = [words for words in commands(page, "xfm") if words[0] == "pretrain"]
    assert main(["pretrain", *arguments, *small, "--quiet"]) == 0
    lines = [json.loads(line) for line in Path("runs/own/log.jsonl").read_text().splitlines()]
    assert {"text/mlm", "image/mim", "pair/itc", "pair/itm", "pair/imlm"} <= lines[-1]["losses"].keys()
    assert load_model("runs/own/model").provenance["recipe"] == "own"
