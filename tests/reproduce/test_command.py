"""The command as a user types it."""

from pathlib import Path

import pytest

from xfm.cli import main


def test_without_a_model_it_prints_what_was_published(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["reproduce", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "RoBERTa 87.6" in shown
    assert "84.8 / 89.7 / 79.1" in shown
    assert not list(tmp_path.iterdir())


def test_the_list_says_what_belongs_where(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert main(["reproduce", "--list", "--data", str(data)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert " there " in lines["refcoco+"]
    assert "refs(unc).p and instances.json" in lines["refcoco+"]
    assert " missing " in lines["food101"]


def test_named_benchmarks_are_run_and_shown(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["reproduce", "rte", "coco", "--model", str(model), "--data", str(data), "--out", str(out)]
    command += ["--smoke", "--quiet", "--device", "cpu", "--protocols", "ft,zs", "--set", "settings.lr=1e-4"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "To run: rte/FT, coco/FT, coco/ZS" in shown
    assert {path.parent.name for path in out.glob("*/*/official.json")} == {"FT", "ZS"}
    assert "qnli" not in shown
    row = next(line for line in shown.splitlines() if line.startswith("rte "))
    assert not row.endswith("-")
    assert main(["reproduce", "rte", "--out", str(out)]) == 0
    assert row.split() in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_mistake_in_a_recipe_s_option_is_named(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path
) -> None:
    command = ["reproduce", "rte", "--model", str(model), "--data", str(data), "--out", str(tmp_path)]
    assert main([*command, "--set", "settings.learning=3"]) == 2
    assert "unknown option --settings.learning" in capsys.readouterr().err
