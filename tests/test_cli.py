"""The command line as a user meets it."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.evaluation.tiny import save_tiny_model, write_world
from tests.processes import run
from tests.training.corpus import tiny_recipe, write_corpus
from xfm.cli.main import COMMANDS, main
from xfm.config.load import dump_recipe
from xfm.core.errors import amount


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    corpus = write_corpus(tmp_path / "corpus")
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny_recipe(corpus, steps=3)))
    return path


def test_help_teaches_without_importing_torch():
    """Processor time, so that other work on the machine does not matter; alone it is the time that passes."""
    code = (
        "import resource, sys; from xfm.cli.main import COMMANDS, main\n"
        "for command in ('', *COMMANDS):\n"
        "    try: main([*command.split(), '--help'])\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "    assert command or resource.getrusage(resource.RUSAGE_SELF).ru_utime < 0.7\n"
        "assert 'torch' not in sys.modules"
    )
    ended = run([sys.executable, "-c", code], fresh=True)
    assert ended.status == 0, ended.err
    assert all(f"xfm {command}" in ended.out for command in COMMANDS)
    assert ended.out.count("examples:") >= len(COMMANDS)
    assert "Namespace(" not in ended.out


def test_help_shows_the_values_of_the_recipe(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "--recipe", "base", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "default: 200000" in shown
    assert "{auto,fp32,bf16}" in shown


MISTAKES = {
    "pretrian": "there is no command pretrian; did you mean pretrain",
    "eval --model m": "eval; did you mean evaluate",
    "pretrain --recipe nanno": "nanno; did you mean nano?",
    "pretrain --training.step 3": "--training.step; did you mean --training.steps",
    "pretrain --root no/where": "no/where does not exist: set --root",
    "pretrain --resume --root no/where": "runs/nano holds no run to resume",
    "evaluate": "required: --model; for example: xfm evaluate",
    "evaluate no/where --world no/world": "no/where is no model folder here",
    "finetune vqa m n --train t --out o": "no place for 'n'",
    "finetune vqa m --train --out o": "--train: expected one argument",
    "info no/where": "no/where does not exist, and no recipe or model of the package has that name",
    "export m m.onnx": "m.onnx: export writes a checkpoint of the published code, whose name ends in .th",
    "reproduce bert": "unknown benchmark bert; known: glue, cola",
    "reproduce --model m --protocols FT,XX": "--protocols: 'XX' is none of FT, LE, ZS",
    "reproduce --model m --data LONG --out o": "too long",
}
"""What a line of words must be told; LONG stands for a name of 5,000 letters."""


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_one_line_and_status_2(capsys, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.replace("LONG", "x" * 5000).split()) == 2
    error = capsys.readouterr().err
    assert MISTAKES[line] in error
    assert re.fullmatch("xfm: .*\n", error)
    assert "LONG" not in line or len(error) < 300
    assert not any(tmp_path.iterdir())


def test_debug_shows_the_traceback(capsys):
    assert main(["pretrain", "--recipe", "nanno", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_pretrain_resume_and_info(recipe, tmp_path, capsys):
    folder = tmp_path / "run"
    options = ["pretrain", "--recipe", str(recipe), "--out", str(folder), "--quiet"]
    assert main(options) == 0
    shown = capsys.readouterr().out
    assert f"The model is in {folder / 'model'}." in shown  # there are no tasks to evaluate it on
    assert "Note:" not in shown
    assert "Flagged:" not in shown
    assert main(options) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*options, "--resume", "--training.optim.lr", "1"]) == 2
    assert "training.optim.lr was 0.01 and is now 1.0" in capsys.readouterr().err
    assert main([*options, "--resume", "--training.steps", "9"]) == 2
    assert re.search(rf"3 steps.* cannot have 9.*--init.model {folder}/model", capsys.readouterr().err)
    assert main([*options, "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Flagged: resumed: the run was stopped and")
    other = ["pretrain", "--recipe", "nano", "--out", str(folder), "--resume", "--quiet"]
    assert main(other) == 0
    assert f"with its own {folder / 'config.yaml'}; --recipe nano is not read" in capsys.readouterr().out
    assert main(["pretrain", "--out", str(folder), "--resume", "--quiet"]) == 0  # its own recipe
    capsys.readouterr()
    told = {"model": "recipe: tiny", "checkpoints/step-00000003": "step: 3", "": "last logged:"}
    for path, expected in told.items():
        assert main(["info", str(folder / path)]) == 0
        shown = capsys.readouterr().out
        assert expected in shown
        assert "total:" in shown
        described = yaml.safe_load(shown)
        assert described["preprocessing"]["interpolation"] == "bicubic"
        assert len(described["tokenizer"]["sha256"]) == 64
        assert described["gradients"]["bbp"] == ["fusion", "vision"]
        assert described["licences"]["code"] == "Apache-2.0"
        assert described["position"]["steps"] == 3
        assert described["data"]["pair"] == [f"{recipe.parent / 'corpus' / 'scenes-*.tar'}"]
        assert described["config"]["model_type"] == "xfm"
    assert main(["info", str(recipe)]) == 0
    assert capsys.readouterr().out.strip() == recipe.read_text().strip()
    assert main(["info", str(recipe), str(folder)]) == 0
    assert re.search("name: tiny\n.*\n---\nrun: ", capsys.readouterr().out, re.DOTALL)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_tiny_model(folder / "model")
    return folder


def evaluate_hard(folder: Path, world: Path, *options: str) -> int:
    settings = ["--parts", "hard", "--retrieval.hard-rows", "10"]
    return main(["evaluate", str(folder), "--world", str(world), *settings, *options])


def test_evaluate_takes_a_run_and_shows_its_scores(run_folder, tmp_path, capsys):
    world = write_world(tmp_path / "world")
    assert evaluate_hard(run_folder, world) == 0
    shown, said = capsys.readouterr()
    assert re.fullmatch(r"evaluated hard in \S+ s\n", said)
    line = r"^Hard distractors: picture → caption, R@1, by the matching logit alone "
    assert re.search(line + r"+\d+.\d % +\d+.\d to \d+.\d % +50.0 % +10$", shown, re.MULTILINE)
    assert f"Report:  {run_folder / 'report.html'}\nScores:  {run_folder / 'metrics.json'}" in shown
    flags = json.loads((run_folder / "evaluation.json").read_text())["flags"]
    assert [one["what"] for one in flags] == ["few rows", "not complete"]
    assert shown.endswith("".join(f"Flagged: {one['what']}: {one['sentence']}.\n" for one in flags))
    before = (run_folder / "metrics.json").read_bytes()
    other = ["--parts", "entailment", "--validation", "--entailment.steps", "2"]
    assert evaluate_hard(run_folder, world, *other) == 0
    assert (run_folder / "evaluation-validation" / "metrics.json").exists()
    save_tiny_model(run_folder / "checkpoints" / "step-00000007")
    assert evaluate_hard(run_folder / "checkpoints" / "step-00000007", world) == 0
    assert (run_folder / "evaluation-step-00000007" / "metrics.json").exists()
    assert (run_folder / "metrics.json").read_bytes() == before
    capsys.readouterr()
    assert evaluate_hard(run_folder, world, *other, "--out", str(run_folder)) == 2
    assert "holds an evaluation with validation False, this one has True" in capsys.readouterr().err


def test_a_run_that_was_stopped_is_not_evaluated(tmp_path, capsys):
    (tmp_path / "config.yaml").touch()
    assert evaluate_hard(tmp_path, tmp_path) == 2
    assert f"{tmp_path} is not finished: the command that began it goes on" in capsys.readouterr().err


def test_what_is_counted_agrees_with_its_count():
    assert amount(2000, "picture") == "2,000 pictures"
    assert [amount(count, "class", "classes") for count in (0, 1)] == ["0 classes", "1 class"]
