"""Samples and batches: the types that data, model and objectives share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from xfm.core.errors import printable


# ---------------------------------------------------------------- samples
@dataclass(frozen=True)
class Origin:
    """Where a record came from, for messages: shard or file, and key or row. Its text is safe to print."""

    shard: str
    key: str

    def __str__(self) -> str:
        return printable(f"{self.shard}:{self.key}")


@dataclass(frozen=True)
class TextSample:
    """Plain text."""

    text: str
    origin: Origin


RegionAnnotation = tuple[str, tuple[float, float, float, float]]
"""A phrase and its box: left, top, width, height in pixels of the upright picture (COCO's order)."""


@dataclass(frozen=True)
class ImageSample:
    """An image [3, H, W] uint8, of pairs and regions with captions of the whole, and phrases with boxes."""

    pixels: Tensor
    origin: Origin
    captions: tuple[str, ...] = ()
    regions: tuple[RegionAnnotation, ...] = ()


# ---------------------------------------------------------------- batches
@dataclass(frozen=True)
class TensorFields:
    """A dataclass whose tensors move together."""

    def map(self, convert: Callable[[Tensor], Tensor]) -> Self:
        """A copy with `convert` applied to every tensor, nested ones included."""
        moved: dict[str, object] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Tensor):
                moved[one.name] = convert(value)
            elif isinstance(value, TensorFields):
                moved[one.name] = value.map(convert)
        return replace(self, **moved)

    def to(self, device: torch.device | str) -> Self:
        """A copy on `device`."""
        return self.map(lambda t: t.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """A copy in page-locked memory (called by DataLoader)."""
        return self.map(lambda t: t.pin_memory())


@dataclass(frozen=True)
class Tokens(TensorFields):
    """Token sequences with special tokens: `ids` [R, T] int64, padded on the right; `mask` [R, T] bool."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class MaskedTokens(TensorFields):
    """The same sequences masked for MLM / IMLM: `ids` [R, T] int64 after 80/10/10 corruption; `positions` [R,
    M] int64 to predict, padded with 0; true ids `labels` [R, M], -100 in the padding; `places` [N] int64 of
    the labels among R * M, None where unknown: a device that is asked has to finish all its work first."""

    ids: Tensor
    positions: Tensor
    labels: Tensor
    places: Tensor | None = None


@dataclass(frozen=True)
class TextBatch(TensorFields):
    """Plain text with masks; only the masked ids enter the model."""

    tokens: Tokens
    masked: MaskedTokens


@dataclass(frozen=True)
class ImageBatch(TensorFields):
    """Images for MIM: `pixels` [B, 3, H, W] float32, normalised; `patch_mask` [B, P] bool."""

    pixels: Tensor
    patch_mask: Tensor


@dataclass(frozen=True)
class PairBatch(TensorFields):
    """Images `pixels` [B, 3, H, W] float32, normalised, with one caption [B, T] each; identities [B] int64,
    equal for equal images and equal normalised captions; `patch_mask` [B, P] bool where MIM takes pairs."""

    pixels: Tensor
    tokens: Tokens
    masked: MaskedTokens
    image_identity: Tensor
    text_identity: Tensor
    patch_mask: Tensor | None = None


@dataclass(frozen=True)
class RegionBatch(TensorFields):
    """R phrases [R, T] over I images: `pixels` [I, 3, H, W] float32, normalised; `image_index` [R] int64;
    `visible` [R, P] bool, the patches that the region touches (all for captions of the whole image); `boxes`
    [R, 4] float32, (cx, cy, w, h) as fractions of the sides; `is_image` [R] bool, True where there is no box;
    identities [R] int64 of (image, box), of phrases; `boxed` [N] int64, rows with boxes; `most`,
    the most rows of an image (None: unknown)."""

    pixels: Tensor
    image_index: Tensor
    visible: Tensor
    boxes: Tensor
    is_image: Tensor
    tokens: Tokens
    masked: MaskedTokens
    image_identity: Tensor
    text_identity: Tensor
    boxed: Tensor | None = None
    most: int | None = None


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be used, or only in part, and why."""

    origin: Origin
    reason: str


@dataclass(frozen=True)
class StreamReads:
    """Records that a stream read for a batch, bad ones, and images passed over without regions."""

    kind: str
    read: int = 0
    skipped: int = 0
    passed_over: int = 0


@dataclass(frozen=True)
class Batch(TensorFields):
    """The batch of an optimiser step, with the origin of every sample, bad records, and reads by stream."""

    step: int
    text: TextBatch | None = None
    image: ImageBatch | None = None
    pair: PairBatch | None = None
    region: RegionBatch | None = None
    origins: tuple[Origin, ...] = ()
    skipped: tuple[BadRecord, ...] = ()
    reads: tuple[StreamReads, ...] = ()

    def only(self, names: Iterable[str]) -> "Batch":
        """A batch of these kinds alone, without what is said about the samples."""
        return Batch(self.step, **{name: getattr(self, name) for name in names})
