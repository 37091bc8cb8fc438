"""A model with its device, precision and batch size, and a cache of encoded pictures."""

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.artifacts import FLOAT32, HALF
from xfm.config.pipelines import UrlRules
from xfm.config.training import Precision
from xfm.data.collate import LENGTH_STEP, round_up
from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.inference.input_parsing import InputImage, Item
from xfm.models.artifacts import NO_RERANKING, model_pixels
from xfm.models.folder import Pretrained
from xfm.models.heads import HeadInputs
from xfm.models.precision import autocast, resolve
from xfm.models.self_check import verify
from xfm.models.xfm import XFM

KEPT = 256 << 20  # bytes of encoded pictures that are kept for later rows
WINDOW = 4  # batches whose rows are sorted by length together
_STEP = 8
"""Pictures of a larger pass on a CPU are a multiple of this: oneDNN keeps what it builds for each shape, some
MiB a number of pictures in bf16, and a server meets all numbers."""


@dataclass(frozen=True)
class Engine:
    """A model in evaluation mode and how it runs; `readers` threads read pictures ahead, `urls` None fetches
    none."""

    pretrained: Pretrained
    name: str
    device: torch.device
    precision: Precision
    batch_size: int
    urls: UrlRules | None
    readers: int = 0

    @property
    def model(self) -> XFM:
        """The pre-trained model."""
        return self.pretrained.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; raises UserError where it has none."""
        return self.pretrained.tokenizer

    @property
    def window(self) -> int:
        """Rows that are read before they are answered."""
        return WINDOW * self.batch_size

    @property
    def longest(self) -> int:
        """Most tokens of a text: the fine-tuning's limit, else the model's positions."""
        task, limit = self.pretrained.task, self.model.config.language.longest
        return min(limit, task.task.max_tokens) if task is not None and task.task.max_tokens else limit

    def rerank_depth(self, asked: int) -> int:
        """How many candidates the fusion encoder ranks again: none, with a warning, before it is trained."""
        if asked and not self.pretrained.reranks:
            warnings.warn(f"{self.name}: {NO_RERANKING}", stacklevel=3)
            return 0
        return asked

    def arithmetic(self) -> AbstractContextManager[object]:
        """Autocast context of forward passes."""
        return autocast(self.precision, self.device)

    @torch.inference_mode()
    def image_vectors(self, pixels: Sequence[Tensor]) -> NDArray[np.float32]:
        """Unit vectors [N, E] of pictures [3, H, W] uint8, in one pass."""
        stacked = model_pixels(torch.stack([*pixels]).to(self.device), self.pretrained.preprocessing)
        with self.arithmetic():
            return self.model.embed_image(stacked).float().cpu().numpy()

    def check(self) -> None:
        """Compare the model with its self-check where it runs; reading did so for float32 on a CPU. UserError
        if it fails."""
        half = resolve(self.precision, self.device) is Precision.BF16
        if half or self.device.type != "cpu":
            with self.arithmetic():
                verify(self.name, self.model, self.pretrained.artifacts, HALF if half else FLOAT32)


class EncodedImages:
    """Cache of the vision encoder's outputs, of at most `limit` bytes unless the rows at hand need more. One
    block that grows to the limit and stays: separate tensors between the passes' allocations left holes that
    glibc could not reuse, and the memory of servers grew."""

    def __init__(self, engine: Engine, limit: int = KEPT) -> None:
        self._engine, self._limit = engine, limit
        self._places: OrderedDict[bytes, int] = OrderedDict()  # in the block; needed last is last
        self._free: list[int] = []
        self._block: Tensor | None = None  # [S, 1 + P, Dv]

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def need(self, pictures: Sequence[InputImage], also: Sequence[bytes] = ()) -> None:
        """Encode the missing pictures; others leave where room is short, but those of the keys `also`."""
        distinct = {picture.key: picture for picture in pictures}
        missing = [picture for key, picture in distinct.items() if key not in self._places]
        needed = distinct.keys() | set(also)
        for key in needed & self._places.keys():
            self._places.move_to_end(key)
        step = _STEP if self._engine.device.type == "cpu" else 1
        while missing:
            part = min(len(missing), self._engine.batch_size)
            part -= part % step if part > step else 0
            self._encode(missing[:part], len(needed))
            missing = missing[part:]

    @torch.inference_mode()
    def _encode(self, pictures: Sequence[InputImage], needed: int) -> None:
        engine = self._engine
        pixels = torch.stack([picture.pixels for picture in pictures]).to(engine.device)
        with engine.arithmetic():
            states = engine.model.encode_image(model_pixels(pixels, engine.pretrained.preprocessing))
        most = max(needed, self._limit // states[0].nbytes)
        while len(self._places) + len(states) > most:
            _, place = self._places.popitem(last=False)
            self._free.append(place)
        block = states[:0] if self._block is None else self._block
        if len(self._free) < len(states):
            size = min(most, max(2 * len(block), len(self._places) + len(states)))
            grown = block.new_empty(size, *block.shape[1:])
            grown[: len(block)] = block
            self._free += range(len(block), size)
            self._block = block = grown
        places = [self._free.pop() for _ in pictures]
        block[torch.tensor(places, device=block.device)] = states
        self._places.update(zip((picture.key for picture in pictures), places, strict=True))

    def stack(self, keys: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Outputs [I, 1 + P, Dv] of the distinct keys by first appearance, and each key's place [N] int64."""
        assert self._block is not None, "nothing was encoded"
        device, order = self._block.device, {key: place for place, key in enumerate(dict.fromkeys(keys))}
        states = self._block[torch.tensor([self._places[key] for key in order], device=device)]
        return states, torch.tensor([order[key] for key in keys], device=device)


@dataclass(frozen=True)
class InputBatch(HeadInputs):
    """R rows with as many texts and pictures each, for one pass; `keys` of the I distinct pictures."""

    items: Sequence[Item] = ()
    keys: Sequence[bytes] = ()


def as_captions(engine: Engine, texts: Sequence[str]) -> Tokens:
    """Tokens [R, T] of texts read as captions."""
    tokenizer = engine.tokenizer
    return tokenizer.encode_batch([tokenizer.as_caption(text) for text in texts], engine.longest)


def cut(tokens: Tokens, rows: Sequence[int], longest: int) -> Tokens:
    """Some rows, padded to a few different lengths only."""
    index = torch.tensor(rows)
    mask = tokens.mask[index]
    length = min(round_up(int(mask.sum(dim=1).max()), LENGTH_STEP), mask.shape[1], longest)
    return Tokens(tokens.ids[index, :length], mask[:, :length])


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """One CPU thread in the block: sums are rounded alike however many processes share a machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if device.type == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
