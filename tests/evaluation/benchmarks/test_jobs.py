"""Every benchmark runs on its miniature, in every way that it is evaluated."""

import json
import os
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from tests.alike import some, thorough
from tests.evaluation.tiny import tiny_tokenizer
from tests.official.pictures import picture, write_lines
from xfm.config.benchmark import Edition
from xfm.config.task_spec import TextRule
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.evaluations import (
    RUN,
    JobSetting,
    evaluate_fine_tuned,
    fine_tuned_task,
    start_after_domain,
)
from xfm.evaluation.benchmarks.jobs import TABLE, find_jobs, run_jobs
from xfm.evaluation.benchmarks.published import DETAILS, OFFICIAL, Protocol, read_all
from xfm.evaluation.benchmarks.read.image_sets import IMAGE_SETS
from xfm.evaluation.benchmarks.registry import BENCHMARKS
from xfm.models.folder import load_model
from xfm.reports.scores import Score, read_scores
from xfm.tasks.reasoning import ReasoningTask
from xfm.training import failures

RUNS = [
    (name, protocol, benchmark.editions(protocol)[-1])
    for name, benchmark in BENCHMARKS.items()
    for protocol in benchmark.protocols
    if name not in IMAGE_SETS or name == "oxford-pets"
]
RUNS += [
    (name, Protocol.FINE_TUNED, Edition.PUBLISHED)
    for name in ("stsb", "vqa", "nlvr2", "refcoco+", "flickr30k", "coco-captions")
]
RUNS += [("imagenet", protocol, Edition.PUBLISHED) for protocol in (Protocol.FINE_TUNED, Protocol.LINEAR)]
FILES = {
    "mnli": {"MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"},
    "cola": {"CoLA.tsv"},
    "vqa": {"vqa_minival.json", "vqa_test-dev.json", "vqa_test-std.json"},
    "nlvr2": {"nlvr2_dev.csv", "nlvr2_test-P.csv"},
    "coco-captions": {"captions_val_results.json", "captions_test_results.json"},
}


@pytest.fixture(autouse=True)
def _without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")  # METEOR takes many seconds to start


SMOKE = {"smoke": True, "device": "cpu", "progress": False}


def run(name: str, protocol: Protocol, model: Path, data: Path, out: Path, edition: Edition | None = None):
    edition = edition or BENCHMARKS[name].editions(protocol)[-1]
    jobs = find_jobs(data, [name], [protocol], smoke=True, editions=[edition])
    return run_jobs(jobs, str(model), data, out, **SMOKE)


@pytest.mark.parametrize(("name", "protocol", "edition"), some(RUNS, 5), ids=str)
def test_every_benchmark_runs(
    name: str, protocol: Protocol, edition: Edition, model: Path, data: Path, tmp_path: Path
) -> None:
    if name == "coco-captions":
        pytest.importorskip("pycocoevalcap")
    scores = run(name, protocol, model, data, tmp_path, edition)
    only_by_the_server = name == "vqa" and edition is Edition.PUBLISHED
    assert bool(scores) != only_by_the_server
    assert {tuple(key.split("/")[:3]) for key in scores} <= {(name, protocol.value, edition.value)}
    # METEOR and CIDEr-D apart, every metric is a share or a correlation.
    assert all(-1 <= score.value <= 1 for key, score in scores.items() if "cider" not in key)
    assert all(score.n > 0 for score in scores.values())
    folder = tmp_path / name / protocol.value / edition.value
    wanted = {file for file in FILES.get(name, ()) if not (only_by_the_server and "minival" in file)}
    assert wanted <= {path.name for path in folder.iterdir()}
    assert (tmp_path / TABLE).read_text().startswith("| benchmark ")
    details = json.loads((folder / "details.json").read_text())
    assert all(Path(path).is_file() for path in details["submissions"])


@pytest.mark.parametrize("name", ["refcoco+", "coco-captions"])
def test_domain_pretraining_comes_first(name: str, model: Path, data: Path, tmp_path: Path) -> None:
    """Or is said to be left out. A captioner goes on with the decoder that learned there."""
    (job,) = find_jobs(data, [name], smoke=True, editions=[Edition.PUBLISHED])
    table, corpus = tmp_path / "domain" / f"{name}.jsonl", job.benchmark.read(data).thinned(4, 4)
    setting = JobSetting(str(model), tmp_path, tmp_path / "out", job.recipe, smoke=True, progress=False)
    after, said = start_after_domain(job.benchmark, job.edition, setting)
    assert (after, said.endswith(f"is left out: {table} is missing")) == (setting, True)
    row = {"image": picture(table.with_suffix(".png"), 0).name, "caption": "a dog", "text": "a dog"}
    write_lines(table, [{**row, "box": [2, 3, 9, 8]}] * 4)
    after, said = start_after_domain(job.benchmark, job.edition, setting)
    assert said.endswith(f"of {table}, came before")
    recipe = replace(job.recipe, settings=replace(job.recipe.settings, lr=1e-30))
    fine_tuned_task(job.benchmark.kind, corpus, (), replace(after, recipe=recipe))
    begun, tuned, first = (load_model(one) for one in (after.model, tmp_path / "out" / RUN / "model", model))
    torch.testing.assert_close(*(dict(one.task.state_dict()) if one.task else {} for one in (tuned, begun)))
    assert not torch.equal(tuned.model.vision.cls, first.model.vision.cls)


def test_words_of_tests_are_for_tasks_that_count_them(data: Path) -> None:
    with pytest.raises(UserError, match="test_words is of no use in cola"):
        find_jobs(data, ["cola"], options=["--test_words", "50"])
    limits, read = [(40, 30), (512, 50), (512, 0)], tiny_tokenizer().as_read
    assert [len(read(TextRule.CAPTION, "w " * 60, *one).split()) for one in limits] == [30, 50, 30]


def test_what_is_finished_is_read_back_and_not_run_again(model: Path, data: Path, tmp_path: Path) -> None:
    scores = run("coco", Protocol.ZERO_SHOT, model, data, tmp_path)
    path = tmp_path / "coco" / "ZS" / "published" / OFFICIAL
    assert read_scores(path) == scores == read_all(tmp_path)
    assert scores["coco/ZS/published/test/text_r10"].value == 1.0  # four pictures
    assert all(score.chance for score in scores.values())
    written = path.stat().st_mtime_ns
    assert run("coco", Protocol.ZERO_SHOT, model, data, tmp_path) == scores
    assert path.stat().st_mtime_ns == written


def values(scores: dict[str, Score]) -> dict[str, float]:
    return {key: score.value for key, score in scores.items()}


CHANCES = {"rte": 1 / 2, "nlvr2": 1 / 2}
"""Exactly as in every other command."""


@pytest.mark.parametrize(
    "name", some(["rte", "stsb", "vqa", "imagenet", "refcoco+", "nlvr2", "flickr30k"], 4)
)
def test_a_finished_training_is_scored_again_alike(
    name: str, model: Path, data: Path, tmp_path: Path
) -> None:
    """When the process dies between training and scores, the saved model gives the same scores."""
    folder = tmp_path / name / "FT" / "recommended"

    def submitted() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*.[tjc]s*") if path.name != DETAILS}

    def saved() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (folder / RUN / "model").iterdir()}

    scores = run(name, Protocol.FINE_TUNED, model, data, tmp_path)
    guessed = {score.chance for key, score in scores.items() if key.endswith("/accuracy")}
    assert name not in CHANCES or guessed == {CHANCES[name]}
    first = values(scores)
    files, weights = submitted(), saved()
    (folder / OFFICIAL).unlink()
    again = values(run(name, Protocol.FINE_TUNED, model, data, tmp_path))
    assert "task.safetensors" in weights or name in ("refcoco+", "flickr30k")
    assert saved() == weights
    assert again == pytest.approx(first, abs=1e-6)
    assert submitted() == files


@thorough
def test_an_interrupted_training_goes_on(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after a step, the run saves; the same command then ends with the weights of an unbroken run."""
    (job,) = find_jobs(data, ["nlvr2"], smoke=True, editions=[Edition.RECOMMENDED])
    settings = replace(job.recipe.settings, steps=6, evaluate_every=3)
    job = replace(job, recipe=replace(job.recipe, settings=settings))

    def start(out: Path):
        return run_jobs([job], str(model), data, out, **SMOKE)

    whole, calls, original = start(tmp_path / "whole"), count(1), ReasoningTask.loss

    def loss(self, batch, generator):
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, generator)

    with monkeypatch.context() as patch:
        patch.setattr(ReasoningTask, "loss", loss)
        with pytest.raises(failures.Interrupted):
            start(tmp_path / "broken")
    assert not (tmp_path / "broken" / job.name / OFFICIAL).exists()
    assert values(start(tmp_path / "broken")) == values(whole)


def test_answers_are_submitted_as_the_official_list_writes_them(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """The model ranks normalised answers (`don t know`); the server compares with its own spelling."""
    corpus = BENCHMARKS["vqa"].read(data).thinned(8, 4)
    corpus = replace(corpus, answers=("t-shirt", "don't know", "t shirt"))
    (job,) = find_jobs(data, ["vqa"], smoke=True, editions=[Edition.RECOMMENDED])
    setting = JobSetting(str(model), data, tmp_path / "vqa", job.recipe, progress=False)
    task = fine_tuned_task("vqa", corpus, ("don t know", "t shirt"), setting)
    assert set(task.predict(corpus.hidden["test-dev"])) <= {"don t know", "t shirt"}
    found = evaluate_fine_tuned(BENCHMARKS["vqa"], corpus, setting)
    given = [row["answer"] for path in found.submissions for row in json.loads(path.read_text())]
    assert set(given) <= {"t-shirt", "don't know"}


def test_the_benchmark_that_the_documentation_adds(model: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text()
    code = page.rpartition("```python\n")[2].partition("```")[0]
    exec(compile(code, "docs/benchmarks.md", "exec"), {})
    shown = [picture(tmp_path / "data" / "boxes" / f"{n}.png", n).name for n in range(8)]
    rows = [{"image": name, "phrase": "dog", "box": [2, 3, 9, 8]} for name in shown]
    for split in ("train", "test"):
        write_lines(tmp_path / "data" / "boxes" / f"{split}.jsonl", rows)
    scores = run("boxes", Protocol.FINE_TUNED, model, tmp_path / "data", tmp_path / "out")
    del BENCHMARKS["boxes"]
    assert set(scores) == {f"boxes/FT/recommended/test/{metric}" for metric in ("acc50", "mean_iou")}
