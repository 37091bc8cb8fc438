"""Images and texts encoded once, in batches, for evaluations without training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from xfm.config.training import Precision
from xfm.core.files import writing
from xfm.data.collate import padded_tokens
from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.models.composition import Backbone
from xfm.models.encoders import encode_first
from xfm.models.precision import autocast, working_dtype

_AS_INTEGERS = {torch.bfloat16: np.int16, torch.float16: np.int16, torch.float32: np.int32}
"""NumPy has no bfloat16: bits are kept as they are."""


class States:
    """Rows of states of various lengths without padding, in memory or in an unnamed file below `folder`.
    Reading copies the rows asked for, so that the process does not grow with the file."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._file = None if folder is None else TemporaryFile(dir=folder)  # noqa: SIM115
        self._parts: list[Tensor] = []  # what is in memory; of a file only a row of none, for dtype and width
        self._ends = np.zeros(1, np.int64)  # of no row, and of each row

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] int64 length of each row."""
        return np.diff(self._ends)

    @property
    def bytes_in_memory(self) -> int:
        """Bytes held in memory; next to none where the rows lie in a file."""
        return sum(part.nbytes for part in self._parts)

    def append(self, states: Tensor, mask: Tensor | None = None) -> None:
        """Add rows [N, T, D] bfloat16, float16 or float32 with a mask [N, T] bool of real states, which
        come first; a UserError if the disk is full."""
        if self._parts and states.dtype != self._parts[0].dtype:
            raise ValueError(f"states of {states.dtype} among those of {self._parts[0].dtype}")
        lengths = [states.shape[1]] * len(states) if mask is None else mask.sum(dim=1).tolist()
        kept = states.flatten(0, 1) if mask is None else states[mask]  # [sum of lengths, D]
        if self._file is None or self.folder is None:
            self._parts.append(kept)
        else:
            self._parts = self._parts or [kept[:0].cpu()]
            with writing(self.folder, "or name another folder"):
                self._file.write(kept.cpu().contiguous().view(torch.uint8).numpy().tobytes())
                self._file.flush()
        self._ends = np.append(self._ends, self._ends[-1] + np.cumsum(lengths, dtype=np.int64))

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """[N] int64 rows -> states [N, T, D] and mask [N, T]; masked places repeat the row's last state."""
        assert self._parts, "nothing was appended"
        first, lengths = self._ends[rows], self._ends[rows + 1] - self._ends[rows]
        steps = np.arange(lengths.max())
        places = first[:, None] + np.minimum(steps, lengths[:, None] - 1)  # [N, T]
        if self._file is None:
            if len(self._parts) > 1:
                self._parts = [torch.cat(self._parts)]
            found = self._parts[0][torch.from_numpy(places).to(self._parts[0].device)]
        else:
            dtype, shape = self._parts[0].dtype, (int(self._ends[-1]), self._parts[0].shape[1])
            everything = np.memmap(self._file, dtype=_AS_INTEGERS[dtype], mode="r", shape=shape)
            found = torch.from_numpy(np.asarray(everything[places])).view(dtype)
        return found, torch.from_numpy(steps < lengths[:, None]).to(found.device)


CAPTION_TOKENS = 40
"""Most tokens of a caption where nothing else is said, as the published fine-tunings read them."""


@dataclass(frozen=True)
class Encoder:
    """A model in evaluation mode on `device` with its tokenizer and arithmetic; `batch_size` images or
    texts per pass, four times as many fused pairs."""

    model: Backbone
    tokenizer: Tokenizer
    precision: Precision = Precision.AUTO
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 128
    progress: bool = False

    def heads(self) -> AbstractContextManager[object]:
        """Float32 context for projections and heads: scores rounded to bf16 would tie."""
        return torch.autocast(self.device.type, enabled=False)

    def chunks(self, count: int, size: int, what: str) -> Iterator[slice]:
        """Slices of at most `size` that cover `count` items, with a bar."""
        starts = range(0, count, size)
        for start in tqdm(starts, desc=what, unit="batch", leave=False, disable=not self.progress):
            yield slice(start, min(start + size, count))

    def counted(self, pixels: Iterable[Tensor], count: int) -> Iterator[Tensor]:
        """Batches of `count` pictures in all, with a bar."""
        bar = tqdm(total=count, desc="pictures", unit="picture", leave=False, disable=not self.progress)
        with bar:
            for batch in pixels:
                yield batch
                bar.update(len(batch))


@dataclass(frozen=True)
class EncodedItems:
    """N encoded images or texts: `states` for fusion ([1 + P, Dv] or [T, Dt] each) and `vectors` [N, E]
    float32, unit length, on the CPU."""

    states: States
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.vectors)


def tokenize_captions(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int = CAPTION_TOKENS) -> Tokens:
    """Captions as the model reads them: normalised, [R, T]."""
    encoded = tokenizer.encode_batch([tokenizer.as_caption(text) for text in texts], max_tokens)
    return padded_tokens(encoded, tokenizer)


def encode_images(
    encoder: Encoder, pixels: Iterable[Tensor], count: int, folder: Path | None = None
) -> EncodedItems:
    """Encode `count` images in batches [B, 3, H, W] float32, normalised; `folder` keeps states on disk."""
    model = encoder.model
    batches = (batch.to(encoder.device) for batch in encoder.counted(pixels, count))
    return _encode(encoder, ((model.encode_image(b), None) for b in batches), model.project_image, folder)


def encode_texts(
    encoder: Encoder, texts: Sequence[str], max_tokens: int = CAPTION_TOKENS, folder: Path | None = None
) -> EncodedItems:
    """Encode captions of at most `max_tokens` tokens; otherwise as `encode_images`."""
    parts = encoder.chunks(len(texts), encoder.batch_size, "texts")
    batches = (tokenize_captions(encoder.tokenizer, texts[part], max_tokens) for part in parts)
    return encode_tokens(encoder, batches, folder)


def encode_tokens(encoder: Encoder, batches: Iterable[Tokens], folder: Path | None = None) -> EncodedItems:
    """Encode texts from batches of tokens [B, T]; otherwise as `encode_images`."""
    model, device = encoder.model, encoder.device
    placed = (tokens.to(device) for tokens in batches)
    states = ((model.encode_texts([tokens])[0], tokens.mask) for tokens in placed)
    return _encode(encoder, states, model.project_text, folder)


@torch.inference_mode()
def _encode(
    encoder: Encoder,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    project: Callable[[Tensor], Tensor],
    folder: Path | None,
) -> EncodedItems:
    states, vectors = States(folder), []
    with autocast(encoder.precision, encoder.device):
        for encoded, mask in batches:
            with encoder.heads():
                vectors.append(project(encoded[:, 0].float()).cpu())
            states.append(working_dtype(encoded), mask)
    return EncodedItems(states, torch.cat(vectors))


@torch.inference_mode()
def image_features(encoder: Encoder, pixels: Iterable[Tensor], count: int) -> NDArray[np.float32]:
    """Slot 0 of the vision encoder (mean of the patch vectors), [N, Dv] float32; arguments as of
    `encode_images`."""
    batches = (batch.to(encoder.device) for batch in encoder.counted(pixels, count))
    with autocast(encoder.precision, encoder.device):
        slots = (working_dtype(encoder.model.encode_image(batch)[:, 0]) for batch in batches)
        return torch.cat([slot.float().cpu() for slot in slots]).numpy()


@torch.inference_mode()
def text_features(encoder: Encoder, batches: Iterable[Tokens]) -> NDArray[np.float32]:
    """Token 0 of the language encoder, [N, Dt] float32, of batches of tokens [B, T]."""
    model, device = encoder.model, encoder.device
    pairs = ((tokens.ids.to(device), tokens.mask.to(device)) for tokens in batches)
    with autocast(encoder.precision, device):
        return torch.cat([encode_first(model.language, *pair).float().cpu() for pair in pairs]).numpy()
