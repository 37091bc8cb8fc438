"""The command line as a user meets it."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.training.corpus import tiny_recipe, write_corpus
from xfm.cli import COMMANDS, main
from xfm.config.load import dump_recipe


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xfm.cli", *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    corpus = write_corpus(tmp_path / "corpus")
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny_recipe(corpus, steps=3)))
    return path


def test_help_starts_quickly():
    """Processor time, so that other work on the machine does not matter; alone it is the time that passes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.7


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_without_importing_torch(command):
    code = (
        "import sys; from xfm.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"xfm {command}" in done.stdout
    assert "examples:" in done.stdout
    assert "Namespace(" not in done.stdout


def test_help_shows_the_values_of_the_recipe(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "--recipe", "base", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "default: 200000" in shown
    assert "{auto,fp32,bf16}" in shown


def test_bare_command_lists_the_verbs(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--recipe", "nanno"], "unknown recipe nanno; did you mean nano?"),
        (
            ["pretrain", "--training.step", "3"],
            "unknown option --training.step; did you mean --training.steps",
        ),
        (["prepare", "--scens", "3"], "unknown option --scens; did you mean --scenes"),
        (["evaluate"], "the following arguments are required: model"),
        (["info", "nowhere"], "unknown recipe nowhere"),
        (["quickstart", "--budget", "soon"], "budget"),
    ],
)
def test_mistakes_are_one_line_and_status_2(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("xfm: ")


def test_debug_shows_the_traceback():
    done = run("pretrain", "--recipe", "nanno", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["pretrian"])
    assert stop.value.code == 2
    assert "pretrain" in capsys.readouterr().err


def test_pretrain_resume_and_info(recipe, tmp_path, capsys):
    folder = tmp_path / "run"
    options = ["pretrain", "--recipe", str(recipe), "--folder", str(folder), "--quiet"]
    assert main(options) == 0
    assert f"xfm evaluate {folder / 'model'}" in capsys.readouterr().out
    assert main(options) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*options, "--resume", "--training.optim.lr", "1"]) == 2
    assert "training.optim.lr was 0.01 and is now 1.0" in capsys.readouterr().err
    assert main([*options, "--resume"]) == 0
    assert main(["pretrain", "--folder", str(folder), "--resume", "--quiet"]) == 0  # its own recipe
    capsys.readouterr()
    for path, expected in [
        (folder / "model", "recipe: tiny"),
        (folder / "checkpoints" / "step-00000003", "step: 3"),
        (folder, "last logged:"),
    ]:
        assert main(["info", str(path)]) == 0
        shown = capsys.readouterr().out
        assert expected in shown
        assert "total:" in shown
        described = yaml.safe_load(shown)
        assert described["grid"] == {"rows": 4, "columns": 4}
        assert described["preprocessing"]["interpolation"] == "bicubic"
        assert len(described["tokenizer"]["sha256"]) == 64
        assert described["gradients"]["bbp"] == ["fusion", "vision"]
        assert described["licences"]["code"] == "Apache-2.0"
        assert described["position"]["steps"] == 3
        assert described["data"]["pair"] == [f"{recipe.parent / 'corpus' / 'scenes-*.tar'}"]
        assert described["config"]["model_type"] == "xfm"
    assert main(["info", str(recipe)]) == 0
    assert capsys.readouterr().out.strip() == recipe.read_text().strip()


def test_info_of_other_things(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "provenance.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no")
    assert main(["info", str(tmp_path / "model")]) == 2
    assert "not a safetensors file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["info", str(tmp_path / "empty")]) == 2
    assert "is no model folder" in capsys.readouterr().err
    (tmp_path / "model" / "provenance.json").write_text("{")
    assert main(["info", str(tmp_path / "model")]) == 2
    assert "not JSON" in capsys.readouterr().err
