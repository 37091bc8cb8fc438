"""Pictures and texts encoded once, in batches, for everything that is evaluated without training."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from xfm.config.training import Precision
from xfm.data.schema import Tokens
from xfm.data.shapes import padded_tokens
from xfm.data.tokenizer import Tokenizer, normalise_caption
from xfm.modeling.composition import Backbone
from xfm.modeling.precision import autocast


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


@dataclass(frozen=True)
class ImageFeatures:
    """Encoded pictures.

    Attributes:
        states: [I, 1 + P, Dv] bfloat16 in bf16 arithmetic, else float32: what fusion attends to.
        vectors: [I, E] float32 unit vectors.
    """

    states: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class TextFeatures:
    """Encoded texts.

    Attributes:
        states: [R, T, Dt], of the arithmetic's dtype.
        mask: [R, T] bool.
        vectors: [R, E] float32 unit vectors.
    """

    states: Tensor
    mask: Tensor
    vectors: Tensor


def tokenize_captions(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int = 40) -> Tokens:
    """Captions as the model reads them: normalised, [R, T]."""
    encoded = tokenizer.encode_batch([normalise_caption(text) for text in texts], max_tokens)
    return padded_tokens(encoded, tokenizer)


@torch.inference_mode()
def encode_images(encoder: Encoder, pixels: Iterable[Tensor], count: int) -> ImageFeatures:
    """Encode pictures that come in batches.

    Args:
        encoder: the model.
        pixels: batches [B, 3, H, W] float32, normalised.
        count: number of pictures in all.
    """
    model, states, vectors = encoder.model, [], []
    bar = tqdm(total=count, desc="pictures", unit="picture", leave=False, disable=not encoder.progress)
    with bar, autocast(encoder.precision, encoder.device):
        for batch in pixels:
            encoded = model.encode_image(batch.to(encoder.device))
            with encoder.heads():
                vectors.append(model.project_image(encoded[:, 0].float()))
            states.append(encoded.to(storage_dtype()))
            bar.update(len(batch))
    return ImageFeatures(torch.cat(states), torch.cat(vectors))


@torch.inference_mode()
def encode_texts(encoder: Encoder, tokens: Tokens) -> TextFeatures:
    """Encode [R, T] tokens."""
    model, states, vectors = encoder.model, [], []
    with autocast(encoder.precision, encoder.device):
        for part in encoder.chunks(len(tokens.ids), encoder.batch_size, "texts"):
            mask = tokens.mask[part].to(encoder.device)
            encoded = model.encode_text(tokens.ids[part].to(encoder.device), mask)
            with encoder.heads():
                vectors.append(model.project_text(encoded[:, 0].float()))
            states.append(encoded.to(storage_dtype()))
    return TextFeatures(torch.cat(states), tokens.mask.to(encoder.device), torch.cat(vectors))


def storage_dtype() -> torch.dtype:
    """Dtype in which states wait for fusion inside `autocast`: what a matrix product would turn them into."""
    if torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
