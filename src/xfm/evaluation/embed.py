"""Pictures inside a page: small data URIs, each written once."""

import base64
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

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
        """A JPEG data URI, empty where the picture cannot be read: the page then shows its path."""
        if path not in self._known:
            self._known[path] = _encode(self.world / path)
        return self._known[path]


def _encode(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return ""
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
