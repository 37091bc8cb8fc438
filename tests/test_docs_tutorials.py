"""Every tutorial runs as it stands, on its ten rows and with a tiny model where the quickstart's would be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.tiny import save_tiny_model
from tests.test_docs import ROOT, blocks, commands
from xfm.cli import main
from xfm.config.tasks import task_specs

FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
SHORT = ["--steps", "3", "--batch-size", "4", "--precision", "fp32", "--device", "cpu", "--quiet"]


def test_every_task_has_a_page() -> None:
    assert {page.stem for page in PAGES} == {spec.name for spec in task_specs(tunable=True)}
    overview = (FOLDER / "README.md").read_text()
    assert all(f"({page.name})" in overview for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "runs" / "quickstart" / "model")
    shutil.copytree(FOLDER / "samples", tmp_path / "samples")
    learn, answer = commands(page, "xfm")
    assert main([*learn, *SHORT]) == 0
    assert main([*answer, "--quiet"]) == 0
    out = Path(answer[answer.index("--out") + 1])
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 10
    (code,) = blocks(page, "python")
    exec(compile(code, str(page), "exec"), {})


def test_the_page_on_fine_tuning_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its function learns from a table with the columns that it names."""
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "runs" / "quickstart" / "model")
    lines = (FOLDER / "samples" / "reviews.csv").read_text().splitlines()
    (tmp_path / "my.csv").write_text("\n".join(["review,stars", *lines[1:]]) + "\n")
    page: dict[str, Any] = {}
    (code,) = blocks(ROOT / "docs" / "finetuning.md", "python")
    exec(code, page)
    assert 0 <= page["learn"]("my.csv") <= 1
    assert Path("runs/reviews/report.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_rows_that_the_page_shows_are_the_samples(page: Path) -> None:
    """What stands in the page as a table is in the sample, line by line."""
    learn, _ = commands(page, "xfm")
    sample = FOLDER / learn[learn.index("--train") + 1]
    lines = sample.read_text().splitlines()
    assert len(lines) - sample.suffix.count(".csv") == 10
    (shown,) = blocks(page, "csv", "json")
    assert set(shown.splitlines()) <= set(lines)
