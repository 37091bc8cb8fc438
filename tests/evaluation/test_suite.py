"""The whole evaluation of a tiny random model on a tiny world."""

import errno
import json
import shlex
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.alike import thorough
from tests.evaluation.conftest import CONFIG
from tests.evaluation.tiny import tiny_tokenizer
from tests.finetuning.conftest import answers
from tests.folders import content
from tests.refusals import expect_refusal
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.evaluation import TOGETHER, WORK, EvaluationConfig, Part
from xfm.config.labels import MatchCalibration
from xfm.config.typed import from_plain
from xfm.evaluation import suite
from xfm.evaluation.parts import PARTS, listing, saved_models
from xfm.evaluation.parts.tuned import TUNED
from xfm.evaluation.parts.zero_shot import kinds_named
from xfm.evaluation.suite import evaluate
from xfm.models.folder import load_model
from xfm.reports.scores import REQUIRED_KEYS, Score, read_scores
from xfm.training.failures import Interrupted


def evaluated(folder: Path, world: Path, model: Path | None = None, **changes: Any) -> dict[str, Score]:
    return evaluate(model or folder / "model", world, folder, replace(CONFIG, **changes), progress=False)


def test_every_required_key_has_a_complete_score(results: Path) -> None:
    scores = read_scores(results / "metrics.json")
    assert set(REQUIRED_KEYS) <= set(scores)
    for key, score in scores.items():
        assert len(key.split("/")) == 3
        low = -1.0 if "gain" in key else 0.0
        assert low <= score.value <= 1.0
        assert score.chance is not None
        assert 0.0 <= score.chance <= 1.0
        assert score.baseline is None or 0.0 <= score.baseline <= 1.0
        assert score.n > 0
        assert score.low is not None
        assert score.high is not None
        assert low <= score.low <= score.value <= score.high <= 1.0, key


def test_fine_tunings_stand_beside_those_of_an_untrained_model(
    results: Path, tiny_world: Path, tmp_path: Path
) -> None:
    scores = read_scores(results / "metrics.json")
    tuned = {part.value for part in TUNED}
    for key, score in scores.items():
        task, _, metric = key.split("/")
        fine_tuned = task in tuned and not metric.endswith("_zero_shot") and "probe" not in metric
        assert (score.scratch is not None) == fine_tuned, key
    model, parts = results / "model", [Part.PARAPHRASE]
    without = evaluated(tmp_path / "out", tiny_world, model, parts=parts, baselines=False)
    key = "paraphrase/test/accuracy"
    assert without[key] == replace(scores[key], scratch=None, baseline=without[key].baseline)


CHANCES = {
    "vqa/seen/accuracy": 1 / 4,
    "reasoning/combinations/accuracy": 1 / 2,
    "grounding/seen/acc50": 1 / 2,
    "grounding/seen/acc50_zero_shot": 1 / 2,
    "entailment/test/accuracy": 1 / 2,
    "paraphrase/test/probe_accuracy": 1 / 2,
    "category/test/knn_accuracy": 1 / 4,
    "digits/test/probe_accuracy": 1 / 10,
    "masked_token/test/accuracy_right_image": 1 / tiny_tokenizer().vocab_size,
    "masked_token/test/accuracy_no_image": 1 / tiny_tokenizer().vocab_size,
}
"""What random guesses score: one of four colours as an answer or a category, one of two boxes, and so on."""


def test_chance_guesses_and_a_baseline_knows_the_frequent(results: Path) -> None:
    scores = read_scores(results / "metrics.json")
    parts = [json.loads(path.read_text())["baselines"] for path in (results / "parts").glob("*.json")]
    for key, chance in CHANCES.items():
        assert scores[key].chance == pytest.approx(chance, abs=0.05), key
        floors = {name: value for part in parts for name, value in part.get(key, {}).items()}
        assert scores[key].baseline == max(floors.values())
        assert any(name.startswith(("most frequent ", "best constant ")) for name in floors)


def test_retrieval_equals_its_definition(results: Path, tiny_world: Path) -> None:
    """A random model on twelve scenes: recalls are multiples of 1 / 12 and chance is k / 12."""
    scores = read_scores(results / "metrics.json")
    for k in (1, 5, 10):
        score = scores[f"retrieval/seen/text_r{k}"]
        assert (score.chance, score.baseline) == pytest.approx((k / 12, min(1.0, k / 2)))  # two of one set
        assert (12 * score.value) == pytest.approx(round(12 * score.value))
        assert score.n == 12
    assert scores["retrieval/hard/text_r1"].chance == 0.5


def test_the_longest_name_of_a_kind_is_read() -> None:
    found = kinds_named(["two black cats", "loaves of bread, a cat"], ["cat", "black cat", "loaf of bread"])
    assert found == ["black cat", "cat, loaf of bread"]


@thorough
def test_the_model_keeps_its_calibration(
    results: Path, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Also from a part that was finished before; a folder that cannot be written is a note."""
    stored = json.loads((results / "model" / "calibration.json").read_text())
    assert stored["pairs"] == 24
    kept = from_plain(MatchCalibration, stored, "calibration.json")
    assert kept.presence is not None
    assert load_model(results / "model").calibration == kept
    copied = Path(shutil.copytree(results, tmp_path / "run"))
    (copied / "model" / "calibration.json").unlink()
    evaluated(copied, tiny_world)
    assert json.loads((copied / "model" / "calibration.json").read_text()) == stored

    def full(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(suite, "write_calibration", full)
    evaluated(copied, tiny_world)
    assert "does not keep the calibration of matching: Read-only file system" in capsys.readouterr().err


def test_finished_parts_are_kept(copy: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_scores(copy / "metrics.json")
    for part in Part:
        monkeypatch.delitem(PARTS, part)
    assert evaluated(copy, tiny_world) == before
    assert evaluated(copy, tiny_world, parts=[Part.HARD], batch_size=3) == before
    assert read_scores(copy / "metrics.json") == before


def test_an_interrupted_evaluation_goes_on(
    tmp_path: Path, results: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, parts = results / "model", [Part.RETRIEVAL, Part.HARD]
    monkeypatch.setitem(PARTS, Part.HARD, _interrupt)
    with pytest.raises(Interrupted, match="Stopped while evaluating hard; no part was finished before: run"):
        evaluated(tmp_path / "other", tiny_world, model, parts=[Part.HARD])
    with pytest.raises(Interrupted, match="Stopped while evaluating hard; what was finished is in"):
        evaluated(tmp_path, tiny_world, model, parts=parts)
    assert "retrieval/seen/text_r1" in read_scores(tmp_path / "metrics.json")
    monkeypatch.undo()
    monkeypatch.setitem(PARTS, Part.RETRIEVAL, _interrupt)
    scores = evaluated(tmp_path, tiny_world, model, parts=parts)
    assert {"retrieval/seen/text_r1", "retrieval/hard/text_r1"} <= set(scores)


def test_parts_side_by_side_score_as_one_after_another(
    results: Path, tiny_world: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(results / "model", tmp_path / "model")
    assert evaluated(tmp_path, tiny_world, model, processes=2) == read_scores(results / "metrics.json")
    assert set(details_of(tmp_path)["files"]) == set(Part)
    assert ", shared by 2 processes, seed 0" in page_of(tmp_path)
    assert (tmp_path / "tasks/vqa/model").is_dir()
    assert content(tmp_path / "parts").keys() == content(results / "parts").keys()


def test_shares_have_every_part_once_and_are_about_as_long() -> None:
    for processes in (1, 2, 3, 40):
        shares = EvaluationConfig(processes=processes).shares(list(Part))
        assert sorted(part for share in shares for part in share) == sorted(Part)
        assert len(shares) == min(processes, 8)  # some parts share what they encode or train
        for some in TOGETHER:
            assert sum(not set(some).isdisjoint(share) for share in shares) == 1
    shares = EvaluationConfig(processes=2).shares(list(Part))
    first, second = (sum(WORK[part].rest + sum(WORK[part].tunings) for part in share) for share in shares)
    assert max(first, second) < 1.1 * min(first, second)


@thorough
def test_the_clock_ends_the_fine_tunings(tmp_path: Path, results: Path, tiny_world: Path) -> None:
    """What they were given stands in details, flags and report; by steps nothing is said."""
    model, of = results / "model", 7
    steps = replace(CONFIG.vqa, steps=of * 100)  # seven of them at the scale
    evaluated(tmp_path, tiny_world, model, parts=[Part.VQA], vqa=steps, minutes=1e-6)
    details = details_of(tmp_path)
    assert set(details["tunings"]) == {"vqa", "vqa, question only", "vqa, from scratch"}
    own, *baselines = details["tunings"].values()
    assert 1 <= own["steps"] < of == own["of"]
    assert all(1 <= one["steps"] <= one["of"] == own["steps"] for one in baselines)
    (flag,) = [flag for flag in details["flags"] if flag["what"] == "fine-tunings shortened"]
    made = own["steps"]
    assert f"Question answering {made} of {of} steps" in flag["sentence"]
    assert f"Question answering {made} of {of} steps" in page_of(tmp_path)
    with expect_refusal("with minutes 1e-06, this one has 0.0", "give another folder"):
        evaluated(tmp_path, tiny_world, model, parts=[Part.VQA], vqa=steps)
    whole = details_of(results)
    assert whole["tunings"]["vqa"]["steps"] == whole["tunings"]["vqa"]["of"]
    assert all(flag["what"] != "fine-tunings shortened" for flag in whole["flags"])


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_another_world_replaces_nothing(copy: Path, tiny_world: Path) -> None:
    world = Path(shutil.copytree(tiny_world, copy.with_name("other")))
    (world / "world.json").write_text("{}")
    before = content(copy)
    with expect_refusal(f"{copy} holds results of `xfm evaluate`", "of another data: give"):
        evaluated(copy, world)
    assert content(copy) == before


# ---------------------------------------------------------------- models of the fine-tunings
@thorough
def test_the_models_of_the_fine_tunings_are_kept(
    results: Path, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answers by the command that is shown, as the scores say, and may be scored on other rows."""
    models = saved_models(results, tiny_world)
    assert [*models] == [*TUNED]
    details = details_of(results)
    page = page_of(results)
    answered = {}
    monkeypatch.chdir(tmp_path)
    for part, (folder, command) in models.items():
        assert details["models"][part.value] == command
        assert escape(command, quote=False) in page
        assert command in listing(models)
        assert load_model(folder).provenance["fine_tuned_from"] == str(results / "model")
        words = shlex.split(command)
        rows = json_lines(Path(words[words.index("--input") + 1]))
        answered[part] = list(zip(rows, answers(command), strict=True))
        assert rows
    right = [told[0]["label"] == str(row["label"]).lower() for row, told in answered[Part.ENTAILMENT]]
    assert read_scores(results / "metrics.json")["entailment/test/accuracy"].value == np.mean(right)


@thorough
def test_paraphrase_begins_with_what_entailment_has_learned(
    results: Path, tiny_world: Path, tmp_path: Path
) -> None:
    """At next to no rate it stays what it began with; alone, it fine-tunes entailment first and says so."""
    still = replace(CONFIG.paraphrase, lr=1e-12, muon_lr=1e-12, new_lr_multiplier=1.0)
    settings: dict[str, Any] = {"parts": [Part.PARAPHRASE], "paraphrase": still}
    evaluated(tmp_path / "alone", tiny_world, results / "model", **settings)
    kept = {part: load_model(one) for part, (one, _) in saved_models(results, tiny_world).items()}
    (alone,) = (load_model(one) for one, _ in saved_models(tmp_path / "alone", tiny_world).values())
    assert alone.task is not None
    assert kept[Part.ENTAILMENT].task is not None
    learned = kept[Part.ENTAILMENT].task.shared_state()
    torch.testing.assert_close(alone.task.shared_state(), learned, rtol=0, atol=1e-6)
    began = load_model(results / "model").model.state_dict()
    assert any(not torch.allclose(began[name], tensor, atol=1e-6) for name, tensor in learned.items())
    assert alone.provenance["intermediate_task"] == "entailment"
    assert "intermediate_task" not in kept[Part.ENTAILMENT].provenance
    said = set(details_of(tmp_path / "alone")["tunings"])
    assert {"entailment, before paraphrase", "entailment, before paraphrase, from scratch"} < said
    assert not any("before" in name for name in details_of(results)["tunings"])
