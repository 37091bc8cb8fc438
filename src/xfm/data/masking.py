"""Block-wise patch masks (BEiT, arXiv 2106.08254, algorithm 1) and whole-word skip-gram token masks."""

import math
from collections.abc import Sequence

import numpy as np

from xfm.config.data import PatchMaskConfig, TokenMaskConfig
from xfm.data.tokenizer import Tokenizer

_ATTEMPTS = 10
_LOG_ASPECT = math.log(1 / 0.3)
IGNORED = -100


def mask_patches(rng: np.random.Generator, grid: int, config: PatchMaskConfig) -> np.ndarray:
    """[grid * grid] bool with exactly `config.patches` masked: rectangles of `config.min_block` patches
    to what is left, with an aspect of 0.3 to 1/0.3; when ten in a row do not fit, single patches."""
    if config.patches > grid * grid:
        raise ValueError(f"cannot mask {config.patches} of {grid * grid} patches")
    mask = np.zeros((grid, grid), dtype=bool)
    left = config.patches
    while left:
        added = _add_rectangle(rng, mask, left, config.min_block)
        if not added:
            break
        left -= added
    flat = mask.reshape(-1)
    if left:
        flat[rng.choice(np.flatnonzero(~flat), left, replace=False)] = True
    return flat


def _add_rectangle(rng: np.random.Generator, mask: np.ndarray, budget: int, smallest: int) -> int:
    """Mask one rectangle that adds 1..budget patches; how many it added, 0 after ten attempts."""
    grid = mask.shape[0]
    draws = rng.random((_ATTEMPTS, 4)).tolist()
    for area_draw, aspect_draw, top_draw, left_draw in draws:
        area = smallest + (budget - smallest) * area_draw
        aspect = math.exp((2 * aspect_draw - 1) * _LOG_ASPECT)
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (height < grid and width < grid):
            continue
        top, left = int(top_draw * (grid - height + 1)), int(left_draw * (grid - width + 1))
        block = mask[top : top + height, left : left + width]
        added = height * width - int(np.count_nonzero(block))
        if 0 < added <= budget:
            block[...] = True
            return added
    return 0


def masked_count(length: int, config: TokenMaskConfig) -> int:
    """How many of `length` tokens (special ones included) are masked: min(max, max(1, round(length x p)))."""
    return min(config.max_masks, max(1, round(length * config.probability)))


def mask_tokens(
    rng: np.random.Generator,
    ids: Sequence[int],
    words: Sequence[tuple[int, int]],
    config: TokenMaskConfig,
    tokenizer: Tokenizer,
) -> tuple[list[int], list[int], list[int]]:
    """Mask the tokens of one sequence: the ids after masking [T], the chosen positions in rising order [n],
    and the true ids there [n]. Words are visited in random order; with probability `config.skipgram` a word
    brings the next along, up to a run of `config.skipgram_size`. All pieces of a word are masked or none, so
    the count may stay below `masked_count`; only when every word is longer than the whole count is one masked
    in part. A chosen token becomes the mask token (80 %), a random ordinary token (10 %), or stays (10 %)."""
    if not words:
        return list(ids), [], []
    chosen = _choose(rng, words, masked_count(len(ids), config), config)
    masked = list(ids)
    for position, draw in zip(chosen, rng.random(len(chosen)).tolist(), strict=True):
        if draw < 0.8:
            masked[position] = tokenizer.mask
        elif draw < 0.9:
            ordinary = tokenizer.ordinary_ids  # a random pad would shift the positions
            masked[position] = int(ordinary[int((draw - 0.8) * 10 * len(ordinary))])
    return masked, chosen, [ids[position] for position in chosen]


def maskable(
    ids: Sequence[int], word_ids: Sequence[int | None], whole: bool, tokenizer: Tokenizer
) -> list[tuple[int, int]]:
    """First position and end of every word that may be masked, in order. `word_ids` [T] is None or negative
    at special tokens; unless `whole`, each token is a word of its own."""
    found: list[tuple[int, int]] = []
    previous: int | None = None
    for position, (index, word) in enumerate(zip(ids, word_ids, strict=True)):
        if word is None or word < 0 or index in tokenizer.special_ids:
            previous = None
        elif whole and word == previous:
            found[-1] = found[-1][0], position + 1
        else:
            found.append((position, position + 1))
            previous = word
    return found


def _choose(
    rng: np.random.Generator, words: Sequence[tuple[int, int]], budget: int, config: TokenMaskConfig
) -> list[int]:
    sizes = [end - start for start, end in words]
    draws = rng.random((3, len(words)))
    order = draws[0].argsort().tolist()
    skips, runs = draws[1:].tolist()
    longest = config.skipgram_size if config.skipgram > 0 and config.skipgram_size >= 2 else 1
    taken: dict[int, None] = {}  # a set that keeps the order of taking
    count = 0
    for word in order:
        if count >= budget:
            break
        if word in taken or sizes[word] > budget:
            continue
        run = 1
        if longest > 1 and skips[word] < config.skipgram:
            run = 2 + int(runs[word] * (longest - 1))
        for member in range(word, min(word + run, len(words))):
            if member not in taken and sizes[member] <= budget:
                taken[member] = None
                count += sizes[member]
    if count > budget:  # a run or a long word went over: drop random words, as the published masks do
        for word in rng.permutation(list(taken)).tolist():
            if count <= budget:
                break
            del taken[word]
            count -= sizes[word]
    for word in order:  # and fill what that left open with words that fit
        if count >= budget:
            break
        if word not in taken and sizes[word] <= budget - count:
            taken[word] = None
            count += sizes[word]
    if not taken:  # every word is longer than the budget
        start = words[order[0]][0] + int(runs[0] * (sizes[order[0]] - budget + 1))
        return list(range(start, start + budget))
    return [position for word in sorted(taken) for position in range(*words[word])]
