"""A limit of time, the estimate of a dry run, and configurations that are read back."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import xfm
from tests.alike import thorough
from tests.finetuning.conftest import SAMPLES, SHORT, Cli, after_step, on_sample, text_table
from tests.folders import content
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.finetune import FinetuneConfig, Preset, minutes_of
from xfm.config.finetune_file import dump_finetune, read_finetune
from xfm.config.options import parse
from xfm.config.tasks import task_spec, task_specs
from xfm.finetuning.finetune import dry_run
from xfm.finetuning.presets import decided, fitted
from xfm.training.clock import SCHEDULE, read_schedule

TEXTS = "text-classification"


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


# ---------------------------------------------------------------- the clock
@thorough
def test_a_limit_ends_the_training_and_everything_says_so(model, tmp_path, monkeypatch):
    """The machine becomes so slow that a step takes the rest of the time."""
    import time

    out = tmp_path / "out"
    config = replace(SHORT, steps=10_000, time_limit="10s", baseline=False)
    with after_step(monkeypatch, out, 3, lambda: time.sleep(9)):
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


# ---------------------------------------------------------------- the estimate
@pytest.mark.parametrize(
    ("kind", "table", "preset"),
    [(TEXTS, "reviews.csv", Preset.FAST), ("vqa", "questions.jsonl", Preset.GOOD)],
)
def test_a_dry_run_plans_and_writes_nothing(kind, table, preset, model, samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    columns = "image=photo,question=q,answer=a" if kind == "vqa" else ""
    config = FinetuneConfig(preset=preset, device="cpu", steps=4)
    plan = dry_run(
        kind, model, samples / table, tmp_path / "out", columns=columns, config=config, progress=False
    )
    assert content(tmp_path) == before
    lines = dict(line.split(":", 1) for line in plan.splitlines())
    assert sum(map(int, re.findall(r"\d+", lines["Plan"].partition(" rows;")[0]))) == 10
    assert ("Time" in lines) is (preset is not Preset.FAST)
    assert ("Classes" in lines) is (kind != "vqa")
    assert "Decided" in lines


def test_the_command_shows_the_plan_and_needs_no_folder(model: Path, tmp_path: Path, cli: Cli) -> None:
    given = ("--model", model, "--train", SAMPLES / "reviews.csv", "--dry-run", "--time-limit", "10m")
    said = cli.prints("finetune", TEXTS, *given)
    assert "Decided:  batch_size 8, steps 60" in said
    assert "Limit:    10 minutes, of which " in said
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- a run as a file
@thorough
def test_a_resolved_configuration_is_read_back_and_runs_the_same(model, tmp_path, cli):
    table = text_table(tmp_path, [f"a {'red' if n % 2 else 'blue'} square {n},{n % 2}" for n in range(40)])
    table.write_text(table.read_text().replace("text,label", "review,stars"))
    first, second = tmp_path / "first", tmp_path / "second"
    given = ("--model", model, "--train", table, "--columns", "text=review,label=stars", "--steps", 3)
    given = (*given, "--baseline", "false")
    cli.prints("finetune", TEXTS, *given, "--out", first, "--seed", 3, "--precision", "fp32")
    cli.prints("finetune", "--config", first / "finetune.yaml", "--out", second)
    assert (first / "metrics.json").read_text() == (second / "metrics.json").read_text()
    resolved = [yaml.safe_load((out / "finetune.yaml").read_text()) for out in (first, second)]
    assert [one.pop("out") for one in resolved] == [str(first), str(second)]
    assert resolved[0] == resolved[1]
    assert (resolved[0]["seed"], resolved[0]["steps"], resolved[0]["batch_size"]) == (3, 3, 8)


@pytest.mark.parametrize("spec", task_specs(tunable=True), ids=lambda spec: spec.name)
def test_every_tasks_settings_are_read_back(spec: xfm.TaskSpec, tmp_path: Path) -> None:
    own = decided(fitted(FinetuneConfig(preset=Preset.BEST, seed=9), 100, 64), spec)
    path = tmp_path / "a.yaml"
    path.write_text(dump_finetune({"task": spec.name, "train": "a.csv"}, own, spec))
    told, values = read_finetune(path)
    assert told == {"task": spec.name, "train": "a.csv"}
    assert parse(FinetuneConfig, values=values) == own


def test_a_file_of_settings_leaves_the_rest_to_the_options(model: Path, tmp_path: Path, cli: Cli) -> None:
    """Such as the one of the documentation, which says no folder for the results."""
    settings = {"preset": "fast", "class_weights": {"good": 2}, "tune": {"rank": 4}}
    path = tmp_path / "f.yaml"
    path.write_text(yaml.safe_dump({"task": TEXTS, "model": str(model), **settings}))
    given = ["--train", SAMPLES / "reviews.csv"]
    cli.prints("finetune", *given, "--config", path, "--out", tmp_path / "out")
    resolved = yaml.safe_load((tmp_path / "out" / "finetune.yaml").read_text())
    assert (resolved["preset"], resolved["class_weights"]) == ("fast", {"good": 2.0})
