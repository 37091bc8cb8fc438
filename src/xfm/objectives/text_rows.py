"""Texts with the images or regions that they describe: the common form of pair and region batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.data.schema import MaskedTokens, PairBatch, RegionBatch
from xfm.models.fusion import ImageBank, TextBank


@dataclass(frozen=True)
class PairEmbeddings:
    """Unit vectors [R, E] float32 of images (or regions) and texts, and their identities [R] int64."""

    image: Tensor
    text: Tensor
    image_identity: Tensor
    text_identity: Tensor

    @staticmethod
    def join(parts: Sequence["PairEmbeddings"]) -> "PairEmbeddings":
        """Concatenation."""
        names = ("image", "text", "image_identity", "text_identity")
        return PairEmbeddings(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def same_identity(
    image_identity: Tensor, text_identity: Tensor, everyone: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """[R, N] bool pairs that are no negatives: equal image (in regions: image and box) or equal text, of
    rows [R] with `everyone` [N] (default: themselves)."""
    images, texts = everyone or (image_identity, text_identity)
    return torch.logical_or(image_identity[:, None] == images, text_identity[:, None] == texts)


@dataclass(frozen=True)
class TextRows:
    """R texts with their image [R] int64 of the bank, `slot` [R] (None: the whole image's) and `visible`
    patches [R, P] (None: all); `texts` has the unmasked states."""

    bank: ImageBank
    image: Tensor
    texts: TextBank
    image_identity: Tensor
    text_identity: Tensor
    slot: Tensor | None = None
    visible: Tensor | None = None
    masked: MaskedTokens | None = None

    @property
    def slot0(self) -> Tensor:
        """[R, Dv] vector of each row's image or region."""
        return self.bank.slots[:, 0] if self.slot is None else self.bank.slots[self.image, self.slot]


def image_rows(
    image: Tensor, texts: TextBank, identities: tuple[Tensor, Tensor], masked: MaskedTokens | None = None
) -> TextRows:
    """Rows of whole images [R, 1 + P, Dv] with a text each; identities [R] int64 of images and texts."""
    bank, rows = ImageBank(image[:, :1], image[:, 1:]), torch.arange(len(image), device=image.device)
    return TextRows(bank, rows, texts, *identities, masked=masked)


def pair_rows(batch: PairBatch, image: Tensor, text: Tensor) -> TextRows:
    """TextRows of a pair batch with the states of its pictures [B, 1 + P, Dv] and captions [B, T, Dt]."""
    identities = batch.image_identity, batch.text_identity
    return image_rows(image, TextBank(text, batch.tokens.mask), identities, batch.masked)


def region_rows(batch: RegionBatch, image: Tensor, text: Tensor) -> TextRows:
    """TextRows of a region batch, as `pair_rows`; a region's slot is the mean of its patches."""
    patches, index = image[:, 1:], batch.image_index
    earlier = (index[:, None] == index).tril(-1)
    slot = 1 + earlier.sum(1)  # rows of a picture take its slots 1, 2, ...
    most = int(slot.max()) if batch.most is None else batch.most
    dtype = torch.promote_types(patches.dtype, torch.float32)
    weights = patches.new_zeros(len(image), 1 + most, patches.shape[1], dtype=dtype)
    weights[index, slot] = batch.visible / batch.visible.sum(1, keepdim=True, dtype=dtype)
    means = weights[:, 1:].to(patches.dtype) @ patches  # [I, S - 1, P] x [I, P, Dv]
    bank = ImageBank(torch.cat([image[:, :1], means], dim=1), patches)
    texts = TextBank(text, batch.tokens.mask)
    identities = batch.image_identity, batch.text_identity
    return TextRows(bank, index, texts, *identities, slot, batch.visible, batch.masked)


def padded(texts: Tensor, length: int) -> Tensor:
    """[R, T, ...] of texts -> [R, length, ...] with zeros, or False, behind."""
    return F.pad(texts, (*[0, 0] * (texts.dim() - 2), 0, length - texts.shape[1]))


def longer(texts: TextBank, length: int) -> TextBank:
    """The same texts with more padding."""
    return TextBank(padded(texts.states, length), padded(texts.mask, length))


def with_others(rows: TextRows, pictures: Tensor, visible: Tensor | None, texts: TextBank) -> TextRows:
    """Rows with others' images [n, 1 + P, Dv], their visible patches [n, P] and texts behind them, which
    are no rows of their own."""
    bank, said = rows.bank, rows.texts
    slots = F.pad(pictures[:, :1], (0, 0, 0, bank.slots.shape[1] - 1))  # a region's slot stands first
    new = torch.arange(len(bank.patches), len(bank.patches) + len(pictures), device=pictures.device)
    seen = rows.visible
    if seen is not None:
        assert visible is not None
        seen = torch.cat([seen, visible])
    return replace(
        rows,
        bank=ImageBank(torch.cat([bank.slots, slots]), torch.cat([bank.patches, pictures[:, 1:]])),
        image=torch.cat([rows.image, new]),
        slot=None if rows.slot is None else torch.cat([rows.slot, torch.zeros_like(new)]),
        visible=seen,
        texts=TextBank(torch.cat([said.states, texts.states]), torch.cat([said.mask, texts.mask])),
    )
