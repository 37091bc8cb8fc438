"""Samples and batches: the types that data, model and objectives share."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
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


@dataclass(frozen=True)
class ImageSample:
    """A picture without text. `pixels` is [3, H, W] uint8; `flaw` says why only a part of it is there."""

    pixels: Tensor
    origin: Origin
    flaw: str | None = None


@dataclass(frozen=True)
class PairSample:
    """A picture and one or more captions; `pixels` and `flaw` as in `ImageSample`."""

    pixels: Tensor
    captions: tuple[str, ...]
    origin: Origin
    flaw: str | None = None


@dataclass(frozen=True)
class RegionAnnotation:
    """A phrase and its box: left, top, width, height in pixels of the upright picture (COCO's order)."""

    phrase: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class RegionSample:
    """A picture, captions of the whole of it (possibly none), and phrases with boxes."""

    pixels: Tensor
    captions: tuple[str, ...]
    regions: tuple[RegionAnnotation, ...]
    origin: Origin
    flaw: str | None = None


# ---------------------------------------------------------------- batches
def _moved(value: object, convert: Callable[[Tensor], Tensor]) -> object:
    if isinstance(value, Tensor):
        return convert(value)
    return value.map(convert) if isinstance(value, TensorFields) else value


@dataclass(frozen=True)
class TensorFields:
    """A dataclass whose tensors move together."""

    def map(self, convert: Callable[[Tensor], Tensor]) -> Self:
        """A copy with `convert` applied to every tensor, nested ones included."""
        return replace(
            self, **{f.name: _moved(getattr(self, f.name), convert) for f in fields(self) if f.init}
        )

    def to(self, device: torch.device | str) -> Self:
        """A copy on `device`."""
        return self.map(lambda t: t.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """A copy in page-locked memory (called by DataLoader)."""
        return self.map(lambda t: t.pin_memory())


@dataclass(frozen=True)
class Tokens(TensorFields):
    """Padded token sequences, special tokens included.

    Attributes:
        ids: [R, T] int64, padded on the right with the pad id.
        mask: [R, T] bool, True at real tokens.
    """

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class MaskedTokens(TensorFields):
    """The same sequences after masking for MLM / IMLM.

    Attributes:
        ids: [R, T] int64 after 80/10/10 corruption.
        positions: [R, M] int64 positions to predict, padded with 0.
        labels: [R, M] int64 true ids, -100 in the padding.
        places: [N] int64, where labels stand among the R * M, counted row by row. None where nobody has
            looked: a device that is asked has to finish all its work first.
    """

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
    """Pictures for MIM.

    Attributes:
        pixels: [B, 3, H, W] float32, normalised.
        patch_mask: [B, P] bool, True at patches that are replaced by the mask vector.
    """

    pixels: Tensor
    patch_mask: Tensor


@dataclass(frozen=True)
class PairBatch(TensorFields):
    """Pictures with one caption each. Row r of the text belongs to picture r.

    Attributes:
        pixels: [B, 3, H, W] float32, normalised.
        tokens, masked: [B, T] captions and their masked copies.
        image_identity: [B] int64, equal for equal pictures.
        text_identity: [B] int64, equal for equal (normalised) captions.
        patch_mask: [B, P] bool for MIM, or None when MIM takes no pairs.
    """

    pixels: Tensor
    tokens: Tokens
    masked: MaskedTokens
    image_identity: Tensor
    text_identity: Tensor
    patch_mask: Tensor | None = None


@dataclass(frozen=True)
class RegionBatch(TensorFields):
    """Pictures with several phrases each; R rows over I pictures.

    Attributes:
        pixels: [I, 3, H, W] float32, normalised.
        image_index: [R] int64, the picture of each row.
        visible: [R, P] bool, the patches that the row's region touches (all for whole-picture captions).
        boxes: [R, 4] float32, (cx, cy, w, h) as fractions of the picture's sides.
        is_image: [R] bool, True where the text describes the whole picture (no box losses there).
        tokens, masked: [R, T] phrases.
        image_identity: [R] int64, equal for equal (picture, box); different regions of a picture differ.
        text_identity: [R] int64, equal for equal (normalised) phrases.
        boxed: [N] int64, the rows that have a box; None where nobody has looked.
        most: rows of a picture that no other has more of; None likewise.
    """

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
    """What a stream has read for a batch, and what it did not take of that.

    Attributes:
        kind: of the stream.
        read: records.
        skipped: bad ones.
        passed_over: pictures without regions where regions are needed.
    """

    kind: str
    read: int = 0
    skipped: int = 0
    passed_over: int = 0


@dataclass(frozen=True)
class Batch(TensorFields):
    """Everything one optimiser step sees; absent kinds are None.

    Attributes:
        step: index of the step this batch belongs to.
        origins: where every sample came from, for messages.
        skipped: bad records met while assembling the batch.
        partial: records in it of whose picture a part only could be decoded.
        regionless: pictures without regions that its region stream came to and passed over.
        reads: what each stream has read for it.
    """

    step: int
    text: TextBatch | None = None
    image: ImageBatch | None = None
    pair: PairBatch | None = None
    region: RegionBatch | None = None
    origins: tuple[Origin, ...] = ()
    skipped: tuple[BadRecord, ...] = field(default=())
    partial: tuple[BadRecord, ...] = field(default=())
    regionless: int = 0
    reads: tuple[StreamReads, ...] = field(default=())

    @property
    def by_source(self) -> dict[str, "Batch"]:
        """A batch of each kind that is there alone, by its name; only tensors are shared among them."""
        kinds = {"text": self.text, "image": self.image, "pair": self.pair, "region": self.region}
        return {name: Batch(self.step, **{name: kind}) for name, kind in kinds.items() if kind is not None}
