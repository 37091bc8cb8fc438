"""The command line as a user meets it."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.evaluation.tiny import save_tiny_model, write_world
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
        (["evaluate"], "required: model; for example: xfm evaluate runs/quickstart/model --world worlds"),
        (["info", "nowhere"], "unknown recipe nowhere"),
        (["info", "no/where"], "no/where does not exist: name a model folder"),
        (
            ["pretrain", "--root", "no/where"],
            "no/where does not exist: set --root to the folder of the data, or",
        ),
        (["pretrain", "--resume", "--root", "no/where"], "runs/nano holds no run to resume"),
        (
            ["evaluate", "no/where", "--world", "no/world"],
            "no/world is no world (no world.json): give the folder",
        ),
        (["quickstart", "--budget", "soon"], "budget"),
    ],
)
def test_mistakes_are_one_line_and_status_2(capsys, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("xfm: ")


def test_debug_shows_the_traceback():
    done = run("pretrain", "--recipe", "nanno", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("verb", "meant"),
    [("pretrian", "pretrain"), ("fine-tune", "finetune"), ("zeroshot", "zero-shot"), ("eval", "evaluate")],
)
def test_an_unknown_command_gets_its_neighbours(capsys, verb, meant):
    assert main([verb, "--model", "m"]) == 2
    assert f"xfm: there is no command {verb}; did you mean {meant}" in capsys.readouterr().err


def test_pretrain_resume_and_info(recipe, tmp_path, capsys):
    folder = tmp_path / "run"
    options = ["pretrain", "--recipe", str(recipe), "--folder", str(folder), "--quiet"]
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
    assert "a run of 3 steps, and its schedule with it; it cannot have 9" in (
        error := capsys.readouterr().err
    )
    assert f"--init.model {folder}/model" in error
    assert main([*options, "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Flagged: resumed: the run was stopped and")
    other = ["pretrain", "--recipe", "nano", "--folder", str(folder), "--resume", "--quiet"]
    assert main(other) == 0
    assert f"with its own {folder / 'config.yaml'}; --recipe nano is not read" in capsys.readouterr().out
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
    assert main(["info", str(recipe), str(folder)]) == 0
    assert re.search("name: tiny\n.*\n---\nrun: ", capsys.readouterr().out, re.DOTALL)


def test_a_phase_that_overrules_an_option_says_so(recipe, tmp_path, capsys):
    options = ["pretrain", "--recipe", str(recipe), "--folder", str(tmp_path / "run"), "--quiet"]
    (tmp_path / "corpus" / "tasks").mkdir()
    assert main([*options, "--data.pair.batch-size", "5"]) == 0
    shown = capsys.readouterr().out
    assert "Note: data.pair.batch_size 5: the phase until 0.333333 of the steps keeps its own 0" in shown
    assert f"evaluate it with `xfm evaluate {tmp_path / 'run' / 'model'}" in shown


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_tiny_model(folder / "model")
    return folder


def evaluate_hard(folder: Path, world: Path, *options: str) -> int:
    settings = ["--parts", "hard", "--retrieval.hard-rows", "10"]
    return main(["evaluate", str(folder), "--world", str(world), *settings, *options])


def test_a_shortened_pretraining_is_flagged_last(recipe, tmp_path, capsys):
    options = ["pretrain", "--recipe", str(recipe), "--folder", str(tmp_path / "run"), "--quiet"]
    assert main([*options, "--training.steps", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Flagged: shortened: only 1 steps, 33 % of the 3 that the recipe tiny has")


def test_evaluate_takes_a_run_and_shows_its_scores(run_folder, tmp_path, capsys):
    world = write_world(tmp_path / "world")
    assert evaluate_hard(run_folder, world, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert evaluate_hard(run_folder, world) == 0
    shown, said = capsys.readouterr()
    assert re.fullmatch(r"evaluated hard in \S+ s\n", said)
    assert re.search(
        r"^Image-text retrieval: picture → caption, R@1 +\d+.\d % +50.0 % +- +10$", shown, re.MULTILINE
    )
    assert f"Report:  {run_folder / 'report.html'}\nScores:  {run_folder / 'metrics.json'}" in shown
    flags = json.loads((run_folder / "evaluation.json").read_text())["flags"]
    assert [one["what"] for one in flags] == ["few rows", "not complete"]
    assert shown.endswith("".join(f"Flagged: {one['what']}: {one['sentence']}.\n" for one in flags))
    before = (run_folder / "metrics.json").read_bytes()
    assert evaluate_hard(run_folder / "model", world, "--scale", "0.5") == 0
    assert (run_folder / "evaluation-scale-0.5" / "report.html").exists()
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
    assert "provenance.json is not valid JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "embed", "--model", "LONG", "--input", "a.jsonl", "--out", "o.jsonl"],
        ["finetune", "vqa", "--model", "m", "--train", "a.csv", "--out", "LONG"],
        ["reproduce", "--model", "m", "--data", "LONG", "--out", "o"],
    ],
)
def test_a_name_that_is_too_long_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.replace("LONG", "x" * 5000) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("xfm: xxx")
    assert "too long" in said
    assert len(said) < 300
