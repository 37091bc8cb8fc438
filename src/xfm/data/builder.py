"""The batch of a step from the four streams: a pure function of (configuration, seed, step). The number of
processes and their ranks decide only which of its samples are built here."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfm.config.data import Augmentation, DataConfig
from xfm.data import collate
from xfm.data.masking import mask_patches
from xfm.data.records import SampleKind
from xfm.data.schema import Batch, ImageBatch, ImageSample, PairBatch, RegionBatch, TextBatch, TextSample
from xfm.data.streams import CorpusStream, DrawnSample, RecordTally
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import Box, image_view, move_boxes, names_a_side, region_view, show
from xfm.data.variation import recolour

# A text of up to 4 characters for each token that it may have is taken from its beginning; of a longer one a
# window from a random word is taken, which for every script holds more tokens than are needed.
_SHORT, _WINDOW = 4, 16
_LARGE = 144
"""Rows of a batch beyond which some may be left out."""
_Row = tuple[collate.TextRow, int, Box | None, int]
"""A text, its image, its box (None: it describes the whole image) and the identity of the two."""


def rank_share(count: int, group: int, rank: int, world: int) -> range:
    """A process's range of a batch of `count` samples: neighbours, whole groups, as evenly as possible. The
    shares of all ranks together are 0..count-1, whatever `world` is."""
    groups = count // group
    first, last = (groups * number // world * group for number in (rank, rank + 1))
    return range(first, last)


class BatchBuilder:
    """Builds the batch of any step; pixels stay uint8: a quarter of the bytes between processes."""

    def __init__(
        self,
        config: DataConfig,
        streams: Sequence[CorpusStream],
        tokenizer: Tokenizer,
        image_size: int,
        patch_size: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._config = config
        self._streams = {stream.kind: stream for stream in streams}
        self._texts = collate.TokenCache(tokenizer)
        self._size, self._patch = image_size, patch_size
        self._rank, self._world = rank, world

    def __call__(self, step: int) -> Batch | RecordTally:
        """This rank's share of the batch of `step`, pixels uint8; what was met where nothing can be used."""
        met = RecordTally()
        items: dict[SampleKind, list[DrawnSample]] = {}
        for kind, stream in self._streams.items():  # positions of all processes follow one another
            whole = stream.positions(step)
            own = rank_share(len(whole), stream.mixture.group, self._rank, self._world)
            if (drawn := stream.items(whole[own.start : own.stop], met)) is None:
                return met
            items[kind] = drawn
        makers: Any = dict(zip(SampleKind, (self._text, self._image, self._pair, self._region), strict=True))
        parts = {kind.value: makers[kind](found) for kind, found in items.items() if found}
        origins = tuple(sample.origin for found in items.values() for sample, _, _ in found)
        return Batch(step, **parts, origins=origins, skipped=tuple(met.skipped), reads=tuple(met.reads))

    def _text(self, items: Sequence[DrawnSample[TextSample]]) -> TextBatch:
        config = self._config.text_mask
        rows = [(passage(rng, sample.text, config.max_tokens), rng) for sample, rng, _ in items]
        return TextBatch(*collate.collate_tokens(rows, config, self._texts))

    def _image(self, items: Sequence[DrawnSample[ImageSample]]) -> ImageBatch:
        mode = self._streams[SampleKind.IMAGE].augmentation
        pictures = [self._picture(item, mode, may_flip=True) for item in items]
        return ImageBatch(collate.stack_pixels(pictures), self._patch_masks(items))

    def _pair(self, items: Sequence[DrawnSample[ImageSample]]) -> PairBatch:
        mode = self._streams[SampleKind.PAIR].augmentation
        pictures, rows = [], []
        for item in items:
            sample, rng, _ = item
            caption = sample.captions[int(rng.random() * len(sample.captions))]
            pictures.append(self._picture(item, mode, not names_a_side(sample.captions)))
            rows.append((self._texts.tokenizer.as_caption(caption, self._config.max_words), rng))
        tokens, masked = collate.collate_tokens(rows, self._config.caption_mask, self._texts)
        return PairBatch(
            pixels=collate.stack_pixels(pictures),
            tokens=tokens,
            masked=masked,
            image_identity=torch.tensor([picture for _, _, picture in items]),
            text_identity=torch.tensor([collate.text_identity(text) for text, _ in rows]),
            patch_mask=self._patch_masks(items) if self._config.patch_mask.on_pairs else None,
        )

    def _region(self, items: Sequence[DrawnSample[ImageSample]]) -> RegionBatch:
        """An image gives at most `max_regions` rows: a random caption where `caption_rows` asks for it, and
        random regions that survive the crop (of one row a region); of them `mean_regions` an image stay."""
        config, rows = self._config, list[_Row]()
        pictures = [self._add_image(rows, one, image) for image, one in enumerate(items)]
        if 0 < (most := int(config.mean_regions * len(items))) < len(rows):
            rows = [rows[place] for place in sorted(items[0][1].permutation(len(rows))[:most].tolist())]
        if len(rows) > _LARGE:
            del rows[len(rows) // config.row_multiple * config.row_multiple :]
        texts, images = [row[0] for row in rows], [row[1] for row in rows]
        boxes, identities = [row[2] for row in rows], [row[3] for row in rows]
        tokens, masked = collate.collate_tokens(texts, config.caption_mask, self._texts)
        is_image = torch.tensor([box is None for box in boxes], dtype=torch.bool)
        return RegionBatch(
            pixels=collate.stack_pixels(pictures),
            image_index=torch.tensor(images, dtype=torch.int64),
            visible=collate.visible_patches(boxes, self._patch, self._size // self._patch),
            boxes=collate.box_targets(boxes, self._size),
            is_image=is_image,
            tokens=tokens,
            masked=masked,
            image_identity=torch.tensor(identities, dtype=torch.int64),
            text_identity=torch.tensor([collate.text_identity(text) for text, _ in texts], dtype=torch.int64),
            boxed=(~is_image).nonzero().squeeze(1),
            most=max(Counter(images).values(), default=0),
        )

    def _add_image(self, rows: list[_Row], item: DrawnSample[ImageSample], image: int) -> Tensor:
        """Add the rows of one picture, and return it as the model sees it: [3, S, S] uint8."""
        config, mode = self._config, self._streams[SampleKind.REGION].augmentation
        sample, rng, picture = item
        height, width = sample.pixels.shape[1:]
        boxes = [box for _, box in sample.regions]
        texts = (*sample.captions, *(phrase for phrase, _ in sample.regions))
        view = region_view(rng, (width, height), boxes, mode, not names_a_side(texts))
        moved = move_boxes(boxes, view, self._size)
        room, as_caption = config.max_regions, self._texts.tokenizer.as_caption
        if config.caption_rows and sample.captions and (room > 1 or not boxes):
            caption = sample.captions[int(rng.random() * len(sample.captions))]
            text = as_caption(caption, config.max_words), rng
            rows.append((text, image, None, collate.box_identity(picture, (0, 0, width, height))))
            room -= 1
        kept = [i for i, box in enumerate(moved) if box is not None]
        if len(kept) > room:
            kept = rng.permutation(kept)[:room].tolist()
        for i in kept:
            phrase, box = sample.regions[i]
            text = as_caption(phrase, config.max_words), rng
            rows.append((text, image, moved[i], collate.box_identity(picture, box)))
        return recolour(rng, show(sample.pixels, view, self._size), mode, has_boxes=True)

    def _picture(self, item: DrawnSample[ImageSample], mode: Augmentation, may_flip: bool) -> Tensor:
        sample, rng, _ = item
        view = image_view(rng, (sample.pixels.shape[2], sample.pixels.shape[1]), mode, may_flip)
        return recolour(rng, show(sample.pixels, view, self._size), mode, has_boxes=False)

    def _patch_masks(self, items: Sequence[DrawnSample]) -> Tensor:
        grid = self._size // self._patch
        config = self._config.patch_mask
        return torch.from_numpy(np.stack([mask_patches(rng, grid, config) for _, rng, _ in items]))


def passage(rng: np.random.Generator, text: str, max_tokens: int) -> str:
    """The part of a text that is read: all of it, or a window from a random word when it is likely to be too
    long. The tokenizer cuts the rest, so that all parts of long texts are seen over the epochs."""
    if len(text) <= _SHORT * max_tokens:
        return text
    start = int(rng.random() * (len(text) - _SHORT * max_tokens + 1))
    space = text.find(" ", start) if start else -1
    start = space + 1 if 0 <= space < len(text) - 1 else start
    return text[start : start + _WINDOW * max_tokens]
