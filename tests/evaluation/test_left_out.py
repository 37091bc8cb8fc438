"""Bad pictures of a world: their rows are left out, counted and kept beside the scores."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.evaluation.conftest import CONFIG
from tests.evaluation.tiny import save_tiny_model, write_world
from tests.finetuning.conftest import Cli
from tests.folders import bad_rows
from tests.reports.written import details_of, page_of
from xfm.config.evaluation import EvaluationConfig, Part, ShortTuning
from xfm.data.skipped import BAD_FILE
from xfm.evaluation.parts.tuned import TUNED
from xfm.evaluation.suite import evaluate, part_fingerprint
from xfm.reports.scores import REQUIRED_KEYS, read_scores
from xfm.training.flags import Flag, FlagKind, read_flags

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
    assert {row["place"] for row in kept["rows"]} == {*bad_rows(out)}
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


def test_flags_are_kept_and_shown(tmp_path: Path) -> None:
    model, world = save_tiny_model(tmp_path / "run" / "model"), write_world(tmp_path / "world")
    config = EvaluationConfig(parts=(Part.HARD,))
    evaluate(model, world, tmp_path / "out", config, False, [Flag(FlagKind.SMOKE, "a tiny <world>")])
    kinds = [flag.what for flag in read_flags(details_of(tmp_path / "out"))]
    assert kinds == [FlagKind.SMOKE, FlagKind.ROUGH, FlagKind.INCOMPLETE]
    page = page_of(tmp_path / "out")
    assert "a tiny &lt;world&gt;." in page
    assert page.count("Read the scores with this in mind") == 1


def test_fingerprints_follow_what_a_part_reads(tiny_world: Path) -> None:
    config = EvaluationConfig()

    def of(part: Part, config: EvaluationConfig, weights: str = "w") -> str:
        return part_fingerprint(part, weights, tiny_world, config)

    other_vqa = replace(config, vqa=ShortTuning(steps=3))
    assert of(Part.VQA, config) != of(Part.VQA, other_vqa)
    assert of(Part.GROUNDING, config) == of(Part.GROUNDING, other_vqa)
    assert of(Part.GROUNDING, config) == of(Part.GROUNDING, replace(config, parts=[Part.VQA]))
    assert of(Part.GROUNDING, config) != of(Part.GROUNDING, replace(config, seed=1))
    assert of(Part.GROUNDING, config) != of(Part.GROUNDING, config, weights="v")
    assert of(Part.RETRIEVAL, config) != of(Part.HARD, config)
    quick = replace(config, baselines=False)
    assert {part for part in Part if of(part, config) != of(part, quick)} == set(TUNED)


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("vqa/train", {Part.VQA}),
        ("retrieval/hard", {Part.RETRIEVAL, Part.HARD, Part.MATCHING, Part.ABSENCE}),
        ("entailment/train", {Part.ENTAILMENT, Part.PARAPHRASE}),
    ],
)
def test_fingerprints_follow_the_files(tiny_world: Path, tmp_path: Path, file: str, parts: set[Part]) -> None:
    """A world may be edited or copied in part while its manifest stays."""
    world = shutil.copytree(tiny_world, tmp_path / "world")
    before = {part: part_fingerprint(part, "w", world, CONFIG) for part in Part}
    path = world / "tasks" / f"{file}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    assert {part for part in Part if part_fingerprint(part, "w", world, CONFIG) != before[part]} == parts
