"""Pictures and texts encoded once, in batches, for everything that is evaluated without training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from xfm.config.training import Precision
from xfm.data.schema import Tokens
from xfm.data.shapes import padded_tokens
from xfm.data.tokenizer import Tokenizer, normalise_caption
from xfm.modeling.composition import Backbone
from xfm.modeling.precision import autocast
from xfm.modeling.states import States

CAPTION_TOKENS = 40
"""Most tokens of a caption where nothing else is said, as the published fine-tunings read them."""


@dataclass(frozen=True)
class Encoder:
    """A model in evaluation mode with what encoding needs.

    Attributes:
        model: on `device`.
        tokenizer: the model's tokenizer.
        precision: arithmetic of the forward passes.
        device: where the model is.
        batch_size: pictures or texts per pass; fused pairs per pass are four times as many.
        progress: show bars.
    """

    model: Backbone
    tokenizer: Tokenizer
    precision: Precision = Precision.AUTO
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 128
    progress: bool = False

    def heads(self) -> AbstractContextManager[object]:
        """Context for projections and heads: always float32.

        They cost next to nothing, and scores rounded to bf16 would tie with each other.
        """
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
    """Encoded pictures or texts.

    Attributes:
        states: what fusion takes of the N pictures or texts: [1 + P, Dv] each, or [T, Dt] without padding;
            bfloat16 in bf16 arithmetic, else float32.
        vectors: [N, E] float32 unit vectors, on the CPU.
    """

    states: States
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.vectors)


def tokenize_captions(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int = CAPTION_TOKENS) -> Tokens:
    """Captions as the model reads them: normalised, [R, T]."""
    encoded = tokenizer.encode_batch([normalise_caption(text) for text in texts], max_tokens)
    return padded_tokens(encoded, tokenizer)


def encode_images(
    encoder: Encoder, pixels: Iterable[Tensor], count: int, folder: Path | None = None
) -> EncodedItems:
    """Encode pictures that come in batches.

    Args:
        encoder: the model.
        pixels: batches [B, 3, H, W] float32, normalised.
        count: number of pictures in all.
        folder: where the states lie, see `States`; None keeps them in memory.

    Raises:
        UserError: the disk is full.
    """
    model = encoder.model
    batches = (batch.to(encoder.device) for batch in encoder.counted(pixels, count))
    return _encode(encoder, ((model.encode_image(b), None) for b in batches), model.project_image, folder)


def encode_texts(
    encoder: Encoder, texts: Sequence[str], max_tokens: int = CAPTION_TOKENS, folder: Path | None = None
) -> EncodedItems:
    """Encode captions of at most so many tokens; the rest as of `encode_images`."""
    parts = encoder.chunks(len(texts), encoder.batch_size, "texts")
    return encode_tokens(
        encoder, (tokenize_captions(encoder.tokenizer, texts[part], max_tokens) for part in parts), folder
    )


def encode_tokens(encoder: Encoder, batches: Iterable[Tokens], folder: Path | None = None) -> EncodedItems:
    """Encode texts that come as batches of tokens [B, T]; the rest as of `encode_images`."""
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
    """States [B, T, D] and masks, computed as they are asked for, with the unit vectors of their slot 0."""
    states, vectors = States(folder), []
    with autocast(encoder.precision, encoder.device):
        for encoded, mask in batches:
            with encoder.heads():
                vectors.append(project(encoded[:, 0].float()).cpu())
            states.append(encoded.to(storage_dtype()), mask)
    return EncodedItems(states, torch.cat(vectors))


@torch.inference_mode()
def image_features(encoder: Encoder, pixels: Iterable[Tensor], count: int) -> NDArray[np.float32]:
    """Slot 0 of the vision encoder (the mean of the patch vectors), [N, Dv] float32; takes what
    `encode_images` takes."""
    batches = (batch.to(encoder.device) for batch in encoder.counted(pixels, count))
    with autocast(encoder.precision, encoder.device):
        slots = (encoder.model.encode_image(batch)[:, 0].to(storage_dtype()) for batch in batches)
        return torch.cat([slot.float().cpu() for slot in slots]).numpy()


@torch.inference_mode()
def text_features(encoder: Encoder, batches: Iterable[Tokens]) -> NDArray[np.float32]:
    """Token 0 of the language encoder, [N, Dt] float32, of batches of tokens [B, T]."""
    model, device = encoder.model, encoder.device
    pairs = ((tokens.ids.to(device), tokens.mask.to(device)) for tokens in batches)
    with autocast(encoder.precision, device):
        return torch.cat([model.encode_first(*pair).float().cpu() for pair in pairs]).numpy()


def storage_dtype() -> torch.dtype:
    """Dtype in which states wait for fusion inside `autocast`: what a matrix product would turn them into."""
    if torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
