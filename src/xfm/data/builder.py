"""One step's batch from the four streams: a pure function of (configuration, seed, rank, world, step)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xfm.config.data import Augmentation, DataConfig
from xfm.data.collate import (
    TextRow,
    box_identity,
    box_targets,
    collate_tokens,
    identity,
    stack_pixels,
    text_identity,
    visible_patches,
)
from xfm.data.masking import mask_patches
from xfm.data.mixture import Mixture
from xfm.data.records import BadRecordError, Record, to_sample
from xfm.data.rng import Stream, sample_generator
from xfm.data.schema import (
    BadRecord,
    Batch,
    ImageBatch,
    ImageSample,
    Origin,
    PairBatch,
    PairSample,
    RegionBatch,
    RegionSample,
    TextBatch,
    TextSample,
)
from xfm.data.sources import Sample, Source
from xfm.data.tokenizer import Tokenizer, normalise_caption
from xfm.data.transforms import Box, move_boxes, names_a_side, picture_view, recolour, region_view, show

# Characters of a long text that are looked at, for each token that it may have: enough for every script.
_CHARACTERS_PER_TOKEN = 16


class NoUsableRecordError(Exception):
    """So many bad records in a row that a sample could not be replaced."""


@dataclass(frozen=True)
class CorpusStream:
    """One stream: its corpora, the order in which they are visited, and how pictures are varied."""

    stream: Stream
    batch_size: int
    sources: Sequence[Source]
    mixture: Mixture
    augmentation: Augmentation

    def read(self, position: int, attempts: int, skipped: list[BadRecord]) -> tuple[Record, Sample]:
        """The sample at `position`; a bad record is noted in `skipped` and the next one of its corpus taken.

        Raises:
            NoUsableRecordError: when `attempts` records in a row are bad.
        """
        corpus, index = self.mixture.locate(position)
        source = self.sources[corpus]
        for attempt in range(min(attempts, len(source))):
            try:
                record = source.record((index + attempt) % len(source))
                return record, to_sample(record, source.kind, source.limits)
            except BadRecordError as error:
                skipped.append(BadRecord(error.origin, error.reason))
        raise NoUsableRecordError


@dataclass(frozen=True)
class _Item:
    """A sample with its generator and the identity of its picture."""

    sample: Sample
    rng: np.random.Generator
    picture: int


@dataclass
class _RegionRows:
    """Rows of a region batch while it grows."""

    texts: list[TextRow]
    boxes: list[Box | None]
    images: list[int]
    identities: list[int]


class BatchBuilder:
    """Builds the batch of any step. Pixels stay uint8: a quarter of the bytes between processes.

    Args:
        config: the data configuration.
        streams: the streams that take part.
        tokenizer: the vocabulary.
        image_size: side of the pictures in pixels.
        patch_size: side of a patch in pixels.
        seed: seed of everything random.
        rank, world: this process and the number of processes.
    """

    def __init__(
        self,
        config: DataConfig,
        streams: Sequence[CorpusStream],
        tokenizer: Tokenizer,
        *,
        image_size: int,
        patch_size: int,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        self._config = config
        self._streams = {stream.stream: stream for stream in streams}
        self._tokenizer = tokenizer
        self._size, self._patch = image_size, patch_size
        self._grid = image_size // patch_size
        self._seed, self._rank, self._world = seed, rank, world

    def __call__(self, step: int) -> Batch:
        """The batch of `step`, pictures as uint8.

        Raises:
            UnusableError: when bad records could not be replaced.
        """
        skipped: list[BadRecord] = []
        origins: list[Origin] = []
        try:
            items = {stream: self._items(stream, step, skipped) for stream in self._streams}
        except NoUsableRecordError:
            raise UnusableError(tuple(skipped)) from None
        for found in items.values():
            origins.extend(item.sample.origin for item in found)
        text, image = items.get(Stream.TEXT), items.get(Stream.IMAGE)
        pair, region = items.get(Stream.PAIR), items.get(Stream.REGION)
        return Batch(
            step=step,
            text=self._text(text) if text else None,
            image=self._image(image) if image else None,
            pair=self._pair(pair) if pair else None,
            region=self._region(region) if region else None,
            origins=tuple(origins),
            skipped=tuple(skipped),
        )

    def _items(self, stream: Stream, step: int, skipped: list[BadRecord]) -> list[_Item]:
        """This process's samples of a step; the processes' positions follow one another."""
        corpora = self._streams[stream]
        first = (step * self._world + self._rank) * corpora.batch_size
        items = []
        for position in range(first, first + corpora.batch_size):
            record, sample = corpora.read(position, self._config.max_bad + 1, skipped)
            picture = 0 if record.picture is None else identity(record.picture)
            items.append(_Item(sample, sample_generator(self._seed, stream, position), picture))
        return items

    def _text(self, items: Sequence[_Item]) -> TextBatch:
        rows = [
            TextRow(passage(item.rng, item.sample.text, self._config.text_mask.max_tokens), item.rng)
            for item in items
            if isinstance(item.sample, TextSample)
        ]
        return TextBatch(*collate_tokens(rows, self._config.text_mask, self._tokenizer))

    def _image(self, items: Sequence[_Item]) -> ImageBatch:
        mode = self._streams[Stream.IMAGE].augmentation
        pictures = [
            self._picture(item.rng, item.sample.pixels, mode, may_flip=True)
            for item in items
            if isinstance(item.sample, ImageSample)
        ]
        return ImageBatch(stack_pixels(pictures), self._patch_masks(items))

    def _picture(
        self, rng: np.random.Generator, pixels: Tensor, mode: Augmentation, may_flip: bool
    ) -> Tensor:
        height, width = pixels.shape[1:]
        view = picture_view(rng, (width, height), mode, may_flip)
        return recolour(rng, show(pixels, view, self._size), mode, has_boxes=False)

    def _patch_masks(self, items: Sequence[_Item]) -> Tensor:
        masks = [mask_patches(item.rng, self._grid, self._config.patch_mask) for item in items]
        return torch.from_numpy(np.stack(masks))

    def _pair(self, items: Sequence[_Item]) -> PairBatch:
        mode = self._streams[Stream.PAIR].augmentation
        pictures, rows = [], []
        for item in items:
            sample = item.sample
            assert isinstance(sample, PairSample)
            caption = sample.captions[int(item.rng.random() * len(sample.captions))]
            may_flip = mode is Augmentation.PUBLISHED and not names_a_side(sample.captions)
            pictures.append(self._picture(item.rng, sample.pixels, mode, may_flip))
            rows.append(TextRow(normalise_caption(caption, self._config.max_words), item.rng))
        tokens, masked = collate_tokens(rows, self._config.caption_mask, self._tokenizer)
        return PairBatch(
            pixels=stack_pixels(pictures),
            tokens=tokens,
            masked=masked,
            image_identity=torch.tensor([item.picture for item in items]),
            text_identity=torch.tensor([text_identity(row.text) for row in rows]),
            patch_mask=self._patch_masks(items) if self._config.patch_mask.on_pairs else None,
        )

    def _region(self, items: Sequence[_Item]) -> RegionBatch:
        rows = _RegionRows([], [], [], [])
        pictures = [self._region_rows(item, image, rows) for image, item in enumerate(items)]
        tokens, masked = collate_tokens(rows.texts, self._config.caption_mask, self._tokenizer)
        return RegionBatch(
            pixels=stack_pixels(pictures),
            image_index=torch.tensor(rows.images),
            visible=visible_patches(rows.boxes, self._patch, self._grid),
            boxes=box_targets(rows.boxes, self._size),
            is_image=torch.tensor([box is None for box in rows.boxes]),
            tokens=tokens,
            masked=masked,
            image_identity=torch.tensor(rows.identities),
            text_identity=torch.tensor([text_identity(row.text) for row in rows.texts]),
        )

    def _region_rows(self, item: _Item, image: int, rows: _RegionRows) -> Tensor:
        """Add the rows of one picture: a caption when it has any, then regions, `max_regions` rows in all."""
        sample, rng = item.sample, item.rng
        assert isinstance(sample, RegionSample)
        mode = self._streams[Stream.REGION].augmentation
        height, width = sample.pixels.shape[1:]
        boxes = [region.box for region in sample.regions]
        may_flip = mode is Augmentation.PUBLISHED and not (
            names_a_side(sample.captions) or names_a_side(region.phrase for region in sample.regions)
        )
        view = region_view(rng, (width, height), boxes, mode, may_flip)
        moved = move_boxes(boxes, view, self._size)
        left = self._config.max_regions
        # With room for one row only, it is a region, or the boxes would never be learned.
        if sample.captions and (left > 1 or not boxes):
            caption = sample.captions[int(rng.random() * len(sample.captions))]
            self._add(rows, rng, image, caption, None, box_identity(item.picture, (0, 0, width, height)))
            left -= 1
        kept = [i for i, box in enumerate(moved) if box is not None]
        if len(kept) > left:
            kept = rng.permutation(kept)[:left].tolist()
        for i in kept:
            region = sample.regions[i]
            self._add(rows, rng, image, region.phrase, moved[i], box_identity(item.picture, region.box))
        return recolour(rng, show(sample.pixels, view, self._size), mode, has_boxes=True)

    def _add(
        self,
        rows: _RegionRows,
        rng: np.random.Generator,
        image: int,
        text: str,
        box: Box | None,
        row_identity: int,
    ) -> None:
        rows.texts.append(TextRow(normalise_caption(text, self._config.max_words), rng))
        rows.boxes.append(box)
        rows.images.append(image)
        rows.identities.append(row_identity)


class UnusableError(Exception):
    """A batch that could not be assembled; carries the bad records."""

    def __init__(self, skipped: tuple[BadRecord, ...]) -> None:
        super().__init__(skipped)
        self.skipped = skipped


def passage(rng: np.random.Generator, text: str, max_tokens: int) -> str:
    """The text, or a passage from a random word of it when it is far longer than `max_tokens` tokens can hold."""
    room = _CHARACTERS_PER_TOKEN * max_tokens
    if len(text) <= room:
        return text
    start = int(rng.random() * (len(text) - room))
    space = text.find(" ", start, start + room)
    start = space + 1 if space >= 0 else start
    return text[start : start + room]
