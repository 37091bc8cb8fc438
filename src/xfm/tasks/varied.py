"""Training pictures of a batch, each varied once, and the rows that are true of what is shown of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from xfm.config.image import ImageTrainingConfig, Sides
from xfm.data.transforms import Box, View, names_a_side, show
from xfm.data.variation import augmentation, training_view
from xfm.tasks.pictures import Pictures
from xfm.tasks.sampling import Drawn, seeded

Row = TypeVar("Row")
_STREAM = 1
"""Keeps these draws apart from others that begin with the same seed and step."""


@dataclass(frozen=True)
class Sight:
    """What a batch shows of a picture.

    Attributes:
        pixels: [3, S, S] uint8.
        view: the part that is shown of a picture of `size`, and whether it is mirrored.
        size: width and height of the picture.
    """

    pixels: Tensor
    view: View
    size: tuple[int, int]

    def moved(self, box: Box) -> Box:
        """A box (left, top, right, bottom as fractions of the picture's sides) in fractions of the view's."""
        (width, height), view = self.size, self.view
        left, right = ((x * width - view.left) / view.width for x in (box[0], box[2]))
        top, bottom = ((y * height - view.top) / view.height for y in (box[1], box[3]))
        if view.flip:
            left, right = 1 - right, 1 - left
        return max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)


class Varying:
    """Varies the pictures of training batches.

    Args:
        config: how.
        pictures: that are varied.
    """

    def __init__(self, config: ImageTrainingConfig, pictures: Pictures) -> None:
        self._config, self._pictures = config, pictures
        self._augment = augmentation(config, pictures.preprocessing.shape)

    def sights(
        self,
        drawn: Drawn[Row],
        pictures_of: Callable[[Row], Sequence[Path]],
        texts_of: Callable[[Row], Sequence[str]],
        boxes_of: Callable[[Row], Sequence[Box]],
    ) -> dict[Path, Sight]:
        """What a step's batch shows of each distinct picture of the rows that are taken of it.

        Args:
            drawn: the rows; a picture's view follows from all rows of the batch that have it.
            pictures_of: the pictures of a row.
            texts_of: what is said about them.
            boxes_of: what must stay in the view, as fractions of the picture's sides.
        """
        texts: dict[Path, list[str]] = {}
        boxes: dict[Path, list[Box]] = {}
        for row in drawn.batch:
            for path in pictures_of(row):
                texts.setdefault(path, []).extend(texts_of(row))
                boxes.setdefault(path, []).extend(boxes_of(row))
        wanted = {path for row in drawn.rows for path in pictures_of(row)}
        keeps = self._config.sides is Sides.KEEP
        found: dict[Path, Sight] = {}
        for place, (path, said) in enumerate(texts.items()):
            if path in wanted:
                may_flip = not (keeps and names_a_side(said))
                found[path] = self._sight(path, (drawn.seed, drawn.step, place), boxes[path], may_flip)
        return found

    def _sight(self, path: Path, place: tuple[int, int, int], boxes: Sequence[Box], may_flip: bool) -> Sight:
        """One picture; without a crop the squashed one is enough, which is read once for all steps."""
        shape = self._pictures.preprocessing.shape
        picture = self._pictures.whole(path) if self._config.crops else self._pictures.uint8(path)
        size = width, height = picture.shape[2], picture.shape[1]
        rng = np.random.default_rng((*place, _STREAM))
        kept = [(x * width, y * height, right * width, low * height) for x, y, right, low in boxes]
        view = training_view(rng, self._config, size, kept, may_flip)
        pixels = show(picture, view, shape)
        if self._augment is not None:
            with seeded(int(rng.integers(1 << 62))):
                pixels = self._augment(pixels)
        return Sight(pixels, view, size)


def shown_pictures(pictures: Pictures, sights: Mapping[Path, Sight]) -> Pictures:
    """The pictures of a batch as it shows them."""
    return pictures.showing({path: sight.pixels for path, sight in sights.items()})
