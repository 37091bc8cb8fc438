"""A model with what running it needs, and pictures encoded once."""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.config.pipelines import UrlRules
from xfm.config.self_check import Arithmetic
from xfm.config.training import Precision
from xfm.data.tokenizer import Tokenizer
from xfm.inference.picture_inputs import Picture
from xfm.modeling.checking import verify_here
from xfm.modeling.folder import Pretrained
from xfm.modeling.pixels import model_pixels
from xfm.modeling.precision import autocast, resolve
from xfm.modeling.xfm import XFM

KEPT = 256 << 20  # bytes of encoded pictures that are kept for later rows
WINDOW = 4  # batches whose rows are sorted by length together


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

    Args:
        engine: the model.
        limit: bytes of outputs that are kept beyond the rows at hand.
    """

    def __init__(self, engine: Engine, limit: int = KEPT) -> None:
        self._engine, self._limit, self._bytes = engine, limit, 0
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._states

    def need(self, pictures: Sequence[Picture], also: Sequence[bytes] = ()) -> None:
        """Encode those of the pictures that are not there; others than they leave where room is short.

        Args:
            pictures: what is needed.
            also: identities of pictures that are there and must stay.
        """
        distinct = {picture.key: picture for picture in pictures}
        missing = [picture for key, picture in distinct.items() if key not in self._states]
        size = self._engine.batch_size
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            for picture, states in zip(part, self._encode(part), strict=True):
                self._states[picture.key] = states
                self._bytes += states.nbytes
        needed = distinct.keys() | set(also)
        for key in needed:
            self._states.move_to_end(key)
        while self._bytes > self._limit and len(self._states) > len(needed):
            _, oldest = self._states.popitem(last=False)
            self._bytes -= oldest.nbytes

    @torch.inference_mode()
    def _encode(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """[1 + P, Dv] of each picture, in memory of its own."""
        engine = self._engine
        pixels = torch.stack([picture.pixels for picture in pictures]).to(engine.device)
        with engine.arithmetic():
            states = engine.model.encode_image(model_pixels(pixels, engine.pretrained.preprocessing))
        return [one.clone() for one in states]

    def stack(self, keys: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Outputs of pictures that are there.

        Returns:
            [I, 1 + P, Dv] of the distinct pictures in the order of first appearance, and [N] int64, the place
            of each key's picture.
        """
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        states = torch.stack([self._states[key] for key in places])
        return states, torch.tensor([places[key] for key in keys], device=states.device)
