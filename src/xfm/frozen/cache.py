"""Features of a set of pictures, computed once and kept on disk as a memory map.

A file holds the features of one model (its weights, its preprocessing, its arithmetic) for one list of
pictures, and its name says which: `features-<fingerprint>.npy`, [N, D] float32, as NumPy opens it with
`mmap_mode`. Encoding that was interrupted goes on where it stopped.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from xfm.config.linear import FeatureConfig
from xfm.files import read_text, write_text, writing
from xfm.frozen.source import Bad, PictureSource, pixel_batches
from xfm.modeling.encoders import VisionLike
from xfm.modeling.folder import Preprocessing
from xfm.modeling.precision import autocast, resolve

FORMAT = 1  # raise it when features of the same model and pictures become other numbers
SAVED_EVERY = 50  # batches after which an interrupted run does not start again


@dataclass(frozen=True)
class Featuriser:
    """A vision encoder and what its features depend on.

    Attributes:
        vision: in evaluation mode on `device`.
        weights: digest of the model's weights.
        width: Dv of its vectors.
        both: features are slot 0 and the mean of the patches (D = 2 Dv), not slot 0 alone (D = Dv).
        preprocessing: how pictures become pixels.
        config: batch size and arithmetic.
        device: where the encoder is.
    """

    vision: VisionLike
    weights: str
    width: int
    both: bool
    preprocessing: Preprocessing
    config: FeatureConfig
    device: torch.device

    def fingerprint(self, source: PictureSource) -> str:
        """What names the features of a list of pictures."""
        says: dict[str, Any] = {
            "format": FORMAT,
            "weights": self.weights,
            "shape": self.preprocessing.shape,
            "normalisation": [self.preprocessing.mean, self.preprocessing.std],
            "interpolation": self.preprocessing.interpolation,
            "framing": self.preprocessing.framing.value,
            "grey": self.preprocessing.grey,
            "both": self.both,
            "precision": resolve(self.config.precision, self.device).value,
            "pictures": source.identity(),
        }
        return hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()[:16]


def cached_features(
    featuriser: Featuriser,
    source: PictureSource,
    folder: Path,
    name: str,
    progress: bool = False,
    bad: Bad | None = None,
) -> NDArray[np.float32]:
    """Features of pictures, from the cache if they are there.

    Args:
        featuriser: the encoder.
        source: N pictures.
        folder: of the cache; it is made.
        name: what the pictures are called in the bar.
        progress: show a bar.
        bad: told of a picture that cannot be read; its features are NaN then, in the cache too. None raises.

    Returns:
        [N, D] float32, a memory map: it takes no memory until it is read, and what is written to it stays in
        memory.

    Raises:
        UserError: a picture cannot be read, or the disk is full; what is done by then is kept.
    """
    path = folder / f"features-{featuriser.fingerprint(source)}.npy"
    if not path.exists():
        with writing(folder, "or choose another folder"):
            folder.mkdir(parents=True, exist_ok=True)
            _encode(featuriser, source, path, name, progress, bad)
    return np.load(path, mmap_mode="c", allow_pickle=False)


def _encode(
    featuriser: Featuriser, source: PictureSource, path: Path, name: str, progress: bool, bad: Bad | None
) -> None:
    part, note = path.with_suffix(".part.npy"), path.with_suffix(".part.json")
    shape = (len(source), featuriser.width * (2 if featuriser.both else 1))
    done = _done(part, note, shape)
    mode = "r+" if done else "w+"
    features = np.lib.format.open_memmap(part, mode=mode, dtype=np.float32, shape=None if done else shape)
    batches = enumerate(_vectors(featuriser, source, done, bad), start=1)
    bar = tqdm(total=len(source), initial=done, desc=name, unit="picture", disable=not progress)
    with bar:
        for number, batch in batches:
            features[done : done + len(batch)] = batch
            done += len(batch)
            bar.update(len(batch))
            if number % SAVED_EVERY == 0:
                features.flush()
                write_text(note, json.dumps({"done": done}))
    features.flush()
    del features
    part.replace(path)
    note.unlink(missing_ok=True)


def _done(part: Path, note: Path, shape: tuple[int, int]) -> int:
    try:
        done = int(json.loads(read_text(note))["done"])
        found = np.load(part, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return done if found.shape == shape and found.dtype == np.float32 and 0 <= done <= shape[0] else 0


@torch.inference_mode()
def _vectors(
    featuriser: Featuriser, source: PictureSource, start: int, bad: Bad | None
) -> Iterator[NDArray[np.float32]]:
    """Batches [B, D] of the pictures from `start`."""
    config, device = featuriser.config, featuriser.device
    for pixels in pixel_batches(source, featuriser.preprocessing, config, start, bad):
        with autocast(config.precision, device):
            states = featuriser.vision(pixels.to(device)).float()  # [B, 1 + P, Dv]
        features = torch.cat([states[:, 0], states[:, 1:].mean(1)], 1) if featuriser.both else states[:, 0]
        yield features.cpu().numpy()
