"""Statistics of the recorded mask generators."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tests.golden.recorded import Recorded
from xfm.config.data import PatchMaskConfig, TokenMaskConfig
from xfm.data.masking import mask_patches, mask_tokens
from xfm.data.tokenizer import Tokenizer, train_tokenizer


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def test_patches(recorded: Recorded) -> None:
    names = [name for name in recorded.json("stats.json") if re.fullmatch(r"mim_\d+_\d+_\d+", name)]
    assert names
    for name in names:
        check_patches(recorded, name)


def check_patches(recorded: Recorded, name: str) -> None:
    wanted = recorded.json("stats.json")[name]
    grid, patches, smallest = (
        wanted[key] for key in ("input_size", "num_masking_patches", "min_num_patches")
    )
    count, rng = 4000, generator(11)
    masks = np.stack([mask_patches(rng, grid, PatchMaskConfig(patches, smallest)) for _ in range(count)])
    masks = masks.reshape(count, grid, grid)
    assert set(masks.sum((1, 2))) == {wanted["masked_per_image"]}

    rate = recorded.arrays("stats.safetensors")[name.replace("mim_", "mim_rate_")].numpy()
    error = np.sqrt(rate * (1 - rate) * (1 / count + 1 / wanted["seeds"]))
    assert np.abs((masks.mean(0) - rate) / error).max() < 4.5, name  # of some hundred positions

    labels = [ndimage.label(mask) for mask in masks]
    measured = {
        "connected_components_4nbr": np.array([n for _, n in labels]),
        "largest_component": np.array([np.bincount(label.ravel())[1:].max() for label, _ in labels]),
        "adjacent_masked_pairs": (masks[:, 1:] & masks[:, :-1]).sum((1, 2))
        + (masks[:, :, 1:] & masks[:, :, :-1]).sum((1, 2)),
        "full_2x2_masked_squares": (
            masks[:, 1:, 1:] & masks[:, 1:, :-1] & masks[:, :-1, 1:] & masks[:, :-1, :-1]
        ).sum((1, 2)),
    }
    for key, values in measured.items():
        spread = wanted[key]["std"] * np.sqrt(1 / count + 1 / wanted["seeds"])
        assert abs(values.mean() - wanted[key]["mean"]) <= 4 * spread, (name, key)
        assert values.std() == pytest.approx(wanted[key]["std"], rel=0.08), (name, key)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a red cat sits left of the caterpillar", "the blue house"] * 5, 300)


@pytest.mark.parametrize("whole", [True, False])
def test_tokens(recorded: Recorded, tokenizer: Tokenizer, whole: bool) -> None:
    """With one piece a word, whole words make no difference; the end token is a word like the others."""
    # Whole-word masking changes nothing in the published code: its rows repeat others.
    for case in recorded.json("stats.json")["text_masking"]:
        if not case["mask_whole_word"]:
            check_tokens(case, tokenizer, whole)


def check_tokens(case: dict, tokenizer: Tokenizer, whole: bool) -> None:
    config = TokenMaskConfig(
        case["mask_prob"], case["max_masks"], 200, case["skipgram_prb"], case["skipgram_size"], whole
    )
    length, count = case["n_tokens"], 3000
    ids = [0, *([tokenizer.vocab_size - 2] * (length - 1))]
    word_ids = [None, *range(length - 1)]
    rng = generator(5)
    rows = [mask_tokens(rng, ids, word_ids, config, tokenizer) for _ in range(count)]
    masked: NDArray[np.bool_] = np.zeros((count, length), dtype=bool)
    for row, (_, positions, _) in zip(masked, rows, strict=True):
        row[positions] = True
    assert set(masked.sum(1)) == {case["n_pred_formula"]}
    assert not masked[:, 0].any()

    def close(rate: float, wanted: float, samples: float, wanted_samples: float) -> bool:
        spread = np.sqrt(wanted * (1 - wanted) * (1 / samples + 1 / wanted_samples))
        return abs(rate - wanted) < 4.5 * spread

    assert close(masked[:, 1].mean(), case["rate_first_text_token"], count, case["samples"]), case
    assert close(masked[:, length // 2].mean(), case["rate_middle"], count, case["samples"]), case
    assert close(masked[:, -1].mean(), case["rate_eos"], count, case["samples"]), case

    edges = np.diff(np.pad(masked, ((0, 0), (1, 1))).astype(int), axis=1)
    lengths = np.nonzero(edges.ravel() == -1)[0] - np.nonzero(edges.ravel() == 1)[0]
    runs, wanted_runs = len(lengths), len(lengths) * case["samples"] / count
    assert close((lengths == 1).mean(), case["frac_runs_len1"], runs, wanted_runs), case
    assert close((lengths >= 3).mean(), case["frac_runs_ge3"], runs, wanted_runs), case
    assert lengths.mean() == pytest.approx(case["mean_run_length"], rel=0.03), case
