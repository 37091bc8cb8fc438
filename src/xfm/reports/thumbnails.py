"""Pictures inside a page: small data URIs, each written once."""

import base64
import io
from pathlib import Path

from PIL import Image
from torch import Tensor

from xfm.data.picture_files import load_image
from xfm.errors import UserError
from xfm.files import path_below

MAX_SIDE = 224  # larger pictures are shrunk: the report shows thumbnails


class Thumbnails:
    """Pictures of a world as data URIs.

    Args:
        world: folder that relative paths start from.
    """

    def __init__(self, world: Path) -> None:
        self.world = world
        self._known: dict[str, str] = {}

    def uri(self, path: str) -> str:
        """A JPEG data URI, empty where the world holds no such picture: the page then shows its path."""
        if path not in self._known:
            file = path_below(self.world, path)
            self._known[path] = "" if file is None else _encode(file)
        return self._known[path]


def _encode(path: Path) -> str:
    try:
        return thumbnail(load_image(path))
    except UserError:
        return ""


def thumbnail(pixels: Tensor) -> str:
    """A picture [3, H, W] uint8 as the data URI of a small JPEG."""
    small = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
