"""From a table to a model folder with scores and a report, for every task."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import xfm
from tests.alike import some
from tests.finetuning.conftest import (
    FILES,
    SAMPLES,
    SHORT,
    Cli,
    answers,
    killed_at_the_end,
    on_sample,
    on_table,
    stopped,
    text_table,
)
from tests.folders import content
from tests.refusals import expect_refusal
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.finetune import TuningConfig, TuningMode
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.finetuning.baselines.strong import baselines_of
from xfm.finetuning.finetune import finetune_rows
from xfm.finetuning.leaderboard import Leaderboard, SystemKind
from xfm.models.model_reading import read_provenance
from xfm.reports.scores import read_scores
from xfm.tasks.rows import SplitRows
from xfm.training import distributed

SINGLE = {
    "image-text-classification": {"text only", "picture only"},
    "vqa": {"question only"},
    "reasoning": {"text only"},
    "grounding": {"picture only"},
    "captioning": {"captions only"},
}


@pytest.mark.parametrize("kind", [*FILES])
def test_every_task_from_its_sample(kind: str, model: Path, tmp_path: Path) -> None:
    """In folders whose names a shell must be told in quotes."""
    place = Path(shutil.copytree(SAMPLES, tmp_path / "my samples ($1)"))
    out = tmp_path / "it's a run"
    done = on_sample(kind, model, out, folder=place)
    scores = done.scores
    assert read_scores(out / "metrics.json") == scores
    primary = f"{kind}/test/{done.task.primary}"
    assert scores[primary].n == len(done.predictions["test"]) > 0
    details = details_of(out)
    assert set(details["baselines"].get(primary, {})) >= SINGLE.get(kind, set())
    for score in scores.values():
        assert (score.seed, score.n) == (0, scores[primary].n)
    board = done.leaderboards["test"]
    assert board == Leaderboard.from_json(details["leaderboards"]["test"])
    assert board.model.value == pytest.approx(scores[primary].value)
    assert [place.value for place in board.places] == sorted((p.value for p in board.places), reverse=True)
    strong = {place.name: place.value for place in board.places if place.sort is SystemKind.STRONG}
    assert set(strong) == set(baselines_of(done.task))
    assert board.missing == {}
    assert {name: details["baselines"][primary][name] for name in strong} == pytest.approx(strong)
    split = json.loads((out / "split.json").read_text())["rows"]
    numbers = [number for part in split.values() for number in part]
    assert len(set(numbers)) == len(numbers) == 10
    page = page_of(out).replace("&#39;", "'")
    assert done.verdict in page
    assert primary in page
    assert "://" not in page.partition("Configuration, provenance")[0]
    assert not {"checkpoints", "best"} & {path.name for path in out.iterdir()}

    loaded = xfm.load_model(out / "model")
    assert loaded.task is not None
    told = loaded.task.task
    assert told.kind == kind
    assert len(told.labels) == (2 if task_spec(kind).classes else 0)
    assert set(told.answers) == set(done.task.answers.answers if kind == "vqa" else ())
    own = done.task.module.state_dict()
    assert own.keys() == loaded.task.state_dict().keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in loaded.task.state_dict().items())
    assert details["next"] == done.next_command
    assert str(out) in shlex.split(done.next_command)[-1]
    assert len(answers(done.next_command)) == 10
    for blanked in SINGLE.get(kind, ()):
        assert (out / "baselines" / blanked.replace(" ", "-") / "scores.json").exists()


def test_two_commands_from_a_table_to_answers(model: Path, tmp_path: Path, cli: Cli) -> None:
    """What is learned is what is predicted, on the command line and from Python."""
    train, out = SAMPLES / "reviews.csv", tmp_path / "reviews"
    options = ("--steps", 60, "--lr", "3e-3", "--batch-size", 8, "--precision", "fp32")
    given = ("--model", model, "--train", train, "--valid", train, "--out", out, *options)
    cli.prints("finetune", "text-classification", *given)
    answers = tmp_path / "answers.jsonl"
    given = ("--model", out / "model", "--input", train, "--out", answers)
    cli.prints("predict", "text-classification", *given)
    rows = [line.rpartition(",") for line in train.read_text().splitlines()[1:]]
    right = [label for _, _, label in rows]
    assert [line["prediction"][0]["label"] for line in json_lines(answers)] == right
    ask = xfm.pipeline("text-classification", model=out / "model")
    assert [one[0]["label"] for one in ask([text.strip('"') for text, _, _ in rows])] == right
    assert read_scores(out / "metrics.json")["text-classification/validation/accuracy"].value == 1.0


# ---------------------------------------------------------------- what is wrong is named
TEXT = ("text-classification", "reviews.csv")
IMAGE = ("image-classification", "shapes.csv")
GROUNDING = ("grounding", "boxes.csv")
VALUES = [f"text {n},{n / 10}" for n in range(30)]


@pytest.mark.parametrize(
    ("task", "table", "options", "words"),
    [
        (TEXT[0], "shapes.csv", "", ["shapes.csv", "no column 'text'"]),
        (*GROUNDING, "--regression", ["regression", "grounding", "text-classification"]),
        (*TEXT, "--image.flip 0.5", ["image.flip", "only in image-classification, image-text"]),
        (*GROUNDING, "--image.flip 0.5 --image.mixup 1", ["image.mixup", "only in image-classification"]),
        ("chess", "boxes.csv", "", ["task chess", "text-classification"]),
        ("image-clasification", "shapes.csv", "", ["did you mean image-classification"]),
        (*TEXT, "--columns text=text label=label", ["'label=label'"]),
        (*TEXT, f"--seed {2**63}", ["seed is 9223372036854775808", "from 0"]),
        (*TEXT, "--max-tokens 2", ["max_tokens is 2", "3 at least"]),
        (*TEXT, "--choose-by acc", ["choose_by", "acc", "accuracy"]),
        ("vqa", "no.csv", "--model nothing", ["nothing does not exist", "--model"]),
    ],
    ids=str,
)
def test_a_wrong_command_is_named(
    task: str, table: str, options: str, words: list[str], model: Path, tmp_path: Path, cli: Cli
) -> None:
    given = ("--model", model, "--out", tmp_path / "out", "--train", SAMPLES / table, "--steps", 2)
    cli.expect_refusal(words, "finetune", task, *given, *options.split())
    assert not (tmp_path / "out" / "log.jsonl").exists()
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize(
    ("task", "table", "old", "new", "words"),
    [
        (*IMAGE, "pictures/3.png", "pictures/none.png", ["shapes.csv:4: ", "none.png"]),
        (*GROUNDING, "36 25 22 22", "36 25 42 22", ["boxes.csv:3", '"box" [36, 25, 42, 22]', "64 x 64"]),
    ],
)
def test_a_wrong_cell_is_named_with_its_row(
    task: str, table: str, old: str, new: str, words: list[str], model: Path, samples: Path, cli: Cli
) -> None:
    path = samples / table
    path.write_text(path.read_text().replace(old, new))
    given = ("--model", model, "--out", samples / "out", "--train", path, "--max-bad", 0)
    cli.expect_refusal(words, "finetune", task, *given)


@pytest.mark.parametrize(
    ("table", "valid", "words"),
    [
        (["text 1,same"] * 9, [], ["1 class: same"]),
        (VALUES, [], ["30 different labels", "--regression"]),
        (["a,b"], [], ["a.csv has 1 row, too few"]),
        (["equal,good", "equal,bad"] * 5, [], ["a.csv: no rows can be parted", "--validation and --test"]),
        (
            ["a,good", "b,bad"],
            ["fine,good", "odd,strange"],
            ["v.csv:3: ", "'strange'", "bad, good"],
        ),
    ],
    ids=["one class", "values", "one row", "one text", "a new label"],
)
def test_labels_that_cannot_be_learned_are_named(
    table: list[str], valid: list[str], words: list[str], model: Path, tmp_path: Path
) -> None:
    given = {"valid": text_table(tmp_path, valid, "v.csv")} if valid else {}
    with expect_refusal(*words):
        on_table(model, text_table(tmp_path, table), tmp_path / "out", **given)


def test_a_run_is_not_put_among_pictures(model: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.JPG").touch()
    with expect_refusal("pictures holds pictures", "--out"):
        on_table(model, text_table(tmp_path, ["a,b"]), tmp_path / "pictures")


def test_a_finished_run_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    on_sample(TEXT[0], model, tmp_path)
    before = content(tmp_path)
    with expect_refusal(str(tmp_path), "holds a finished run"):
        on_sample(TEXT[0], model, tmp_path)
    assert content(tmp_path) == before


# ---------------------------------------------------------------- resuming
@pytest.mark.parametrize("stop", some([3, 5], 2))
def test_a_stopped_run_goes_on_exactly(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Stopped by Ctrl-C between two looks, and continued: the same weights, looks and scores."""
    config = replace(SHORT, lr=1e-3)

    def run(out: Path, resume: bool = False, seed: int = 0) -> None:
        on_sample("vqa", model, out, replace(config, seed=seed), resume=resume)

    run(tmp_path / "whole")
    with stopped(monkeypatch, tmp_path / "parts", stop):
        run(tmp_path / "parts")
    assert not (tmp_path / "parts" / "metrics.json").exists()
    split = (tmp_path / "parts" / "split.json").read_text()
    with pytest.raises(UserError, match="already holds a run"):
        run(tmp_path / "parts", seed=1)
    assert (tmp_path / "parts" / "split.json").read_text() == split
    with pytest.raises(UserError, match="seed was 0 and is now 1"):
        run(tmp_path / "parts", resume=True, seed=1)
    run(tmp_path / "parts", resume=True)
    for name in ("validation.jsonl", "metrics.json", "model/task.safetensors", "model/model.safetensors"):
        ours, theirs = ((tmp_path / run / name).read_bytes() for run in ("whole", "parts"))
        assert ours == theirs, name
    whole, parts = (details_of(tmp_path / run)["flags"] for run in ("whole", "parts"))
    assert [one["what"] for one in parts if one not in whole] == ["resumed"]


def test_a_run_that_torchrun_starts_again_resumes_by_itself(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is something to go on with; else it begins, as when it ended before its first step."""
    config, out = replace(SHORT, baseline=False), tmp_path / "out"
    monkeypatch.setenv(distributed.RESTARTS, "1")
    on_sample("text-classification", model, tmp_path / "whole", config)
    with stopped(monkeypatch, out, 3):
        on_sample("text-classification", model, out, config)
    on_sample("text-classification", model, out, config)
    for name in ("validation.jsonl", "model/task.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert "Resuming from" in (out / "log.jsonl").read_text()


def test_a_model_says_the_arithmetic_in_which_it_was_trained(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run keeps that of its beginning, whatever the process that ends it would choose."""
    config, out = replace(SHORT, baseline=False, precision=Precision.AUTO), tmp_path / "out"
    monkeypatch.setattr("xfm.models.precision._cpu_gain", lambda: 2.0)
    with stopped(monkeypatch, out, 3):
        on_sample("text-classification", model, out, config)
    monkeypatch.setattr("xfm.models.precision._cpu_gain", lambda: 1.0)
    resumed = on_sample("text-classification", model, out, config, resume=True)
    begun = on_sample("text-classification", model, tmp_path / "begun", config)
    assert [read_provenance(one.model)["precision"] for one in (resumed, begun)] == ["bf16", "fp32"]


def test_a_damaged_baseline_is_named_and_made_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second training without one modality; what is kept of the first is damaged then."""
    task, out = "image-text-classification", tmp_path / "out"
    first, second = (out / "baselines" / name for name in ("text-only", "picture-only"))
    config = replace(SHORT, baseline=True)
    with stopped(monkeypatch, second, 1):
        on_sample(task, model, out, config)
    for damaged in ("{", "[]", "[" * 9999, "{}", '{"seconds": 1, "rows": {"test": "x"}}'):
        (first / "scores.json").write_text(damaged)
        with expect_refusal(str(first / "scores.json")):
            on_sample(task, model, out, config, resume=True)
    shutil.rmtree(first)
    assert on_sample(task, model, out, config, resume=True).scores


def test_a_model_remembers_so_many_others_that_it_began_with(model: Path, tmp_path: Path) -> None:
    """Whoever tunes a model every day does not find its provenance too deep one day."""
    base, depth = shutil.copytree(model, tmp_path / "base"), 0
    told: dict[str, Any] = {"name": "the first"}
    for number in range(60):
        told = {"name": str(number), "began_with": told}
    (base / "provenance.json").write_text(json.dumps(told))
    on_sample("text-classification", base, tmp_path / "out", replace(SHORT, steps=1, baseline=False))
    found = json.loads((tmp_path / "out" / "model" / "provenance.json").read_text())
    while "began_with" in found:
        found, depth = found["began_with"], depth + 1
    assert (depth, found["name"]) == (16, "44")


def test_what_a_resumed_run_must_agree_with(
    model: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows and settings."""
    out, table = tmp_path / "out", samples / "reviews.csv"

    def run(resume: bool = True, **changes: Any) -> None:
        on_sample("text-classification", model, out, replace(SHORT, **changes), samples, resume=resume)

    with pytest.raises(UserError, match="holds no run to resume"):
        run()
    with killed_at_the_end(monkeypatch):
        run(resume=False)
    with pytest.raises(UserError, match=r"finetune\.lr was [\d.e-]+ and is now 0.5"):
        run(lr=0.5)
    with pytest.raises(UserError, match=r"finetune\.choose_by was  and is now mcc"):
        run(choose_by="mcc")
    text = table.read_text()
    table.write_text(text.replace("good", "fine"))
    with pytest.raises(UserError, match=r"trained on other rows: those of \w+ have changed"):
        run()
    table.write_text(text)
    run()
    assert (out / "metrics.json").exists()


def test_a_resumed_run_has_the_same_pictures(
    model: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the same name with another picture is other data."""
    out, table = tmp_path / "out", samples / "shapes.csv"

    def run(resume: bool = True) -> None:
        on_sample("image-classification", model, out, replace(SHORT, baseline=False), samples, resume=resume)

    with killed_at_the_end(monkeypatch):
        run(resume=False)
    picture = next(path for path in sorted(samples.rglob("*.png")) if path.name in table.read_text())
    content = picture.read_bytes()
    Image.new("RGB", (40, 40), "red").save(picture)
    with pytest.raises(UserError, match="trained on other pictures: files of these names have changed"):
        run()
    picture.write_bytes(content)
    run()
    assert (out / "metrics.json").exists()


def test_the_list_of_answers_has_an_end(model: Path, tmp_path: Path) -> None:
    """Of a table and of typed rows alike."""
    config = replace(SHORT, steps=1, max_answers=2, baseline=False)
    done = on_sample("vqa", model, tmp_path / "a", config)
    assert len(done.task.answers.answers) == 2
    rows = SplitRows(done.task.train_rows, test=done.task.train_rows)
    typed = finetune_rows("vqa", model, rows, config, tmp_path / "b", progress=False)
    assert typed.task.answers.answers == done.task.answers.answers


def test_stopping_early_is_said(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(SHORT, steps=8, evaluate_every=1, patience=2, lr=1e-9)
    done = xfm.finetune(TEXT[0], model, SAMPLES / "reviews.csv", tmp_path / "out", config=config)
    assert done.tuned.step == 4
    assert "step 4: enough, 2 looks brought no better model" in capsys.readouterr().err


# ---------------------------------------------------------------- what learns
@pytest.mark.parametrize("tuning", [TuningMode.FREEZE, TuningMode.LORA])
def test_frozen_and_low_rank_encoders(model: Path, tmp_path: Path, tuning: TuningMode) -> None:
    """A frozen encoder keeps its weights, LoRA changes matrices only; both load as plain models."""
    if tuning is TuningMode.LORA:
        pytest.importorskip("peft")
    tune = TuningConfig(language=tuning, vision=tuning, rank=2)
    config = replace(SHORT, steps=4, lr=1e-2, tune=tune, baseline=False)
    done = on_sample("image-text-classification", model, tmp_path / "out", config)
    before, after = xfm.load_model(model).model, xfm.load_model(done.model)
    new = after.model.state_dict()
    assert before.state_dict().keys() == new.keys()
    changed = {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, new[name])}
    encoders = {name for name in changed if name.startswith(("language.", "vision."))}
    assert any(name.startswith("fusion.layers") for name in changed)
    if tuning is TuningMode.FREEZE:
        assert encoders == set()
        return
    assert {"language.layers.0.attention.qkv.weight", "vision.blocks.1.fc2.weight"} <= encoders
    linear = (name for name, part in before.named_modules() if isinstance(part, torch.nn.Linear))
    assert encoders <= {f"{name}.weight" for name in linear}
    matrix = "language.layers.0.feed_forward.fc1.weight"
    difference = new[matrix] - before.state_dict()[matrix]
    assert torch.linalg.matrix_rank(difference, rtol=1e-3) <= 2


def test_pictures_of_another_size(model: Path, tmp_path: Path) -> None:
    done = on_sample("image-classification", model, tmp_path / "out", replace(SHORT, image_size=64))
    loaded = xfm.load_model(done.model)
    assert loaded.preprocessing.shape == (64, 64)
    assert loaded.model.config.vision.image_size == 64
    ask = xfm.pipeline("image-classification", model=done.model)
    assert ask(Image.open(SAMPLES / "pictures" / "1.png"))[0]["label"] in ("circle", "square")
