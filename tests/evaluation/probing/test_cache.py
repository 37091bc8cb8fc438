"""Features are computed once, are the encoder's, and whole or absent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluation.tiny import COLOURS, draw, tiny_pretrained
from xfm.config.probing import Colours, Framing, FrozenConfig
from xfm.config.training import Precision
from xfm.evaluation.probing import feature_cache as cache
from xfm.evaluation.probing.feature_cache import cached_features
from xfm.evaluation.probing.scoring import build_featuriser
from xfm.tasks.images import Pictures
from xfm.tasks.rows import Labelled

CONFIG = FrozenConfig(batch_size=3, precision=Precision.FP32, device="cpu")


@pytest.fixture
def rows(tmp_path):
    names = list(COLOURS)
    found = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        draw(names[number % 4], names[(number + 1) % 4], number).save(path)
        found.append(Labelled(path, names[number % 4]))
    return found


def encoded(rows, folder):
    return cached_features(featuriser(), rows, folder, "", False, lambda index, reason: None)


def featuriser(config=CONFIG, weights="a"):
    return build_featuriser(tiny_pretrained(), weights, config)


def test_features_are_slot_0_of_the_encoder(rows, tmp_path):
    pretrained = tiny_pretrained()
    found = encoded(rows, tmp_path / "cache")
    pixels = Pictures(pretrained.preprocessing).pixels([row.image for row in rows])
    with torch.no_grad():
        expected = pretrained.model.vision(pixels)[:, 0]
    assert isinstance(found, np.memmap)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_second_time_nothing_is_encoded(rows, tmp_path, monkeypatch):
    first = encoded(rows, tmp_path / "cache")
    monkeypatch.setattr(cache, "_vectors", None)
    again = encoded(rows, tmp_path / "cache")
    assert np.array_equal(first, again)


def test_what_features_depend_on_names_them(rows):
    def name(chosen=rows, weights="a", **changes):
        return featuriser(replace(CONFIG, **changes), weights).fingerprint(chosen)

    names = [
        name(),
        name(weights="b"),
        name(precision=Precision.BF16),
        name(colours=Colours.HALF),
        name(framing=Framing.CENTRE),
        name(rows[1:]),
        name(rows[::-1]),
    ]
    rows[0].image.write_bytes(rows[1].image.read_bytes() + b"\0")
    names.append(name())
    assert len(set(names)) == len(names)
    assert name(batch_size=5) == names[-1]


def test_an_interrupted_run_leaves_no_features(rows, tmp_path, monkeypatch):
    folder = tmp_path / "cache"

    def breaking(row: Labelled) -> torch.Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cache, "_picture", breaking)
        with pytest.raises(KeyboardInterrupt):
            encoded(rows, folder)
    assert not [*folder.glob("features-????????????????.npy")]
    np.testing.assert_allclose(encoded(rows, folder), encoded(rows, tmp_path / "whole"), atol=1e-6)
    assert [path.suffix for path in folder.iterdir()] == [".npy"]
