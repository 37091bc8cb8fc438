"""Features of labelled pictures, computed once and kept on disk as a memory map.

A file holds the features of one model (its weights, its preprocessing, its arithmetic) for one list of
pictures, and its name says which: `features-<fingerprint>.npy`, [N, D] float32, as NumPy opens it with
`mmap_mode`; it is whole or absent.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from xfm.config.probing import FrozenConfig
from xfm.core.errors import UserError
from xfm.core.files import writing
from xfm.data.images import UnreadablePicture, load_image
from xfm.data.skipped import SkippedRecords
from xfm.models.artifacts import framed, model_pixels
from xfm.models.encoders import VisionLike
from xfm.models.folder import Preprocessing
from xfm.models.precision import autocast, resolve
from xfm.tasks.rows import Labelled

FORMAT = 1  # raise it when features of the same model and pictures become other numbers

Bad = Callable[[int, str], None]
"""Told the index of a picture that cannot be read, and why."""


@dataclass(frozen=True)
class Featuriser:
    """A vision encoder in evaluation mode on `device`; `weights` is their digest, `width` is D."""

    vision: VisionLike
    weights: str
    width: int
    preprocessing: Preprocessing
    config: FrozenConfig
    device: torch.device

    def fingerprint(self, rows: Sequence[Labelled]) -> str:
        """Digest of all that the features of these pictures depend on."""
        says: dict[str, Any] = {
            "format": FORMAT,
            "weights": self.weights,
            "shape": self.preprocessing.shape,
            "normalisation": [self.preprocessing.mean, self.preprocessing.std],
            "interpolation": self.preprocessing.interpolation,
            "framing": self.preprocessing.framing.value,
            "grey": self.preprocessing.grey,
            "precision": resolve(self.config.precision, self.device).value,
            "pictures": _digest(rows),
        }
        return hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()[:16]


def _digest(rows: Sequence[Labelled]) -> str:
    """Of names, sizes and times of change of the files; their bytes are not read."""
    digest = hashlib.sha256()
    for row in rows:
        try:
            status = row.image.stat()
            says = f"{row.image.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
        except (OSError, ValueError):  # whoever reads it is told
            says = f"{row.image.name}\0is not there\n"
        digest.update(says.encode(errors="surrogateescape"))
    return digest.hexdigest()


def usable_features(
    featuriser: Featuriser,
    rows: Sequence[Labelled],
    folder: Path,
    split: str,
    left_out: SkippedRecords,
    progress: bool = False,
) -> tuple[NDArray[np.float32], Sequence[Labelled]]:
    """[K, D] float32 features of the rows whose picture can be read, cached, and these K rows.

    UserError: too many cannot be read, or the disk is full; finished features are kept.
    """

    def bad(index: int, reason: str) -> None:
        left_out.add(rows[index].place or str(rows[index].image), reason)

    values = cached_features(featuriser, rows, folder, f"{split} pictures", progress, bad)
    absent = np.flatnonzero(np.isnan(values[:, 0]))
    for index in absent.tolist():  # of an earlier run, too, which the cache remembers
        bad(index, _why(rows[index]))
    left_out.count(split, split, len(rows), len(absent))
    if not len(absent):
        return values, rows
    kept = np.flatnonzero(~np.isnan(values[:, 0]))
    return values[kept], [rows[place] for place in kept.tolist()]


def _why(row: Labelled) -> str:
    try:
        _picture(row)
    except UnreadablePicture as error:
        return str(error)
    raise UserError(
        f"{row.shown}: the model makes no numbers of this picture, but NaN; choose another precision, or "
        "look at the model"
    )


def cached_features(
    featuriser: Featuriser,
    rows: Sequence[Labelled],
    folder: Path,
    name: str,
    progress: bool,
    bad: Bad,
) -> NDArray[np.float32]:
    """[N, D] float32 features of pictures, a copy-on-write memory map of the cache in `folder`.

    `bad` is told of an unreadable picture, whose features are NaN.
    """
    path = folder / f"features-{featuriser.fingerprint(rows)}.npy"
    if not path.exists():
        with writing(folder, "or choose another folder"):
            folder.mkdir(parents=True, exist_ok=True)
            _encode(featuriser, rows, path, name, progress, bad)
    return np.load(path, mmap_mode="c", allow_pickle=False)


def _encode(
    featuriser: Featuriser, rows: Sequence[Labelled], path: Path, name: str, progress: bool, bad: Bad
) -> None:
    part, shape, done = path.with_suffix(".part.npy"), (len(rows), featuriser.width), 0
    features = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
    with tqdm(total=len(rows), desc=name, unit="picture", disable=not progress) as bar:
        for batch in _vectors(featuriser, rows, bad):
            features[done : done + len(batch)] = batch
            done += len(batch)
            bar.update(len(batch))
    features.flush()
    del features
    part.replace(path)


@torch.inference_mode()
def _vectors(featuriser: Featuriser, rows: Sequence[Labelled], bad: Bad) -> Iterator[NDArray[np.float32]]:
    config, device = featuriser.config, featuriser.device
    for pixels in _pixel_batches(rows, featuriser.preprocessing, config, bad):
        with autocast(config.precision, device):
            states = featuriser.vision(pixels.to(device)).float()  # [B, 1 + P, D]
        yield states[:, 0].cpu().numpy()


def _pixel_batches(
    rows: Sequence[Labelled], preprocessing: Preprocessing, config: FrozenConfig, bad: Bad
) -> Iterator[Tensor]:
    """Batches [B, 3, S, S] float32 of the pictures; unreadable ones are NaN."""
    loader: DataLoader[Any] = DataLoader(
        _FramedDataset(rows, partial(framed, preprocessing=preprocessing), preprocessing.shape),
        config.batch_size,
        num_workers=config.workers,
        collate_fn=_stack,
        pin_memory=torch.cuda.is_available(),
    )
    for number, (batch, reasons) in enumerate(loader):
        pixels = model_pixels(batch, preprocessing)
        for place, reason in enumerate(reasons):
            if reason:
                bad(number * config.batch_size + place, reason)
                pixels[place] = torch.nan
        yield pixels


class _FramedDataset(Dataset[tuple[Tensor, str]]):
    def __init__(
        self, rows: Sequence[Labelled], frame: Callable[[Tensor], Tensor], shape: tuple[int, int]
    ) -> None:
        self.rows, self.frame, self.shape = rows, frame, shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        try:
            return self.frame(_picture(self.rows[index])), ""
        except UnreadablePicture as error:
            return torch.zeros(3, *self.shape, dtype=torch.uint8), str(error)


def _picture(row: Labelled) -> Tensor:
    try:
        return load_image(row.image)  # [3, H, W] uint8
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{row.place}: {error}" if row.place else str(error)) from error


def _stack(items: Sequence[tuple[Tensor, str]]) -> tuple[Tensor, list[str]]:
    pictures, reasons = zip(*items, strict=True)
    return torch.stack(pictures), list(reasons)
