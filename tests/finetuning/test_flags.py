"""A fine-tuning says what was out of the ordinary, in its report and last."""

from pathlib import Path

from tests.finetuning.conftest import SAMPLES, Cli
from tests.reports.written import details_of, page_of
from xfm.finetuning.flags import few_rows, flags_of, unfinished
from xfm.finetuning.tuning_run import TuningRun
from xfm.finetuning.watch import Look
from xfm.training.flags import What


def tuned(*values: float, step: int = 0) -> TuningRun:
    looks = tuple(Look(10 * (place + 1), {"accuracy": value}) for place, value in enumerate(values))
    return TuningRun(step or 10 * len(values), max(looks, key=lambda look: look.metrics["accuracy"]), looks)


def test_a_model_that_was_still_getting_better() -> None:
    found = unfinished(tuned(0.2, 0.4, 0.5, 0.6), 40, "accuracy")
    assert found is not None
    assert found.what == What.UNFINISHED
    assert "--steps 80" in found.sentence
    assert unfinished(tuned(0.2, 0.6, 0.5, 0.6), 40, "accuracy") is None  # as good before
    assert unfinished(tuned(0.2, 0.6, 0.5), 30, "accuracy") is None
    assert unfinished(tuned(0.2, 0.6), 20, "accuracy") is None  # too few looks to say


def test_early_stopping_is_no_flag() -> None:
    assert flags_of(tuned(0.2, 0.9, 0.8, 0.8), 400, 400, ("accuracy", "accuracy"), {}, []) == []


def test_few_rows_are_those_of_wide_intervals() -> None:
    assert few_rows("accuracy", {"validation": (0.5, 97), "test": (0.9, 60)}) is None
    found = few_rows("accuracy", {"validation": (0.5, 60), "test": (0.95, 400)})
    assert found is not None
    assert "60 validation rows" in found.sentence
    assert "400" not in found.sentence
    assert few_rows("pearson", {"test": (0.99, 60)}) is not None  # counts as 50 %


def test_rows_left_out_are_counted() -> None:
    (found,) = flags_of(tuned(0.9, 0.9), 20, 20, ("accuracy", "accuracy"), {}, [], left_out=3)
    assert (found.what, "3 rows" in found.sentence) == (What.LEFT_OUT, True)


def test_a_shortened_run_is_flagged_in_the_report_and_last(model: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    given = ("--model", model, "--train", SAMPLES / "reviews.csv", "--out", out, "--steps", 5)
    last = cli.prints("finetune", "text-classification", *given).splitlines()[-3:]
    assert last[0].startswith("Flagged: shortened: only 5 steps, 8.3 % of the 60 that fit so many rows")
    assert last[1].startswith("Flagged: few rows: ")
    assert last[2].startswith("Verdict: ")
    assert "only 5 steps, 8.3 % of the 60 that fit so many rows" in page_of(out)
    assert [flag["what"] for flag in details_of(out)["flags"]] == ["shortened", "few rows"]
