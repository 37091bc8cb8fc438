"""Picture files as pixels."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from xfm.core.errors import printable
from xfm.data.left_out import UnreadablePicture
from xfm.data.pictures import Decoded, PictureError, decode, picture_size, read_picture

T = TypeVar("T")

_log = logging.getLogger(__name__)


def load_decoded(path: Path | str, max_pixels: int | None = None) -> Decoded:
    """An image file decoded, whatever its suffix; raises UnreadablePicture when it is missing, too large or
    does not decode."""

    def decoded(data: bytes) -> Decoded:
        return replace(decode(data, max_pixels), mark=blake2b(data, digest_size=8).hexdigest())

    return _used(Path(path), decoded)


def load_image(path: Path | str, max_pixels: int | None = None) -> Tensor:
    """The pixels [3, H, W] uint8 of `load_decoded`; of a file that ends early, a warning is logged once."""
    found = load_decoded(path, max_pixels)
    if found.flaw is not None:
        _warn_once(str(path), found.flaw)
    return found.pixels


@lru_cache(maxsize=1 << 16)
def _warn_once(path: str, flaw: str) -> None:
    _log.warning("used %s in part: %s", printable(path), flaw)


@lru_cache(maxsize=1 << 16)  # many rows share a picture
def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels of an image file, upright, from its header; raises UnreadablePicture."""
    return _used(Path(path), picture_size)


def _used(path: Path, use: Callable[[bytes], T]) -> T:
    try:
        data = read_picture(path)
    except PictureError as error:  # it names the path
        raise UnreadablePicture(f"{error}; check the path") from error
    try:
        return use(data)
    except PictureError as error:
        raise UnreadablePicture(f"{path}: {error}; replace the file") from error
