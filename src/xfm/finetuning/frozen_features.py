"""Features of labelled pictures by a frozen encoder, or their pixels; and neighbours by features."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from xfm.config.probing import FrozenConfig
from xfm.core.errors import UserError
from xfm.data.images import UnreadableImage, load_image
from xfm.data.skipped import SkippedRecords
from xfm.metrics.classification import Array
from xfm.models.artifacts import framed, model_pixels
from xfm.models.encoders import AnyVision
from xfm.models.folder import Preprocessing
from xfm.models.precision import autocast
from xfm.tasks.rows import Labelled

ROWS = 8192
"""Rows of a block: features may be a memory map, and what is computed of all rows may be much."""


class LabelledFeatures(NamedTuple):
    """Features [N, D] float and labels [N]."""

    features: Array
    labels: Array


def frozen_image_features(
    vision: AnyVision,
    preprocessing: Preprocessing,
    config: FrozenConfig,
    device: torch.device,
    rows: Sequence[Labelled],
    split: str,
    left_out: SkippedRecords,
    progress: bool = False,
) -> LabelledFeatures:
    """Slot 0 of a vision encoder in evaluation mode for the rows whose picture can be read. UserError: too
    many cannot, or the model makes NaN of one."""
    loader: DataLoader[Any] = DataLoader(
        rows,  # pyright: ignore[reportArgumentType]
        config.batch_size,
        num_workers=config.workers,
        collate_fn=partial(_framed, preprocessing),
        pin_memory=torch.cuda.is_available(),
    )
    found: list[Array] = []
    kept: list[int] = []
    with (
        torch.inference_mode(),
        tqdm(total=len(rows), desc=f"{split} pictures", unit="picture", disable=not progress) as bar,
    ):
        for number, (batch, reasons) in enumerate(loader):
            pixels = model_pixels(batch, preprocessing)
            with autocast(config.precision, device):
                states = vision(pixels.to(device)).float()  # [B, 1 + P, D]
            found.append(states[:, 0].cpu().numpy())
            for place, reason in enumerate(reasons, start=number * config.batch_size):
                if reason:
                    left_out.add(rows[place].place or str(rows[place].image), reason)
                else:
                    kept.append(place)
            bar.update(len(batch))
    left_out.count(split, split, len(rows), len(rows) - len(kept))
    values = np.concatenate(found)[kept]
    if len(wrong := np.flatnonzero(np.isnan(values[:, 0]))):
        raise UserError(
            f"{rows[kept[wrong[0]]].shown}: the model makes no numbers of this picture, but NaN; choose "
            "another precision, or look at the model"
        )
    return LabelledFeatures(values, np.array([rows[place].label for place in kept]))


def _framed(preprocessing: Preprocessing, rows: Sequence[Labelled]) -> tuple[Tensor, list[str]]:
    """Pictures as the model frames them, blank where one cannot be read, and the reasons."""
    pictures = torch.zeros(len(rows), 3, *preprocessing.shape, dtype=torch.uint8)
    reasons = [""] * len(rows)
    for place, row in enumerate(rows):
        try:
            pictures[place] = framed(load_image(row.image), preprocessing)
        except UnreadableImage as error:
            reasons[place] = f"{row.place}: {error}" if row.place else str(error)
    return pictures, reasons


def blocks(count: int, size: int = ROWS) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `count` of them."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def concatenated(first: LabelledFeatures, second: LabelledFeatures) -> LabelledFeatures:
    """The rows of two splits."""
    return LabelledFeatures(*map(np.concatenate, zip(first, second, strict=True)))


def deviations_of(features: Array) -> Array:
    """[D] standard deviations, 1 where a feature is constant, computed in blocks of rows."""
    total, square = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for rows in blocks(len(features)):
        block = np.asarray(features[rows], dtype=np.float64)
        total, square = total + block.sum(0), square + (block**2).sum(0)
    mean = total / len(features)
    variance = np.clip(square / len(features) - mean**2, 0, None)
    constant = variance <= 1e-12 * np.maximum(mean**2, 1e-300)
    return np.where(constant, 1.0, np.sqrt(variance))


def raw_pixels(pictures: torch.Tensor, side: int) -> NDArray[np.float32]:
    """Pictures [N, 3, S, S] uint8 or float -> [N, 3 * side * side] float32."""
    small = [
        torch.nn.functional.interpolate(
            part.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
        for part in pictures.split(256)
    ]
    return torch.cat(small).flatten(1).numpy()


NEIGHBOUR_BLOCK = 16 << 20
"""Cosines of queries with training rows that are held at once."""


def nearest_neighbours(train: LabelledFeatures, test: LabelledFeatures, k: int) -> Array:
    """Labels [N] by the majority of the `k` training rows of largest cosine; ties go to the larger sum of
    cosines."""
    classes, codes = np.unique(train.labels, return_inverse=True)
    labels = csr_array((np.ones(len(codes)), (np.arange(len(codes)), codes)))
    known, found = _unit_rows(train.features), list[Array]()
    for rows in blocks(len(test.features), max(1, NEIGHBOUR_BLOCK // len(known))):
        nearest, votes = _nearest(known, _unit_rows(test.features[rows]), k)
        places = np.arange(len(votes)).repeat(votes.shape[1]), nearest.ravel()
        shares: Any = csr_array((votes.ravel(), places), (len(votes), len(known))) @ labels
        found.append(shares.toarray().argmax(axis=1))
    return classes[np.concatenate(found)]


def _unit_rows(features: Array) -> NDArray[np.float32]:
    """Rows of length 1, in blocks that fit into memory as float64."""
    return np.concatenate([unit(features[rows]).astype(np.float32) for rows in blocks(len(features))])


def _nearest(known: Array, queries: Array, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places [N, k] of largest cosine, and the weight of each vote."""
    similarity = queries @ known.T  # [N, M]
    k = min(k, similarity.shape[1])
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    cosines = np.take_along_axis(similarity, nearest, axis=1)
    # Cosines of k neighbours sum to at most k, so a thousandth of their mean never outweighs a vote.
    return nearest, 1.0 + cosines / (1000.0 * k)


def unit(features: Array) -> NDArray[np.float64]:
    """Rows of [N, D] scaled to length 1; a zero row stays zero."""
    features = features.astype(np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)
