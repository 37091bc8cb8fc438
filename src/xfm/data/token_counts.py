"""How many tokens each text of a corpus has: counted once on a machine, and kept."""

import hashlib
import io
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class TextLengths:
    """`of` [N] uint8: lengths as index into `tokens`; a bad record has that of its replacement."""

    of: np.ndarray
    tokens: list[int]


def text_lengths(
    source: RecordSource, tokenizer: Tokenizer, max_tokens: int, workers: int, timeout: float
) -> TextLengths:
    """Count the tokens of all texts, or find earlier counts. Of a large corpus one process of a machine
    counts while the others wait, and the counts are kept in the user's cache, a byte a text. Raises UserError
    where a loader process dies or hangs."""
    step = LENGTH_STEP * -(-max_tokens // (LENGTH_STEP * _MOST))
    tokens = [min(place * step, max_tokens) for place in range(_MOST + 1)]
    counting = _TokenCounting(source, tokenizer, max_tokens, step)
    if len(source) <= SMALL:
        return TextLengths(_counted(counting, 0, timeout), tokens)
    said = f"{source.version()}\n{max_tokens}\n{tokenizer.to_json()}"
    place = cache_folder() / "lengths" / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.npy"
    with ExitStack() as held:
        try:
            held.enter_context(in_turn(place))
        except OSError as error:
            _log.warning("%s cannot be written (%s): every process counts tokens", place, error.strerror)
            return TextLengths(_counted(counting, workers, timeout), tokens)
        found = _kept(place, len(source))
        if found is None:
            found = _counted(counting, workers, timeout)
            _keep(place, found)
    return TextLengths(found, tokens)


def _kept(place: Path, size: int) -> np.ndarray | None:
    try:
        with open_regular(place) as stream:
            found = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (size,) and found.dtype == np.uint8 and found.all() else None


def _keep(place: Path, lengths: np.ndarray) -> None:
    data = io.BytesIO()
    np.save(data, lengths, allow_pickle=False)
    try:
        write_data(place, data.getvalue())
    except OSError as error:
        _log.warning("%s cannot be written (%s): tokens are counted again", place, error.strerror)


def _counted(counting: "_TokenCounting", workers: int, timeout: float) -> np.ndarray:
    size = len(counting.source)
    parts = range(-(-size // _AT_ONCE))
    found = np.zeros(size, np.uint8)
    with tqdm(None, "counting tokens", size, unit="text", disable=None, delay=2.0) as bar:
        for part, counts in enumerate(load_steps(counting, parts, workers, timeout, pin=False)):
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
class _PartLengths(TensorFields):
    """[M] uint8 lengths of texts that follow one another, 0 of bad records."""

    lengths: Tensor


@dataclass(frozen=True)
class _TokenCounting:
    source: RecordSource
    tokenizer: Tokenizer
    max_tokens: int
    step: int

    def __call__(self, part: int) -> _PartLengths:
        start = part * _AT_ONCE
        stop = min(start + _AT_ONCE, len(self.source))
        if self.source.distant:
            self.source.expect(start, stop)
        counts, texts = np.zeros(stop - start, np.int64), dict[int, str]()
        for index in range(start, stop):
            try:
                sample = self.source.read(index)
            except BadRecordError:
                continue
            assert isinstance(sample, TextSample)
            # Of a longer one another part is read each time, which may have as many as there may be.
            if len(sample.text) > SHORT * self.max_tokens:
                counts[index - start] = self.max_tokens
            else:
                texts[index - start] = sample.text
        encoded = self.tokenizer.encode_lists(list(texts.values()), self.max_tokens)
        counts[list(texts)] = [len(ids) for ids, _ in encoded]
        return _PartLengths(torch.from_numpy((-(-counts // self.step)).astype(np.uint8)))
