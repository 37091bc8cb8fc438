"""From a table to a model folder with scores and a report, for every task."""

import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import xfm
from tests.finetuning.conftest import FILES, SAMPLES, SHORT
from xfm.cli import main
from xfm.config.finetune import Tuning, TuningConfig
from xfm.config.tasks import task_spec
from xfm.errors import UserError
from xfm.finetuning.baselines.run import BASELINES
from xfm.finetuning.leaderboard import Leaderboard, Sort
from xfm.finetuning.run import finetune
from xfm.finetuning.watch import Watch
from xfm.reports.scores import read_scores
from xfm.tasks.splits import SplitRows
from xfm.training.signals import Interrupted
from xfm.training.storage import MANIFEST, write_folder

SINGLE = {
    "image-text-classification": {"text only", "picture only"},
    "vqa": {"question only"},
    "reasoning": {"text only"},
    "grounding": {"picture only"},
    "captioning": {"captions only"},
}


@pytest.mark.parametrize("kind", list(FILES))
def test_every_task_from_its_sample(kind: str, model: Path, tmp_path: Path) -> None:
    file, columns = FILES[kind]
    out = tmp_path / "out"
    done = xfm.finetune(kind, model, SAMPLES / file, out, columns=columns, config=SHORT, progress=False)
    scores = read_scores(out / "metrics.json")
    assert scores == done.scores
    primary = f"{kind}/test/{done.task.primary}"
    assert scores[primary].n == len(done.predictions["test"]) > 0
    details = json.loads((out / "evaluation.json").read_text())
    assert set(details["baselines"].get(primary, {})) >= SINGLE.get(kind, set())
    for score in scores.values():
        assert (score.seed, score.n) == (0, scores[primary].n)
    board = done.leaderboards["test"]
    assert board == Leaderboard.from_json(details["leaderboards"]["test"])
    assert board.model.value == pytest.approx(scores[primary].value)
    assert [place.value for place in board.places] == sorted((p.value for p in board.places), reverse=True)
    strong = {place.name: place.value for place in board.places if place.sort is Sort.STRONG}
    assert set(strong) == set(BASELINES[kind])
    assert board.missing == {}
    assert {name: details["baselines"][primary][name] for name in strong} == pytest.approx(strong)
    assert done.verdict in (out / "report.html").read_text().replace("&#39;", "'")
    split = json.loads((out / "split.json").read_text())["rows"]
    numbers = [number for part in split.values() for number in part]
    assert len(set(numbers)) == len(numbers) == 10
    page = (out / "report.html").read_text()
    assert primary in page
    assert "://" not in page.partition("Configuration, provenance")[0]
    assert not (out / "checkpoints").exists()
    assert not (out / "best").exists()

    loaded = xfm.load_model(out / "model")
    assert loaded.task is not None
    told = loaded.task.task
    assert told.kind == kind
    assert len(told.labels) == (2 if task_spec(kind).classes else 0)
    assert set(told.answers) == set(done.task.answers.answers if kind == "vqa" else ())
    own = done.task.module.state_dict()
    assert own.keys() == loaded.task.state_dict().keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in loaded.task.state_dict().items())
    for blanked in SINGLE.get(kind, ()):
        assert (out / "baselines" / blanked.replace(" ", "-") / "scores.json").exists()


def test_two_commands_from_a_table_to_answers(model: Path, tmp_path: Path) -> None:
    """What is learned is what is predicted, on the command line and from Python."""
    train, out = SAMPLES / "reviews.csv", tmp_path / "reviews"
    options = ["--steps", "60", "--lr", "3e-3", "--batch-size", "8", "--precision", "fp32", "--device", "cpu"]
    line = ["finetune", "text-classification", "--model", str(model), "--train", str(train)]
    assert main([*line, "--valid", str(train), "--out", str(out), *options, "--quiet"]) == 0
    answers = tmp_path / "answers.jsonl"
    line = ["predict", "text-classification", "--model", str(out / "model"), "--input", str(train)]
    assert main([*line, "--out", str(answers), "--quiet"]) == 0
    predicted = [json.loads(text)["prediction"][0]["label"] for text in answers.read_text().splitlines()]
    right = [line.rpartition(",")[2] for line in train.read_text().splitlines()[1:]]
    assert predicted == right
    ask = xfm.pipeline("text-classification", model=out / "model")
    texts = [line.rpartition(",")[0].strip('"') for line in train.read_text().splitlines()[1:]]
    assert [one[0]["label"] for one in ask(texts)] == right
    assert read_scores(out / "metrics.json")["text-classification/validation/accuracy"].value == 1.0


# ---------------------------------------------------------------- what is wrong is named
def sentence(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["finetune", *map(str, arguments), "--quiet", "--steps", "2", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xfm: ")
    assert error.count("\n") == 1
    return error


def test_mistakes_are_named_with_their_row(
    model: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ("--model", model, "--out", tmp_path / "out", "--train")
    error = sentence(capsys, "text-classification", *rest, samples / "shapes.csv")
    assert "shapes.csv: there is no column 'text'" in error
    (samples / "pictures" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (samples / "pictures" / "5.png").unlink()
    error = sentence(capsys, "image-classification", *rest, samples / "shapes.csv", "--max-bad", "0")
    for line, name in ((4, "3.png"), (6, "5.png")):
        assert re.search(rf"shapes.csv:{line}: [^;]*{name}", error)
    text = (samples / "boxes.csv").read_text().replace("36 25 22 22", "36 25 42 22")
    (samples / "boxes.csv").write_text(text)
    error = sentence(capsys, "grounding", *rest, samples / "boxes.csv")
    assert 'boxes.csv:3: the column "box" [36, 25, 42, 22] lies outside its picture of 64 x 64' in error
    (samples / "valid.csv").write_text("text,label\nfine,good\nodd,strange\n")
    valid = ("--valid", samples / "valid.csv")
    error = sentence(capsys, "text-classification", *rest, samples / "reviews.csv", *valid)
    assert "valid.csv:3: the column \"label\" is 'strange', a label that no training row has" in error
    assert "bad, good" in error
    error = sentence(capsys, "grounding", *rest, samples / "boxes.csv", "--regression")
    assert "regression is of no use in " in error
    assert "only in text-classification" in error
    error = sentence(capsys, "text-classification", *rest, samples / "reviews.csv", "--image.flip", "0.5")
    assert "image.flip is of no use in text-classification, only in image-classification, grounding" in error
    options = ("--image.flip", "0.5", "--image.mixup", "1")
    error = sentence(capsys, "grounding", *rest, SAMPLES / "boxes.csv", *options)
    assert "image.mixup is of no use in grounding, only in image-classification; leave it out" in error
    error = sentence(capsys, "chess", *rest, samples / "boxes.csv")
    assert "unknown task chess" in error
    (samples / "same.csv").write_text("text,label\n" + "equal,good\nequal,bad\n" * 5)
    error = sentence(capsys, "text-classification", *rest, samples / "same.csv")
    assert "same.csv: no rows can be parted from the others, because they share pictures or texts" in error
    columns = ("--columns", "text=text", "label=label")
    error = sentence(capsys, "text-classification", *rest, samples / "reviews.csv", *columns)
    assert "there is no place for 'label=label' here" in error
    error = sentence(capsys, "image-clasification", *rest, samples / "shapes.csv")
    assert "did you mean image-classification" in error
    wrong = ("--model", samples / "nothing", "--out", tmp_path / "out", "--train", samples / "no.csv")
    assert "nothing does not exist; give --model" in sentence(capsys, "vqa", *wrong)
    error = sentence(capsys, "text-classification", *rest, samples / "reviews.csv", "--seed", str(2**63))
    assert "seed is 9223372036854775808: choose a number from 0" in error
    error = sentence(capsys, "text-classification", *rest, samples / "reviews.csv", "--max-tokens", "2")
    assert "max_tokens is 2: choose 0, or 3 at least" in error
    error = sentence(capsys, "text-classification", *rest, samples / "reviews.csv", "--choose-by", "acc")
    assert "choose_by: text-classification has no acc; choose by accuracy" in error
    assert not (tmp_path / "out" / "log.jsonl").exists()
    assert not (tmp_path / "out" / "model").exists()


def test_one_class_and_too_many_are_refused(model: Path, tmp_path: Path) -> None:
    for content, words in (
        ("".join(f"text {n},same\n" for n in range(9)), "1 class: same"),
        ("".join(f"text {n},{n / 10}\n" for n in range(30)), "30 different labels.*--regression"),
        ("a,b\n", "has 1 rows, too few"),
    ):
        (tmp_path / "a.csv").write_text("text,label\n" + content)
        with pytest.raises(UserError, match=words):
            xfm.finetune("text-classification", model, tmp_path / "a.csv", tmp_path / "out", progress=False)


def test_a_finished_run_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    def run() -> None:
        out = tmp_path / "out"
        xfm.finetune("text-classification", model, SAMPLES / "reviews.csv", out, config=SHORT, progress=False)

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    run()
    before = content()
    with pytest.raises(UserError, match="holds a finished run"):
        run()
    assert content() == before


# ---------------------------------------------------------------- resuming
@pytest.mark.parametrize("stop", [3, 7])
def test_a_stopped_run_goes_on_exactly(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Stopped by Ctrl-C between two looks, and continued: the same weights, looks and scores."""
    config = replace(SHORT, steps=10, evaluate_every=2, lr=1e-3)

    def run(out: Path, resume: bool = False, seed: int = 0) -> None:
        train, chosen = SAMPLES / "questions.jsonl", replace(config, seed=seed)
        columns = "image=photo,question=q,answer=a"
        xfm.finetune("vqa", model, train, out, columns=columns, config=chosen, resume=resume, progress=False)

    run(tmp_path / "whole")
    look = Watch.finished

    def interrupt(watch: Watch, done: int) -> bool:  # type: ignore[type-arg]
        if done == stop and watch.folder == tmp_path / "parts":
            os.kill(os.getpid(), signal.SIGINT)
        return look(watch, done)

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "finished", interrupt)
        with pytest.raises(Interrupted, match="--resume"):
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
    flags = {
        run: json.loads((tmp_path / run / "evaluation.json").read_text())["flags"]
        for run in ("whole", "parts")
    }
    assert [one["what"] for one in flags["parts"] if one not in flags["whole"]] == ["resumed"]


def test_what_a_resumed_run_must_agree_with(
    model: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows and settings; a setting that an older version did not have yet had its default."""
    out, table = tmp_path / "out", samples / "reviews.csv"

    def run(resume: bool = True, **changes: Any) -> None:
        config = replace(SHORT, **changes)
        xfm.finetune("text-classification", model, table, out, config=config, resume=resume, progress=False)

    with pytest.raises(UserError, match="holds no run to resume"):
        run()
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "restore", lambda watch: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(resume=False)
    (path,) = (out / "checkpoints").iterdir()
    state = json.loads((path / "state.json").read_text())
    for name in ("choose_by", "image_head"):
        del state["settings"]["finetune"][name]

    def rewrite(draft: Path) -> None:
        shutil.copytree(path, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        (draft / "state.json").write_text(json.dumps(state))

    write_folder(path, rewrite)
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
    """A file of the same name with another picture is other data; a run of an earlier version goes on."""
    out, table = tmp_path / "out", samples / "shapes.csv"

    def run(resume: bool = True) -> None:
        config = replace(SHORT, baseline=False)
        xfm.finetune("image-classification", model, table, out, config=config, resume=resume, progress=False)

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "restore", lambda watch: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(resume=False)
    picture = next(path for path in sorted(samples.rglob("*.png")) if path.name in table.read_text())
    content = picture.read_bytes()
    Image.new("RGB", (40, 40), "red").save(picture)
    with pytest.raises(UserError, match="trained on other pictures: files of these names have changed"):
        run()
    (path,) = (out / "checkpoints").iterdir()
    state = json.loads((path / "state.json").read_text())
    assert state["settings"].pop("pictures")

    def rewrite(draft: Path) -> None:
        shutil.copytree(path, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))

    picture.write_bytes(content)
    write_folder(path, rewrite)
    run()
    assert (out / "metrics.json").exists()


def test_the_list_of_answers_has_an_end(model: Path, samples: Path, tmp_path: Path) -> None:
    """Of a table and of typed rows alike."""
    table, columns = samples / "questions.jsonl", "image=photo,question=q,answer=a"
    config = replace(SHORT, steps=1, max_answers=2, baseline=False)
    done = xfm.finetune("vqa", model, table, tmp_path / "a", columns=columns, config=config, progress=False)
    assert len(done.task.answers.answers) == 2
    rows = SplitRows(done.task.train_rows, test=done.task.train_rows)
    typed = finetune("vqa", model, rows, config, tmp_path / "b", progress=False)
    assert typed.task.answers.answers == done.task.answers.answers


def test_stopping_early_is_said(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(SHORT, steps=8, evaluate_every=1, patience=2, lr=1e-9)
    done = xfm.finetune(
        "text-classification", model, SAMPLES / "reviews.csv", tmp_path / "out", config=config
    )
    assert done.tuned.step == 4
    assert "step 4: enough, 2 looks brought no better model" in capsys.readouterr().err


# ---------------------------------------------------------------- what learns
@pytest.mark.parametrize("tuning", [Tuning.FREEZE, Tuning.LORA])
def test_frozen_and_low_rank_encoders(model: Path, tmp_path: Path, tuning: Tuning) -> None:
    """A frozen encoder keeps its weights, LoRA changes matrices only; both load as plain models."""
    if tuning is Tuning.LORA:
        pytest.importorskip("peft")
    tune = TuningConfig(language=tuning, vision=tuning, rank=2)
    config = replace(SHORT, steps=4, lr=1e-2, tune=tune, baseline=False)
    done = xfm.finetune(
        "image-text-classification",
        model,
        SAMPLES / "claims.csv",
        tmp_path / "out",
        config=config,
        progress=False,
    )
    before, after = xfm.load_model(model).model, xfm.load_model(done.model)
    new = after.model.state_dict()
    assert before.state_dict().keys() == new.keys()
    changed = {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, new[name])}
    encoders = {name for name in changed if name.startswith(("language.", "vision."))}
    assert any(name.startswith("fusion.layers") for name in changed)
    if tuning is Tuning.FREEZE:
        assert encoders == set()
        return
    assert {"language.layers.0.attention.qkv.weight", "vision.blocks.1.fc2.weight"} <= encoders
    matrices = {
        f"{name}.weight" for name, part in before.named_modules() if isinstance(part, torch.nn.Linear)
    }
    assert encoders <= matrices
    difference = (
        new["language.layers.0.feed_forward.fc1.weight"]
        - before.state_dict()["language.layers.0.feed_forward.fc1.weight"]
    )
    assert torch.linalg.matrix_rank(difference, rtol=1e-3) <= 2


def test_pictures_of_another_size(model: Path, samples: Path, tmp_path: Path) -> None:
    config = replace(SHORT, image_size=64)
    out = tmp_path / "out"
    done = xfm.finetune(
        "image-classification", model, samples / "shapes.csv", out, config=config, progress=False
    )
    loaded = xfm.load_model(done.model)
    assert loaded.preprocessing.shape == (64, 64)
    assert loaded.model.config.vision.image_size == 64
    ask = xfm.pipeline("image-classification", model=done.model)
    assert ask(Image.open(samples / "pictures" / "1.png"))[0]["label"] in ("circle", "square")
