"""Pictures as users give them: paths, PIL pictures, arrays, tensors, bytes of a file, allowed addresses."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from xfm.config.pipelines import UrlRules
from xfm.core.errors import UserError
from xfm.core.paths import home_path, is_url
from xfm.data.fetch import fetch
from xfm.data.pictures import Decoded, PictureError, decode, load_decoded, to_uint8
from xfm.models.artifacts import framed
from xfm.models.folder import Preprocessing

PictureSource = str | Path | bytes | Image.Image | np.ndarray | Tensor
"""A path, an address, the bytes of a file, a PIL picture, a uint8 array [H, W, 3] or tensor [3, H, W]."""

RECENT = 512  # pictures by path of which the next rows probably need one again


@dataclass(frozen=True)
class Picture:
    """A picture as the model takes it.

    Attributes:
        pixels: [3, S, S] uint8, in the model's size.
        width, height: of the picture as it was given, upright, in pixels.
        key: equal for equal pixels.
        flaw: what is wrong with a picture of which a part only could be decoded; None of a whole one.
    """

    pixels: Tensor
    width: int
    height: int
    key: bytes
    flaw: str | None = None


def is_picture(value: object) -> bool:
    """Whether a value is a picture beyond doubt: a string may be a text or a path, an array hold texts."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "OSTU"
    return isinstance(value, Path | bytes | Image.Image | Tensor)


def read_original(source: object, urls: UrlRules | None = None) -> Decoded:
    """A picture as it was given, upright, and what is wrong with it where only a part could be decoded.

    Args:
        source: see `PictureSource`.
        urls: what may be fetched; None fetches nothing.

    Raises:
        UserError: no picture, not readable, too large, or an address that is not allowed.
    """
    if isinstance(source, str) and not source.strip():
        raise UserError("the path of the picture is empty; give one such as 'a.png'")
    if isinstance(source, str) and is_url(source):
        if urls is None:
            raise UserError(f"{source}: addresses are not fetched unless allow_urls=True; or give a file")
        return _decoded(fetch(source, urls), source)
    if isinstance(source, str | Path):
        return load_decoded(home_path(source))
    if isinstance(source, bytes):
        return _decoded(source, "the bytes of the picture")
    if not isinstance(source, Image.Image | np.ndarray | Tensor):
        raise UserError(
            "a picture must be a path such as 'a.png', the bytes of a file, a PIL picture, a uint8 array or "
            f"tensor, not {type(source).__name__}"
        )
    return Decoded(to_uint8(source).cpu())


def _decoded(data: bytes, name: str) -> Decoded:
    try:
        return decode(data)
    except PictureError as error:
        raise UserError(f"{name}: {error}; replace it") from error


class PictureReader:
    """Reads pictures and frames them; a path or address that comes again soon is read once. For threads, too.

    Args:
        preprocessing: of the model.
        urls: what may be fetched; None fetches nothing.
        recent: pictures by path that are remembered; 0 where files may change while the reader is used.
    """

    def __init__(self, preprocessing: Preprocessing, urls: UrlRules | None, recent: int = RECENT) -> None:
        self._preprocessing, self._urls, self._most = preprocessing, urls, recent
        self._recent: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, source: object) -> Picture:
        """The picture, one that was read already as it is; raises as `read_original` does."""
        if isinstance(source, Picture):
            return source
        name = str(source) if isinstance(source, str | Path) else None
        with self._lock:
            if name is not None and name in self._recent:
                self._recent.move_to_end(name)
                return self._recent[name]
        found = read_original(source, self._urls)
        pixels = framed(found.pixels, self._preprocessing).contiguous()
        key = hashlib.blake2b(pixels.numpy().tobytes(), digest_size=16).digest()
        picture = Picture(pixels, found.pixels.shape[2], found.pixels.shape[1], key, found.flaw)
        if name is not None:
            with self._lock:
                self._recent[name] = picture
                if len(self._recent) > self._most:
                    self._recent.popitem(last=False)
        return picture
