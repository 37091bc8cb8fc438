"""How many tokens each text of a corpus has: counted once on a machine, and kept."""

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from xfm.core.files import open_regular, write_data
from xfm.core.locks import in_turn
from xfm.core.paths import cache_folder
from xfm.data.builder import SHORT
from xfm.data.collate import LENGTH_STEP
from xfm.data.records import BadRecordError
from xfm.data.schema import TensorFields, TextSample
from xfm.data.sources.base import RecordSource
from xfm.data.tokenizer import Tokenizer
from xfm.data.workers import Failure, load_steps

SMALL = 4096
"""Texts that every process counts for itself."""
_AT_ONCE = 4096
_MOST = 255
_log = logging.getLogger(__name__)


def text_lengths(
    source: RecordSource, tokenizer: Tokenizer, max_tokens: int, workers: int, timeout: float
) -> tuple[np.ndarray, list[int]]:
    """The tokens of all texts, counted or found: [N] uint8 as index into a list of lengths; a bad record has
    that of its replacement. Of a large corpus one process of a machine counts while the others wait, and the
    counts are kept in the user's cache, a byte a text. Raises UserError where a loader process dies or
    hangs."""
    step = LENGTH_STEP * -(-max_tokens // (LENGTH_STEP * _MOST))
    tokens = [min(place * step, max_tokens) for place in range(_MOST + 1)]
    count = partial(_lengths, source, tokenizer, max_tokens, step)
    if len(source) <= SMALL:
        return _counted(count, len(source), 0, timeout), tokens
    said = f"{source.version()}\n{max_tokens}\n{tokenizer.to_json()}"
    place = cache_folder() / "lengths" / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.npy"
    with ExitStack() as held:
        found = None
        try:
            held.enter_context(in_turn(place))
            with contextlib.suppress(FileNotFoundError, ValueError, EOFError), open_regular(place) as stream:
                found = np.load(stream, allow_pickle=False)
        except OSError as error:
            _log.warning("%s cannot be used (%s): every process counts tokens", place, error.strerror)
        if found is None or found.shape != (len(source),) or found.dtype != np.uint8 or not found.all():
            found = _counted(count, len(source), workers, timeout)
            np.save(data := io.BytesIO(), found, allow_pickle=False)
            with contextlib.suppress(OSError):  # then they are counted again
                write_data(place, data.getvalue())
    return found, tokens


def _counted(count: "Callable[[int], _Lengths]", size: int, workers: int, timeout: float) -> np.ndarray:
    parts = range(-(-size // _AT_ONCE))
    found = np.zeros(size, np.uint8)
    with tqdm(None, "counting tokens", size, unit="text", disable=None, delay=2.0) as bar:
        for part, counts in enumerate(load_steps(count, parts, workers, timeout, pin=False)):
            assert not isinstance(counts, Failure)
            start = part * _AT_ONCE
            found[start : start + len(counts.lengths)] = counts.lengths.numpy()
            bar.update(len(counts.lengths))
    good = np.flatnonzero(found)
    if not len(good):
        return np.full(size, _MOST, np.uint8)
    bad = np.flatnonzero(found == 0)
    found[bad] = found[good[np.searchsorted(good, bad) % len(good)]]
    return found


@dataclass(frozen=True)
class _Lengths(TensorFields):
    """[M] uint8 lengths of texts that follow one another, 0 of bad records."""

    lengths: Tensor


def _lengths(source: RecordSource, tokenizer: Tokenizer, max_tokens: int, step: int, part: int) -> _Lengths:
    start = part * _AT_ONCE
    stop = min(start + _AT_ONCE, len(source))
    if source.distant:
        source.expect(start, stop)
    counts, texts = np.zeros(stop - start, np.int64), dict[int, str]()
    for index in range(start, stop):
        try:
            sample = source.read(index)
        except BadRecordError:
            continue
        assert isinstance(sample, TextSample)
        # Of a longer one another part is read each time, which may have as many as there may be.
        if len(sample.text) > SHORT * max_tokens:
            counts[index - start] = max_tokens
        else:
            texts[index - start] = sample.text
    encoded = tokenizer.encode_lists(list(texts.values()), max_tokens)
    counts[list(texts)] = [len(ids) for ids, _ in encoded]
    return _Lengths(torch.from_numpy((-(-counts // step)).astype(np.uint8)))
