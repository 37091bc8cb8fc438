"""Bad pictures of a world: their rows are left out, counted and kept beside the scores."""

import re
import shutil
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.evaluation.tiny import save_tiny_model
from tests.finetuning.conftest import Cli
from tests.reports.written import details_of, page_of
from xfm.data.skipped import BAD_FILE, read_bad_rows
from xfm.reports.scores import REQUIRED_KEYS, read_scores

PICTURE = re.compile(r'"([\w./-]+\.png)"')


@pytest.fixture
def spoilt(tiny_world: Path, tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    """A copy of the world in which the first picture of every task's files is bad, by that file."""
    world = shutil.copytree(tiny_world, tmp_path / "world")
    bad: dict[str, Path] = {}
    for file in sorted((world / "tasks").glob("*/*.jsonl")):
        if found := PICTURE.search(file.read_text()):
            path = (file.parent / found[1]).resolve()
            bad[f"{file.parent.name}/{file.stem}"] = path
            path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert len({file.partition("/")[0] for file in bad}) >= 6
    return world, bad


@thorough
def test_a_bad_picture_ends_no_part(spoilt: tuple[Path, dict[str, Path]], tmp_path: Path, cli: Cli) -> None:
    (world, bad), out = spoilt, tmp_path / "out"
    model = save_tiny_model(tmp_path / "model")
    given = ("evaluate", model, "--world", world, "--out", out, "--scale", 0.01, "--max-bad")
    cli.expect_refusal(["tasks/", ".jsonl", ".png", "--max-bad leaves out 0"], *given, 0)
    said = cli.prints(*given, 1000)
    assert set(REQUIRED_KEYS) <= set(read_scores(out / "metrics.json"))
    kept = details_of(out)["left_out"]
    assert re.search(rf"{len(kept['rows'])} of \d+ rows were left out: .*all in {out / BAD_FILE}", said)
    assert {row["place"] for row in kept["rows"]} == {*read_bad_rows(out)}
    named = " ".join(row["error"] for row in kept["rows"])
    tasks = {split.partition("/")[0] for split in kept["by_split"]}
    assert tasks >= {"category", "vqa", "reasoning", "grounding", "retrieval", "masked_token"}
    assert any(path.name in named for path in bad.values())
    page = page_of(out)
    assert "Something was left out" in page
    assert kept["rows"][0]["place"] in page
    # Parts that left out something are run again, so that a picture that was mended counts.
    good = next(path for path in sorted(world.rglob("*.png")) if path not in bad.values())
    for path in bad.values():
        shutil.copy(good, path)
    assert "left out" not in cli.prints(*given, 0)
    assert not (out / BAD_FILE).exists()
