"""A limit of time, the estimate of a dry run, and configurations that are read back."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import xfm
from tests.evaluation.tiny import tiny_task
from tests.finetuning.conftest import (
    SAMPLES,
    SHORT,
    Cli,
    after_step,
    on_sample,
    stopped,
    text_table,
)
from tests.folders import content
from tests.refusals import expect_refusal
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.finetune import FinetuneConfig, Preset, minutes_of
from xfm.config.finetune_file import dump_finetune, read_finetune
from xfm.config.options import parse
from xfm.config.tasks import task_spec, task_specs
from xfm.finetuning.dry_run import dry_run
from xfm.finetuning.early_stopping import ValidationMonitor
from xfm.finetuning.presets import decided, fitted
from xfm.finetuning.time_limit import TimeLimit
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import TextClassificationTask
from xfm.training.clock import SCHEDULE, TrainingClock, read_schedule

TEXTS = "text-classification"


# ---------------------------------------------------------------- presets
@given(st.integers(1, 10**6))
def test_presets_differ_in_their_length(rows: int) -> None:
    steps = [fitted(FinetuneConfig(preset=one), rows, 768).steps for one in Preset]
    assert steps == sorted(steps)
    assert steps[0] >= 60


def test_a_preset_decides_what_is_not_given_and_nothing_else() -> None:
    spec = task_spec("vqa")
    best = decided(FinetuneConfig(preset=Preset.BEST), spec)
    assert (best.average, best.tune.language) == (0.999, "full")
    own = FinetuneConfig(preset=Preset.BEST, average=0.0)
    assert decided(own, spec).average == 0.0
    given = parse(FinetuneConfig, ["--preset", "fast", "--tune.vision", "full"])
    found = decided(given, spec).tune
    assert (found.language, found.vision, found.fusion) == ("freeze", "full", "full")


# ---------------------------------------------------------------- minutes
@given(st.floats(0.1, 1000))
def test_minutes_are_written_in_many_ways(number: float) -> None:
    text = f"{number:.3f}"
    assert minutes_of(text) == minutes_of(f"{text}m") == minutes_of(float(text))
    assert minutes_of(f"{text}h") == pytest.approx(60 * minutes_of(text))
    assert minutes_of(f"{text} s") == pytest.approx(minutes_of(text) / 60)


def test_what_is_no_duration_is_refused(model: Path, tmp_path: Path, cli: Cli) -> None:
    given = ("--model", model, "--train", SAMPLES / "reviews.csv", "--out", tmp_path / "out")
    cli.expect_refusal(["time_limit is soon", "10m or 2h"], "finetune", TEXTS, *given, "--time-limit", "soon")


# ---------------------------------------------------------------- the clock
def ticking(step: float) -> Iterator[float]:
    return (place * step for place in count())


@given(st.integers(1, 50), st.floats(0.5, 100), st.floats(0.1, 10))
def test_steps_or_seconds_end_a_run_whichever_is_first(steps: int, seconds: float, each: float) -> None:
    ticks = ticking(each)
    clock = TrainingClock(steps, seconds, timer=lambda: next(ticks))
    clock.begin()
    done = next(step for step in count(1) if clock.is_over(step))
    shares = [moment.share for moment in clock.moments]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert done <= steps
    assert (
        done == steps
        or math.isclose((done + 1) * each, seconds, rel_tol=1e-9)
        or (done + 1) * each >= seconds
    )
    assert clock.left(done) == 0
    assert 0 <= clock.left(done - 1) <= steps


@given(st.integers(1, 600), st.floats(0, 1e4), st.floats(1, 7), st.booleans())
def test_what_is_planned_fits_into_the_limit(
    minutes: int, scoring: float, trainings: float, baselines: bool
) -> None:
    now = [100.0]
    limit, whole = TimeLimit(float(minutes), lambda: now[0], 90.0), 60 * minutes
    seconds = limit.training(trainings, scoring, baselines)
    assert seconds * trainings <= max(0.1 * whole, whole - 10 - scoring) + 1e-6
    assert seconds * trainings >= 0.1 * whole - 1e-6
    assert limit.left == whole - 10
    now[0] += 1e9
    assert limit.left == 0
    assert TimeLimit().left == math.inf


def test_a_limit_ends_the_training_and_everything_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine becomes so slow that a step takes the rest of the time."""
    import time

    out = tmp_path / "out"
    config = replace(SHORT, steps=10_000, time_limit="10s", baseline=False)
    with after_step(monkeypatch, out, 3, lambda: time.sleep(10)):
        done = on_sample(TEXTS, model, out, config)
    assert done.tuned.limited
    assert done.tuned.step == 4
    moments = read_schedule(out / SCHEDULE)
    assert moments[-1].share == 1.0
    assert [flag.sentence for flag in done.flags if "time limit of 0.167 minutes" in flag.sentence]
    details = details_of(out)
    assert details["ended_by_clock"] is True
    assert "then the time was over" in page_of(out)
    assert json_lines(out / "validation.jsonl")


def test_a_run_with_a_limit_goes_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, config = tmp_path / "out", replace(SHORT, steps=12, patience=0, time_limit=30, baseline=False)
    with stopped(monkeypatch, out, 5):
        on_sample(TEXTS, model, out, config)
    done = on_sample(TEXTS, model, out, config, resume=True)
    assert done.tuned.step == 12
    assert not done.tuned.limited
    whole = on_sample(TEXTS, model, tmp_path / "whole", config)
    assert done.scores == whole.scores


def test_slow_looks_leave_time_to_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a training with a limit they take three tenths, and the last of them."""
    now, took = [0.0], 5.0
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = TrainingClock(100, 100.0, timer=lambda: now[0])
    rows = [LabelledText(f"a {'red' if n % 2 else 'blue'} square", "ab"[n % 2]) for n in range(8)]
    config = FinetuneConfig(steps=100, evaluate_every=5, patience=0)
    watch = ValidationMonitor(
        tiny_task(TextClassificationTask, rows, ("a", "b")), rows, config, tmp_path, False, clock
    )

    def metrics() -> dict[str, float]:
        now[0] += took
        return {"accuracy": 0.5}

    monkeypatch.setattr(watch, "_metrics", metrics)
    for step in range(1, 100):
        now[0] += 1.0
        if clock.is_over(step):
            break
        watch.finished(step)
    assert 2 <= len(watch.looks) <= 0.3 * 100 / took + 1


# ---------------------------------------------------------------- the estimate
@pytest.mark.parametrize(
    ("kind", "table"),
    [(TEXTS, "reviews.csv"), ("image-classification", "shapes.csv"), ("vqa", "questions.jsonl")],
)
@pytest.mark.parametrize("preset", [Preset.FAST, Preset.GOOD])
def test_a_dry_run_plans_and_writes_nothing(
    kind: str,
    table: str,
    preset: Preset,
    model: Path,
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    columns = "image=photo,question=q,answer=a" if kind == "vqa" else ""
    config = FinetuneConfig(preset=preset, device="cpu", steps=4)
    plan = dry_run(
        kind, model, samples / table, tmp_path / "out", columns=columns, config=config, progress=False
    )
    assert content(tmp_path) == before
    assert sum(plan.rows.values()) == 10
    assert sum(plan.seconds.values()) > 0
    assert (sum(plan.classes.values()) == plan.rows["training"]) is (kind != "vqa")
    said = str(plan)
    for word in ("Rows:", "Plan:", "Time:", "about"):
        assert word in said


def test_the_command_shows_the_plan_and_needs_no_folder(model: Path, tmp_path: Path, cli: Cli) -> None:
    given = ("--model", model, "--train", SAMPLES / "reviews.csv", "--dry-run", "--time-limit", "10m")
    said = cli.prints("finetune", TEXTS, *given)
    assert "batch_size 8 (a thirtieth of 6 rows, from 8 to 64)" in said
    assert "Limit:    10 minutes, of which " in said
    assert not list(tmp_path.iterdir())


def test_rows_with_unreadable_pictures_are_left_out_of_the_plan(model: Path, samples: Path) -> None:
    (samples / "pictures" / "3.png").write_bytes(b"no picture")
    plan = dry_run(
        "image-classification", model, samples / "shapes.csv", config=replace(SHORT), progress=False
    )
    assert sum(plan.rows.values()) == 9
    assert "1 of 10 rows was left out" in str(plan)


def test_a_dry_run_refuses_the_metric_that_the_run_would_refuse(model: Path) -> None:
    for task, file in ((TEXTS, "reviews.csv"), ("sentence-similarity", "answers.csv")):
        with expect_refusal("choose_by", f"{task} has no f1"):
            dry_run(task, model, SAMPLES / file, config=replace(SHORT, choose_by="f1"), progress=False)


# ---------------------------------------------------------------- a run as a file
def test_a_resolved_configuration_is_read_back_and_runs_the_same(
    model: Path, tmp_path: Path, cli: Cli
) -> None:
    table = text_table(tmp_path, [f"a {'red' if n % 2 else 'blue'} square {n},{n % 2}" for n in range(40)])
    table.write_text(table.read_text().replace("text,label", "review,stars"))
    first, second = tmp_path / "first", tmp_path / "second"
    given = ("--model", model, "--train", table, "--columns", "text=review,label=stars", "--steps", 5)
    cli.prints("finetune", TEXTS, *given, "--out", first, "--seed", 3, "--precision", "fp32")
    cli.prints("finetune", "--config", first / "finetune.yaml", "--out", second)
    assert (first / "metrics.json").read_text() == (second / "metrics.json").read_text()
    resolved = [yaml.safe_load((out / "finetune.yaml").read_text()) for out in (first, second)]
    assert [one.pop("out") for one in resolved] == [str(first), str(second)]
    assert resolved[0] == resolved[1]
    assert (resolved[0]["seed"], resolved[0]["steps"], resolved[0]["batch_size"]) == (3, 5, 8)
    cli.prints("finetune", "--config", first / "finetune.yaml", "--out", tmp_path / "third", "--steps", 2)
    assert yaml.safe_load((tmp_path / "third" / "finetune.yaml").read_text())["steps"] == 2


def test_what_a_probe_was_fitted_to_is_fine_tuned_by_its_file(model: Path, tmp_path: Path, cli: Cli) -> None:
    given = (
        "--model",
        model,
        "--train",
        SAMPLES / "reviews.csv",
        "--preset",
        "fast",
        "--out",
        tmp_path / "a",
    )
    cli.prints("finetune", TEXTS, *given)
    again = ("--config", tmp_path / "a" / "finetune.yaml", "--preset", "good", "--out", tmp_path / "b")
    cli.prints("finetune", *again, "--baseline", "false")
    resolved = yaml.safe_load((tmp_path / "b" / "finetune.yaml").read_text())
    assert (resolved["preset"], resolved["tune"]["language"], resolved["steps"]) == ("good", "full", 60)


def test_a_file_may_hold_a_part_of_what_is_told(model: Path, tmp_path: Path, cli: Cli) -> None:
    """Settings alone, or a table without a folder for the run: the line has the rest."""
    (tmp_path / "f.yaml").write_text(f"train: {SAMPLES / 'reviews.csv'}\nsteps: 3\nbaseline: false\n")
    given = ("--model", model, "--out", tmp_path / "a", "--config", tmp_path / "f.yaml")
    cli.prints("finetune", TEXTS, *given)
    assert yaml.safe_load((tmp_path / "a" / "finetune.yaml").read_text())["steps"] == 3
    cli.expect_refusal(
        ["required: --model"], "finetune", TEXTS, "--out", "b", "--config", tmp_path / "f.yaml"
    )


@pytest.mark.parametrize("spec", task_specs(tunable=True), ids=lambda spec: spec.name)
def test_every_tasks_settings_are_read_back(spec: xfm.TaskSpec, tmp_path: Path) -> None:
    own = decided(fitted(FinetuneConfig(preset=Preset.BEST, seed=9), 100, 64), spec)
    path = tmp_path / "a.yaml"
    path.write_text(dump_finetune({"task": spec.name, "train": "a.csv"}, own, spec))
    told, values = read_finetune(path)
    assert told == {"task": spec.name, "train": "a.csv"}
    assert parse(FinetuneConfig, values=values) == own


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sead: 1", ["unknown field sead", "did you mean seed"]),
        ("tune: {visoin: full}", ["unknown field tune.visoin", "vision"]),
        ("steps: many", ["steps"]),
        ("preset: quick", ["preset", "fast, good, best"]),
        ("train: [a, b]", ["train is", "a text"]),
        ("- a", ["must be a mapping"]),
        ("a: &x [*x]", ["holds itself"]),
        ("seed: !!python/object/apply:os.system ['touch pwned']", ["not valid YAML"]),
    ],
)
def test_a_wrong_file_is_named(
    text: str, words: list[str], model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(text)
    given = ("--model", model, "--train", SAMPLES / "reviews.csv", "--out", "out")
    cli.expect_refusal(["f.yaml", *words], "finetune", TEXTS, *given, "--config", "f.yaml")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("named", [(), ("task", "model", "train")])
def test_a_file_of_settings_leaves_the_rest_to_the_options(
    named: tuple[str, ...], model: Path, tmp_path: Path, cli: Cli
) -> None:
    """Such as the one of the documentation, which says no folder for the results."""
    told = {"task": TEXTS, "model": str(model), "train": str(SAMPLES / "reviews.csv")}
    settings = {"preset": "fast", "class-weights": {"good": 2}, "tune": {"rank": 4}}
    path = tmp_path / "f.yaml"
    path.write_text(yaml.safe_dump({**{name: told[name] for name in named}, **settings}))
    given = [part for name in told if name not in named for part in (f"--{name}", told[name])]
    cli.prints("finetune", *given, "--config", path, "--out", tmp_path / "out")
    resolved = yaml.safe_load((tmp_path / "out" / "finetune.yaml").read_text())
    assert (resolved["preset"], resolved["class_weights"]) == ("fast", {"good": 2.0})


def test_a_mapping_of_columns_and_dashes_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("task: vqa\ncolumns: {question: q, answer: a}\nbatch-size: 4\ntime-limit: 2h\n")
    told, values = read_finetune(path)
    assert told == {"task": "vqa", "columns": "question=q,answer=a"}
    config = parse(FinetuneConfig, values=values)
    assert (config.batch_size, config.minutes) == (4, 120.0)
