"""Stored parts: what they depend on, and what counts for nothing."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.conftest import CONFIG
from xfm.config.evaluation import EvaluationConfig, Part, ShortTuning
from xfm.evaluation.parts.tuned import TUNED
from xfm.evaluation.suite import part_fingerprint
from xfm.reports.scores import read_part


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
    quick = replace(config, scratch=False)
    assert {part for part in Part if of(part, config) != of(part, quick)} == set(TUNED)


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("vqa/train", {Part.VQA}),
        ("retrieval/hard", {Part.RETRIEVAL, Part.HARD, Part.MATCHING, Part.ABSENCE}),
        ("absence/test", {Part.ABSENCE}),
        ("masked_token/test", {Part.MASKED_TOKENS}),
        ("category/test", {Part.CATEGORY}),
        ("entailment/train", {Part.ENTAILMENT, Part.PARAPHRASE}),
        ("paraphrase/train", {Part.PARAPHRASE}),
    ],
)
def test_fingerprints_follow_the_files(tiny_world: Path, tmp_path: Path, file: str, parts: set[Part]) -> None:
    """A world may be edited or copied in part while its manifest stays."""
    world = shutil.copytree(tiny_world, tmp_path / "world")
    before = {part: part_fingerprint(part, "w", world, CONFIG) for part in Part}
    path = world / "tasks" / f"{file}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    assert {part for part in Part if part_fingerprint(part, "w", world, CONFIG) != before[part]} == parts


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        '{"fingerprint": "k", "scores": []}',
        '{"fingerprint": "k", "scores": {"a/b/c": 3}}',
        '{"fingerprint": "k", "scores": {}, "curves": [], "seconds": 1}',
        "[" * 50_000,
    ],
)
def test_a_part_of_other_types_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "part.json").write_text(text)
    assert read_part(tmp_path / "part.json", "k") is None
