"""The whole evaluation of a tiny random model on a tiny world."""

import errno
import json
import os
import shlex
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.tiny import save_tiny_model
from xfm.cli import main
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.errors import UserError
from xfm.evaluation import run
from xfm.evaluation.kept_models import kept_models, listing
from xfm.evaluation.parts import PARTS
from xfm.evaluation.run import evaluate
from xfm.modeling.folder import load_model
from xfm.reports.scores import REQUIRED_KEYS, Score, read_scores, write_json, write_scores
from xfm.reports.stored import read_part
from xfm.reports.thumbnails import Thumbnails
from xfm.training.signals import Interrupted

CONFIG = EvaluationConfig(scale=0.01)


@pytest.fixture(scope="module")
def results(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = save_tiny_model(folder / "model")
    evaluate(model, tiny_world, folder, CONFIG, progress=False)
    return folder


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    return shutil.copytree(results, tmp_path / "run")


def test_every_required_key_has_a_complete_score(results: Path) -> None:
    scores = read_scores(results / "metrics.json")
    assert set(REQUIRED_KEYS) <= set(scores)
    for key, content in json.loads((results / "metrics.json").read_text()).items():
        assert set(content) == {"value", "chance", "baseline", "n", "seed"}
        assert len(key.split("/")) == 3
        low = -1.0 if "gain" in key else 0.0
        assert low <= content["value"] <= 1.0
        assert 0.0 <= content["chance"] <= 1.0
        assert content["baseline"] is None or 0.0 <= content["baseline"] <= 1.0
        assert content["n"] > 0


@pytest.mark.parametrize(
    "key",
    [
        "vqa/seen/accuracy",
        "reasoning/combinations/accuracy",
        "grounding/seen/acc50",
        "entailment/test/accuracy",
        "category/test/knn_accuracy",
        "digits/test/probe_accuracy",
        "masked_token/test/accuracy_right_image",
    ],
)
def test_scores_that_need_a_baseline_have_one(results: Path, key: str) -> None:
    assert read_scores(results / "metrics.json")[key].baseline is not None


def test_all_parts_are_listed(results: Path) -> None:
    assert set(PARTS) == set(Part)
    details = json.loads((results / "evaluation.json").read_text())
    assert set(details["seconds"]) == {part.value for part in Part}
    assert details["provenance"] == {"recipe": "tiny"}


def test_retrieval_equals_its_definition(results: Path, tiny_world: Path) -> None:
    """A random model on twelve scenes: recalls are multiples of 1 / 12 and chance is k / 12."""
    scores = read_scores(results / "metrics.json")
    for k in (1, 5, 10):
        score = scores[f"retrieval/seen/text_r{k}"]
        assert score.chance == pytest.approx(k / 12)
        assert (12 * score.value) == pytest.approx(round(12 * score.value))
        assert score.n == 12
    assert scores["retrieval/hard/text_r1"].chance == 0.5


def test_finished_parts_are_not_run_again(
    copy: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_scores(copy / "metrics.json")
    for part in Part:
        monkeypatch.delitem(PARTS, part)
    assert evaluate(copy / "model", tiny_world, copy, CONFIG, progress=False) == before


def test_an_interrupted_evaluation_goes_on(
    tmp_path: Path, results: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, parts=[Part.RETRIEVAL, Part.HARD])
    monkeypatch.setitem(PARTS, Part.HARD, _interrupt)
    with pytest.raises(Interrupted, match="Stopped while evaluating hard"):
        evaluate(results / "model", tiny_world, tmp_path, config, progress=False)
    assert "retrieval/seen/text_r1" in read_scores(tmp_path / "metrics.json")
    monkeypatch.undo()
    monkeypatch.setitem(PARTS, Part.RETRIEVAL, _interrupt)
    scores = evaluate(results / "model", tiny_world, tmp_path, config, progress=False)
    assert {"retrieval/seen/text_r1", "retrieval/hard/text_r1"} <= set(scores)


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_a_damaged_part_is_run_again(copy: Path, tiny_world: Path) -> None:
    before = read_scores(copy / "metrics.json")
    (part,) = (copy / "parts").glob("hard-*.json")
    part.write_text(part.read_text()[:100])
    assert read_part(part) is None
    assert evaluate(copy / "model", tiny_world, copy, CONFIG, progress=False) == before


def test_a_part_alone_joins_the_others(copy: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_scores(copy / "metrics.json")
    some = replace(CONFIG, parts=[Part.HARD], batch_size=3)
    assert evaluate(copy / "model", tiny_world, copy, some, progress=False) == before
    assert read_scores(copy / "metrics.json") == before
    for path in (copy / "parts").glob("hard-*.json"):
        path.unlink()
    monkeypatch.setitem(PARTS, Part.HARD, _interrupt)
    with pytest.raises(Interrupted, match="what was finished is in"):
        evaluate(copy / "model", tiny_world, copy, some, progress=False)
    assert read_scores(copy / "metrics.json") == before


def test_a_part_joins_those_of_an_older_version(copy: Path, tiny_world: Path) -> None:
    """A setting that was not there yet had its default."""
    before = read_scores(copy / "metrics.json")
    details = json.loads((copy / "evaluation.json").read_text())
    del details["config"]["masked_share"], details["config"]["vqa"]["muon_lr"]
    (copy / "evaluation.json").write_text(json.dumps(details))
    some = replace(CONFIG, parts=[Part.HARD])
    assert evaluate(copy / "model", tiny_world, copy, some, progress=False) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.02}, "with scale 0.01, this one has 0.02"),
        ({"validation": True}, "with validation False, this one has True"),
        ({"seed": 1}, "with seed 0, this one has 1"),
        ({"seed": 1, "parts": [Part.HARD]}, "with seed 0, this one has 1"),
    ],
)
def test_an_evaluation_is_not_replaced_by_another(
    copy: Path, tiny_world: Path, change: dict[str, object], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in copy.rglob("*.json")}
    with pytest.raises(UserError, match=f"{message}: give another folder, such as --out .*run-2"):
        evaluate(copy / "model", tiny_world, copy, replace(CONFIG, **change), progress=False)
    assert {path.name: path.read_bytes() for path in copy.rglob("*.json")} == before


@pytest.mark.parametrize("signed", [True, False])
def test_another_model_or_world_replaces_nothing(copy: Path, tiny_world: Path, signed: bool) -> None:
    """Nor those of an older version, which did not sign its results."""
    if not signed:
        (copy / "made_by.json").unlink()
    assert evaluate(copy / "model", tiny_world, copy, CONFIG, progress=False)
    world = Path(shutil.copytree(tiny_world, copy.with_name("other")))
    (world / "world.json").write_text("{}")
    save_tiny_model(copy.with_name("new") / "model", seed=2)
    before = content(copy)
    with pytest.raises(UserError, match=r"run holds results of `xfm evaluate` .*, of another data: give"):
        evaluate(copy / "model", world, copy, CONFIG, progress=False)
    with pytest.raises(UserError, match=r", of another model: give another folder, such as --out .*run-2"):
        evaluate(copy.with_name("new") / "model", tiny_world, copy, CONFIG, progress=False)
    assert content(copy) == before


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_promised_where_nothing_was_finished(
    results: Path, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARTS, Part.HARD, _interrupt)
    with pytest.raises(Interrupted, match="Stopped while evaluating hard; no part was finished before: run"):
        evaluate(
            results / "model", tiny_world, tmp_path / "o", replace(CONFIG, parts=[Part.HARD]), progress=False
        )


def test_thumbnails_show_the_world_alone(tiny_world: Path, tmp_path: Path) -> None:
    world = shutil.copytree(tiny_world, tmp_path / "world")
    images = world / "tasks" / "images"
    shutil.copy(images / "0.png", tmp_path / "outside.png")
    (images / "a.bmp").write_bytes(b"BM no picture")
    os.mkfifo(images / "pipe.png")
    thumbnails = Thumbnails(world)
    assert thumbnails.uri("tasks/images/0.png").startswith("data:image/jpeg;base64,")
    refused = ("../outside.png", str(tmp_path / "outside.png"), "a\0", "\ud800.png")
    for path in (*refused, *(f"tasks/images/{name}" for name in ("a.bmp", "pipe.png", "absent.png"))):
        assert thumbnails.uri(path) == ""


def test_scale_shrinks_steps_and_rows() -> None:
    small = EvaluationConfig(scale=0.02).resolved()
    assert small.scale == 1
    assert small.vqa.steps < 10
    assert small.retrieval.rows == 50
    assert EvaluationConfig().resolved() == EvaluationConfig()


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"batch_size": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        EvaluationConfig(**wrong)  # type: ignore[arg-type]


def test_validation_scores_no_test_split(results: Path, tiny_world: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, validation=True)
    scores = evaluate(results / "model", tiny_world, tmp_path, config, progress=False)
    assert {key.split("/")[1] for key in scores} == {"validation"}
    assert {key.split("/")[0] for key in scores} == {
        "retrieval", "masked_token", "entailment", "paraphrase", "vqa", "reasoning", "grounding"
    }  # fmt: skip
    with pytest.raises(ValueError, match="none of hard has a validation split"):
        replace(config, parts=[Part.HARD])


def test_missing_packages_are_named_at_once(
    tmp_path: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(UserError, match=r"needs scikit-learn: pip install 'xfm\[report\]'"):
        evaluate(tmp_path / "nowhere", tiny_world, tmp_path, CONFIG, progress=False)


def test_a_missing_model_is_named(tmp_path: Path, tiny_world: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        evaluate(tmp_path / "nowhere", tiny_world, tmp_path, CONFIG, progress=False)


def test_a_missing_task_file_is_named(results: Path, tmp_path: Path) -> None:
    (tmp_path / "world" / "tasks").mkdir(parents=True)
    with pytest.raises(UserError, match=r"seen.jsonl is missing: build the world"):
        evaluate(results / "model", tmp_path / "world", tmp_path, CONFIG, progress=False)


def test_scores_are_written_whole(tmp_path: Path) -> None:
    scores = {"a/b/c": Score(0.5, 0.1, None, 10, 0)}
    write_scores(tmp_path / "deep" / "metrics.json", scores)
    assert read_scores(tmp_path / "deep" / "metrics.json") == scores
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["metrics.json"]


def test_unreadable_scores_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_scores(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(UserError, match="not a metrics file"):
        read_scores(tmp_path / "metrics.json")


def test_a_full_disk_is_one_sentence_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*a.json: No space left on device; free some space"):
        write_json(path, {"new": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_impossible_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_json(tmp_path / "file" / "below.json", {})


# ---------------------------------------------------------------- models of the fine-tunings
def test_the_models_of_the_fine_tunings_are_kept(
    results: Path, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answers by the command that is shown, as the scores say, and may be scored on other rows."""
    models = kept_models(results, tiny_world)
    assert [one.part for one in models] == [
        Part.VQA,
        Part.REASONING,
        Part.GROUNDING,
        Part.ENTAILMENT,
        Part.PARAPHRASE,
    ]
    details = json.loads((results / "evaluation.json").read_text())
    page = (results / "report.html").read_text()
    monkeypatch.chdir(tmp_path)
    for one in models:
        assert details["models"][one.part.value] == one.command
        assert escape(one.command, quote=False) in page
        assert one.command in listing(models)
        assert load_model(one.folder).provenance["fine_tuned_from"] == str(results / "model")
        words = shlex.split(one.command)
        assert main([*words[1:], "--quiet", "--device", "cpu"]) == 0
        answers = [
            json.loads(line) for line in Path(words[words.index("--out") + 1]).read_text().splitlines()
        ]
        rows = Path(words[words.index("--input") + 1]).read_text().splitlines()
        assert len(answers) == len(rows) > 0
    told = [
        json.loads(line)["prediction"] for line in Path("entailment-answers.jsonl").read_text().splitlines()
    ]
    truth = [
        json.loads(line)["label"]
        for line in (tiny_world / "tasks/entailment/test.jsonl").read_text().splitlines()
    ]
    right = [one[0]["label"] == str(label).lower() for one, label in zip(told, truth, strict=True)]
    assert read_scores(results / "metrics.json")["entailment/test/accuracy"].value == np.mean(right)


def test_nothing_is_kept_that_nobody_wants(results: Path, tiny_world: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, parts=[Part.PARAPHRASE], keep_models=False)
    evaluate(results / "model", tiny_world, tmp_path / "out", config, progress=False)
    assert kept_models(tmp_path / "out", tiny_world) == []
    assert not (tmp_path / "out" / "tasks").exists()
    assert "Models to ask" not in (tmp_path / "out" / "report.html").read_text()


def test_a_part_from_the_cache_keeps_its_model(
    copy: Path, tiny_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {
        one.part: (one.folder / "task.safetensors").stat().st_mtime_ns
        for one in kept_models(copy, tiny_world)
    }
    evaluate(copy / "model", tiny_world, copy, CONFIG, progress=False)
    after = {
        one.part: (one.folder / "task.safetensors").stat().st_mtime_ns
        for one in kept_models(copy, tiny_world)
    }
    assert after == before
    assert "No model was kept" not in capsys.readouterr().err
    shutil.rmtree(copy / "tasks" / "vqa")
    evaluate(copy / "model", tiny_world, copy, CONFIG, progress=False)
    error = capsys.readouterr().err
    assert "No model was kept when these were evaluated" in error
    assert str(copy / "parts" / "vqa-") in error
