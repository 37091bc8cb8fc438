"""A model with what running it needs, and pictures encoded once."""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from xfm.config.artifacts import Arithmetic
from xfm.config.pipelines import UrlRules
from xfm.config.training import Precision
from xfm.data.collate import LENGTH_STEP, round_up
from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer, normalise_caption
from xfm.inference.input_parsing import Item
from xfm.inference.picture_inputs import Picture
from xfm.models.artifacts import model_pixels
from xfm.models.folder import Pretrained
from xfm.models.heads import Encoded
from xfm.models.precision import autocast, resolve
from xfm.models.self_check import verify_here
from xfm.models.xfm import XFM

KEPT = 256 << 20  # bytes of encoded pictures that are kept for later rows
WINDOW = 4  # batches whose rows are sorted by length together
_STEP = 8
"""Pictures of a larger pass on a CPU are a multiple of this: oneDNN keeps what it builds for each shape, some
MiB a number of pictures in bf16, and a server meets all numbers."""


@dataclass(frozen=True)
class Engine:
    """A model and how it is run.

    Attributes:
        pretrained: in evaluation mode on `device`.
        name: of the model, for messages.
        device: where the model is.
        precision: arithmetic of the forward passes.
        batch_size: rows per pass.
        urls: what may be fetched; None fetches nothing.
        readers: threads that read pictures ahead; 0 reads them when it is their turn.
    """

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
        """Most tokens of a text: what the fine-tuning saw, else what the model has positions for."""
        task, limit = self.pretrained.task, self._positions
        return min(limit, task.task.max_tokens) if task is not None and task.task.max_tokens else limit

    @property
    def longest_written(self) -> int:
        """Most tokens of a text that a decoder writes; the last one is not read again."""
        return self._positions + 1

    @property
    def _positions(self) -> int:
        return self.model.config.language.longest

    def arithmetic(self) -> AbstractContextManager[object]:
        """The context of forward passes."""
        return autocast(self.precision, self.device)

    def check(self) -> None:
        """Compare the model, where and as it runs, with its self-check; in float32 on a CPU, reading did.

        Raises:
            UserError: it is not what it was when it was saved.
        """
        half = resolve(self.precision, self.device) is Precision.BF16
        if half or self.device.type != "cpu":
            with self.arithmetic():
                kind = Arithmetic.BF16 if half else Arithmetic.FLOAT32
                verify_here(self.name, self.model, self.pretrained.belongings, kind)


class EncodedPictures:
    """The vision encoder's outputs: those of the rows at hand, and of earlier rows while they fit.

    They lie in one block, which grows to the limit and stays. In a piece of memory each they would lie
    between what passes allocate and free, and the piece of one that left would not do for the next: to align
    what it gives, glibc looks for more than that takes. The memory of servers grew by such holes.

    Args:
        engine: the model.
        limit: bytes of outputs that are kept; more only where the rows at hand need more.
    """

    def __init__(self, engine: Engine, limit: int = KEPT) -> None:
        self._engine, self._limit = engine, limit
        self._places: OrderedDict[bytes, int] = OrderedDict()  # in the block; needed last is last
        self._free: list[int] = []
        self._block: Tensor | None = None  # [S, 1 + P, Dv]

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    @property
    def nbytes(self) -> int:
        """Bytes of the block."""
        return 0 if self._block is None else self._block.nbytes

    def need(self, pictures: Sequence[Picture], also: Sequence[bytes] = ()) -> None:
        """Encode those of the pictures that are not there; others than they leave where room is short.

        Args:
            pictures: what is needed.
            also: identities of pictures that are there and must stay.
        """
        distinct = {picture.key: picture for picture in pictures}
        missing = [picture for key, picture in distinct.items() if key not in self._places]
        needed = distinct.keys() | set(also)
        for key in needed & self._places.keys():
            self._places.move_to_end(key)
        rest = iter(missing)
        for count in self._passes(len(missing)):
            self._encode([*islice(rest, count)], len(needed))

    def _passes(self, count: int) -> Iterator[int]:
        step = _STEP if self._engine.device.type == "cpu" else 1
        while count:
            part = min(count, self._engine.batch_size)
            part -= part % step if part > step else 0
            yield part
            count -= part

    @torch.inference_mode()
    def _encode(self, pictures: Sequence[Picture], needed: int) -> None:
        engine = self._engine
        pixels = torch.stack([picture.pixels for picture in pictures]).to(engine.device)
        with engine.arithmetic():
            states = engine.model.encode_image(model_pixels(pixels, engine.pretrained.preprocessing))
        block = self._with_room(states, max(needed, self._limit // states[0].nbytes))
        places = [self._free.pop() for _ in pictures]
        block[torch.tensor(places, device=block.device)] = states
        self._places.update(zip((picture.key for picture in pictures), places, strict=True))

    def _with_room(self, states: Tensor, most: int) -> Tensor:
        """The block with free places for states [N, 1 + P, Dv], of `most` pictures in all."""
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
        return block

    def stack(self, keys: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Outputs of pictures that are there.

        Returns:
            [I, 1 + P, Dv] of the distinct pictures in the order of first appearance, and [N] int64, the place
            of each key's picture.
        """
        assert self._block is not None, "nothing was encoded"
        device, order = self._block.device, {key: place for place, key in enumerate(dict.fromkeys(keys))}
        states = self._block[torch.tensor([self._places[key] for key in order], device=device)]
        return states, torch.tensor([order[key] for key in keys], device=device)


@dataclass(frozen=True)
class InputBatch(Encoded):
    """Rows that are answered in one pass.

    Attributes:
        items: R rows of the same number of texts and of pictures.
        keys: identities of the I distinct pictures.
    """

    items: Sequence[Item] = ()
    keys: Sequence[bytes] = ()


def as_captions(engine: Engine, texts: Sequence[str]) -> Tokens:
    """[R, T] texts as the model reads captions."""
    return engine.tokenizer.encode_batch([normalise_caption(text) for text in texts], engine.longest).tokens


def cut(tokens: Tokens, rows: Sequence[int], longest: int) -> Tokens:
    """Some rows without padding that none of them needs, but for few different lengths."""
    index = torch.tensor(rows)
    mask = tokens.mask[index]
    length = min(round_up(int(mask.sum(dim=1).max()), LENGTH_STEP), mask.shape[1], longest)
    return Tokens(tokens.ids[index, :length], mask[:, :length])


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute on one thread of a CPU during the block.

    Sums are split among threads, and rounded accordingly; with one, numbers are the same however many
    processes share a machine.
    """
    before = torch.get_num_threads()
    if device.type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
