"""What is not there: the suite's part on a model that sees, and on one that does not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from xfm.config.evaluation import EvaluationConfig, RetrievalConfig
from xfm.evaluation.context import Context
from xfm.evaluation.parts import matching
from xfm.evaluation.parts.matching import run_absence, run_matching
from xfm.models.folder import Pretrained
from xfm.reports.scores import PartResult
from xfm.tasks.images import TaskImages


def context_of(pretrained: Pretrained, world: Path, **changes: RetrievalConfig) -> Context:
    config, pictures = EvaluationConfig(**changes), TaskImages(pretrained.preprocessing)
    return Context(pretrained, world, config, torch.device("cpu"), pictures)


def oracle(texts_fit: NDArray[np.bool_]):
    def match(encoder, images, texts, image_rows, text_rows) -> NDArray[np.float32]:
        odds = np.where(texts_fit[image_rows, text_rows], 3.0, -3.0) + 0.01 * (text_rows % 7)
        return np.stack([-odds, odds], axis=1).astype(np.float32) / 2

    return match


def test_a_head_that_knows_is_always_right(
    pretrained: Pretrained, tiny_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the tiny world the first of a picture's two phrases is there, and captions are in their order."""
    there = np.zeros((12, 24), dtype=bool)
    there[np.arange(12), 2 * np.arange(12)] = True
    found = PartResult()
    context = context_of(pretrained, tiny_world, retrieval=RetrievalConfig(absence_gallery=5))
    monkeypatch.setattr(matching, "match", oracle(there))
    rows = context.rows(matching.read_presence, "absence", "test", 0)
    matching._phrases(context, found, "test", rows)
    monkeypatch.setattr(matching, "match", oracle(np.eye(12, dtype=bool)))
    matching._galleries(context, found, "test", context.captions("seen"))
    for key in ("phrase_auroc", "phrase_auroc_object", "gallery_auroc"):
        score = found.scores[f"absence/test/{key}"]
        assert (score.value, score.chance, score.n) == (1.0, 0.5, 24)
        assert score.baseline is not None
        assert score.baseline < 1.0


def test_a_head_that_says_nothing_is_at_chance(
    pretrained: Pretrained, tiny_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "match", lambda *given: np.zeros((len(given[-1]), 2), dtype=np.float32))
    found = run_absence(context_of(pretrained, tiny_world))
    own = {key: score.value for key, score in found.scores.items() if not key.endswith("_rerank")}
    assert set(own.values()) == {0.5}


def test_matching_is_calibrated_on_validation_pairs(
    pretrained: Pretrained, tiny_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is sure of everything, and right nine times of ten, learns to say so."""
    rng = np.random.default_rng(0)

    def sure(encoder, images, texts, image_rows, text_rows) -> NDArray[np.float32]:
        right = rng.random(len(text_rows)) < 0.9
        odds = np.where((np.arange(len(text_rows)) % 2 == 0) == right, 12.0, -12.0)
        return np.stack([-odds, odds], axis=1).astype(np.float32) / 2

    monkeypatch.setattr(matching, "match", sure)
    found = run_matching(context_of(pretrained, tiny_world))
    before, after = (found.scores[f"matching/test/calibration_error{end}"].value for end in ("_before", ""))
    assert found.calibration["pairs"] == 24
    assert 0 < found.calibration["slope"] < 0.5
    assert after != before
    presence = found.calibration["presence"]
    assert (presence["smallest"], presence["largest"], presence["searches"]) == (11, 11, 24)
