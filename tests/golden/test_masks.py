"""Statistics of the recorded mask generators.

Ours is another random stream, so every number is compared with what chance allows for both samples.
"""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from tests.data.conftest import generator, masked_row
from tests.golden.recorded import Recorded
from xfm.config.data import PatchMaskConfig, TokenMaskConfig
from xfm.data.masking import mask_patches
from xfm.data.tokenizer import Tokenizer, train_tokenizer

SPREADS = 4.5
"""Of some hundred numbers that are compared, one in a thousand folders has one that is further off."""


def rates_agree(ours: ArrayLike, theirs: ArrayLike, samples: int, their_samples: int) -> bool:
    """Whether shares of samples (elementwise) may have one probability."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    pooled = (ours * samples + theirs * their_samples) / (samples + their_samples)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / samples + 1 / their_samples))
    return bool(np.all(np.abs(ours - theirs) <= SPREADS * spread + 1e-8))


def means_agree(values: NDArray[Any], wanted: float, their_samples: int) -> bool:
    """Whether `wanted` may be a mean of the same distribution as the values."""
    spread = values.std() * np.sqrt(1 / len(values) + 1 / their_samples)
    return abs(values.mean() - wanted) <= SPREADS * spread + 1e-8


def spreads_agree(values: NDArray[Any], wanted: float, their_samples: int) -> bool:
    """Whether `wanted` may be a standard deviation of the same distribution as the values."""
    found = values.std()
    if found == 0:
        return wanted < 1e-8
    kurtosis = ((values - values.mean()) ** 4).mean() / found**4
    error = found * np.sqrt((kurtosis - 1) / 4 * (1 / len(values) + 1 / their_samples))
    return abs(found - wanted) <= SPREADS * error + 1e-8


def test_every_statistic_has_a_test(recorded: Recorded) -> None:
    names = set(recorded.json("stats.json")) - {"text_masking"}
    assert names
    assert all(re.fullmatch(r"mim_\d+_\d+_\d+", name) for name in names)
    assert set(recorded.arrays("stats.safetensors")) == {n.replace("mim_", "mim_rate_") for n in names}


def test_patches(recorded: Recorded) -> None:
    for name, wanted in recorded.json("stats.json").items():
        if name != "text_masking":
            rate = recorded.arrays("stats.safetensors")[name.replace("mim_", "mim_rate_")].double().numpy()
            check_rates(wanted["per_position_rate"], rate)
            check_patches(wanted, rate)


def check_rates(wanted: dict[str, float], rate: NDArray[np.float64]) -> None:
    """The summary of the recorded rates is that of the recorded array."""
    side, border = len(rate), np.ones(rate.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    found = {"mean": rate.mean(), "min": rate.min(), "max": rate.max(), "border_mean": rate[border].mean()}
    found |= {"interior_mean": rate[~border].mean(), "corner_mean": rate[:: side - 1, :: side - 1].mean()}
    assert wanted.keys() == found.keys() | {"centre_mean"}
    for key, value in found.items():
        assert value == pytest.approx(wanted[key], abs=1e-6, nan_ok=True), key
    half = side // 2  # an odd side has one place in the middle, or three
    centres = [rate[half - 1 : half + 1, half - 1 : half + 1]]
    centres += [rate[half - k : half + k + 1, half - k : half + k + 1] for k in (0, 1)] * (side % 2)
    assert any(c.mean() == pytest.approx(wanted["centre_mean"], abs=1e-6) for c in centres)


def check_patches(wanted: dict[str, Any], rate: NDArray[np.float64]) -> None:
    grid, patches, smallest, seeds = (
        wanted[key] for key in ("input_size", "num_masking_patches", "min_num_patches", "seeds")
    )
    count, rng = 4000, generator(11)
    masks = np.stack([mask_patches(rng, grid, PatchMaskConfig(patches, smallest)) for _ in range(count)])
    masks = masks.reshape(count, grid, grid)
    assert set(masks.sum((1, 2))) == {wanted["masked_per_image"]}
    assert rates_agree(masks.mean(0), rate, count, seeds)

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
        assert means_agree(values, wanted[key]["mean"], seeds), (grid, key)
        assert spreads_agree(values, wanted[key]["std"], seeds), (grid, key)
        for number, times in wanted[key].get("hist", {}).items():
            assert rates_agree((values == int(number)).mean(), times / seeds, count, seeds), (grid, key)
    settings = {"input_size", "num_masking_patches", "min_num_patches", "seeds", "masked_per_image"}
    assert wanted.keys() == settings | measured.keys() | {"per_position_rate"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a red cat sits left of the caterpillar", "the blue house"] * 5, 300)


@pytest.mark.parametrize("whole", [True, False])
def test_tokens(recorded: Recorded, tokenizer: Tokenizer, whole: bool) -> None:
    """With one piece a word, whole words make no difference; the end token is a word like the others.

    Whole-word masking changes nothing in the published code, so both of its settings are compared with both.
    """
    cases = recorded.json("stats.json")["text_masking"]
    assert cases
    for case in cases:
        check_tokens(case, tokenizer, whole)


def check_tokens(case: dict[str, Any], tokenizer: Tokenizer, whole: bool) -> None:
    length, count, samples = case["n_tokens"], 3000, case["samples"]
    config = TokenMaskConfig(
        case["mask_prob"], case["max_masks"], length, case["skipgram_prb"], case["skipgram_size"], whole
    )
    word = tokenizer.vocab_size - 2
    ids = [0, *([word] * (length - 1))]
    word_ids = [None, *range(length - 1)]
    rng = generator(5)
    rows = [masked_row(rng, ids, word_ids, config, tokenizer) for _ in range(count)]
    masked: NDArray[np.bool_] = np.zeros((count, length), dtype=bool)
    for row, (_, positions, _) in zip(masked, rows, strict=True):
        row[positions] = True
    number = case["n_pred_formula"]
    assert set(masked.sum(1)) == {number} == {case["min_masked"], case["max_masked"]}
    assert case["mean_masked"] == number
    assert case["fraction_of_all_tokens"] == pytest.approx(number / length)
    assert case["fraction_excl_cls"] == pytest.approx(number / (length - 1))
    places = {"rate_cls": 0, "rate_first_text_token": 1, "rate_middle": length // 2, "rate_eos": -1}
    for key, place in places.items():
        assert rates_agree(masked[:, place].mean(), case[key], count, samples), (case, key)

    new = np.array([token for changed, positions, _ in rows for token in np.take(changed, positions)])
    fates = {"frac_replaced_by_mask": new == tokenizer.mask, "frac_kept": new == word}
    fates["frac_random"] = ~(fates["frac_replaced_by_mask"] | fates["frac_kept"])
    for key, fate in fates.items():
        assert rates_agree(fate.mean(), case[key], len(new), samples * number), (case, key)

    edges = np.diff(np.pad(masked, ((0, 0), (1, 1))).astype(int), axis=1)
    row, start = np.nonzero(edges == 1)
    lengths = np.nonzero(edges == -1)[1] - start
    runs = {"mean_run_length": lengths, "frac_runs_len1": lengths == 1, "frac_runs_ge3": lengths >= 3}
    for key, values in runs.items():
        assert ratios_agree(row, values, case[key], samples), (case, key)
    known = {"n_tokens", "mask_prob", "max_masks", "skipgram_prb", "skipgram_size", "mask_whole_word"}
    known |= {"samples", "n_pred_formula", "min_masked", "max_masked", "mean_masked"}
    known |= {"fraction_of_all_tokens", "fraction_excl_cls"}
    assert case.keys() == known | places.keys() | fates.keys() | runs.keys()


def ratios_agree(row: NDArray[Any], values: NDArray[Any], wanted: float, their_samples: int) -> bool:
    """Whether `wanted` may be a mean over runs like these; runs of one row depend on each other."""
    totals, numbers = np.bincount(row, values.astype(float)), np.bincount(row)
    found = totals.sum() / numbers.sum()
    spread = (totals - found * numbers).std() / numbers.mean()
    return abs(found - wanted) <= SPREADS * spread * np.sqrt(1 / len(totals) + 1 / their_samples) + 1e-8
