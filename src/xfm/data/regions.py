"""Region batches: a picture gives a caption row and region rows (spec, "Regions")."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xfm.config.data import Augmentation, DataConfig
from xfm.data.augment import recolour
from xfm.data.collate import (
    TextRow,
    box_identity,
    box_targets,
    collate_tokens,
    stack_pixels,
    text_identity,
    visible_patches,
)
from xfm.data.known_texts import KnownTexts
from xfm.data.schema import RegionBatch, RegionSample
from xfm.data.streams import DrawnSample
from xfm.data.tokenizer import normalise_caption
from xfm.data.transforms import Box, may_mirror, move_boxes, region_view, show

_LARGE = 144
"""Rows of a batch beyond which some may be left out."""


@dataclass
class _Rows:
    """The rows of a batch while it grows; a box is None where the text describes the whole picture."""

    texts: list[TextRow] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    identities: list[int] = field(default_factory=list)

    def add(self, text: TextRow, image: int, box: Box | None, identity: int) -> None:
        self.texts.append(text)
        self.boxes.append(box)
        self.images.append(image)
        self.identities.append(identity)

    def trim(self, multiple: int) -> None:
        """Leave out rows at the end of a large batch, so that their number is a multiple."""
        if extra := len(self.texts) % multiple if len(self.texts) > _LARGE else 0:
            for column in (self.texts, self.boxes, self.images, self.identities):
                del column[-extra:]


def collate_regions(
    items: Sequence[DrawnSample[RegionSample]],
    config: DataConfig,
    mode: Augmentation,
    known: KnownTexts,
    size: int,
    patch: int,
) -> RegionBatch:
    """Transform the images, choose the rows, tokenise, mask and stack; pixels stay uint8. An image gives at
    most `config.max_regions` rows: one random caption where it has any and `config.caption_rows` asks for it,
    and random regions that survive the crop. With `max_regions` 1 the row is a region where there is one."""
    rows = _Rows()
    pictures = [_add_picture(rows, item, image, config, mode, size) for image, item in enumerate(items)]
    rows.trim(config.row_multiple)
    tokens, masked = collate_tokens(rows.texts, config.caption_mask, known)
    is_image = torch.tensor([box is None for box in rows.boxes], dtype=torch.bool)
    return RegionBatch(
        pixels=stack_pixels(pictures),
        image_index=torch.tensor(rows.images, dtype=torch.int64),
        visible=visible_patches(rows.boxes, patch, size // patch),
        boxes=box_targets(rows.boxes, size),
        is_image=is_image,
        tokens=tokens,
        masked=masked,
        image_identity=torch.tensor(rows.identities, dtype=torch.int64),
        text_identity=torch.tensor([text_identity(row.text) for row in rows.texts], dtype=torch.int64),
        boxed=(~is_image).nonzero().squeeze(1),
        most=max(Counter(rows.images).values(), default=0),
    )


def _add_picture(
    rows: _Rows,
    item: DrawnSample[RegionSample],
    image: int,
    config: DataConfig,
    mode: Augmentation,
    size: int,
) -> Tensor:
    """Add the rows of one picture, and return it as the model sees it: [3, S, S] uint8."""
    sample, rng = item.sample, item.rng
    height, width = sample.pixels.shape[1:]
    boxes = [region.box for region in sample.regions]
    texts = (*sample.captions, *(region.phrase for region in sample.regions))
    view = region_view(rng, (width, height), boxes, mode, may_mirror(mode, texts))
    moved = move_boxes(boxes, view, size)
    room = config.max_regions
    if config.caption_rows and sample.captions and (room > 1 or not boxes):
        caption = sample.captions[int(rng.random() * len(sample.captions))]
        text = TextRow(normalise_caption(caption, config.max_words), rng)
        rows.add(text, image, None, box_identity(item.picture, (0, 0, width, height)))
        room -= 1
    kept = [i for i, box in enumerate(moved) if box is not None]
    if len(kept) > room:
        kept = rng.permutation(kept)[:room].tolist()
    for i in kept:
        region = sample.regions[i]
        text = TextRow(normalise_caption(region.phrase, config.max_words), rng)
        rows.add(text, image, moved[i], box_identity(item.picture, region.box))
    return recolour(rng, show(sample.pixels, view, size), mode, has_boxes=True)
