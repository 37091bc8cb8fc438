"""What pair and region batches have in common: texts, and the pictures or regions that they describe."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.data.schema import MaskedTokens, PairBatch, RegionBatch, Tokens
from xfm.modeling.queries import ImageBank, TextBank


@dataclass(frozen=True)
class TextRows:
    """R texts and the pictures, or regions of pictures, that they describe.

    Attributes:
        bank: states of the I pictures.
        image: [R] int64, the picture of each row.
        slot: [R] int64, the slot of that picture that stands for the row; None for the whole picture's.
        visible: [R, P] bool, or None where rows see all patches.
        tokens, masked: texts.
        texts: states of the unmasked texts.
        image_identity, text_identity: [R] int64, see `same_identity`.
    """

    bank: ImageBank
    image: Tensor
    slot: Tensor | None
    visible: Tensor | None
    tokens: Tokens
    masked: MaskedTokens
    texts: TextBank
    image_identity: Tensor
    text_identity: Tensor

    @property
    def slot0(self) -> Tensor:
        """[R, Dv] what stands for the picture or region of each row."""
        return self.bank.slots[:, 0] if self.slot is None else self.bank.slots[self.image, self.slot]


def pair_rows(batch: PairBatch, image: Tensor, text: Tensor) -> TextRows:
    """TextRows of a pair batch with the states of its pictures [B, 1 + P, Dv] and captions [B, T, Dt]."""
    return TextRows(
        bank=ImageBank(slots=image[:, :1], patches=image[:, 1:]),
        image=torch.arange(len(image), device=image.device),
        slot=None,
        visible=None,
        tokens=batch.tokens,
        masked=batch.masked,
        texts=TextBank(text, batch.tokens.mask),
        image_identity=batch.image_identity,
        text_identity=batch.text_identity,
    )


def region_rows(batch: RegionBatch, image: Tensor, text: Tensor) -> TextRows:
    """TextRows of a region batch with the states of its pictures and phrases, as `pair_rows`.

    A region's slot is the mean of its patches.
    """
    patches, index = image[:, 1:], batch.image_index
    earlier = (index[:, None] == index).tril(-1)
    slot = 1 + earlier.sum(1)  # rows of a picture take its slots 1, 2, ...
    most = int(slot.max()) if batch.most is None else batch.most
    weights = patches.new_zeros(len(image), 1 + most, patches.shape[1], dtype=torch.float32)
    weights[index, slot] = batch.visible / batch.visible.sum(1, keepdim=True)
    means = weights[:, 1:].to(patches.dtype) @ patches  # [I, S - 1, P] x [I, P, Dv]
    return TextRows(
        bank=ImageBank(slots=torch.cat([image[:, :1], means], dim=1), patches=patches),
        image=index,
        slot=slot,
        visible=batch.visible,
        tokens=batch.tokens,
        masked=batch.masked,
        texts=TextBank(text, batch.tokens.mask),
        image_identity=batch.image_identity,
        text_identity=batch.text_identity,
    )
