"""Pictures that stand in cells: as bytes, as the hub's `{"bytes": .., "path": ..}`, or decoded."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from xfm.core.errors import UserError
from xfm.core.files import write_data, writing
from xfm.data.images import Picture as DecodedPicture
from xfm.data.images import byte_limit, picture_suffix, to_uint8, too_many_bytes


@dataclass(frozen=True)
class BadPicture:
    """Stands in a cell for a picture that no one can use."""

    reason: str


def pictures_in(cell: Any) -> Any:
    """A cell, or each of a list, with its bytes or path in place of the hub's `{"bytes": .., "path": ..}`."""
    return [_picture(one) for one in cell] if isinstance(cell, list) else _picture(cell)


def _picture(cell: Any) -> Any:
    if isinstance(cell, Mapping) and cell and {"bytes", "path"} >= cell.keys():
        return cell.get("bytes") or cell.get("path")
    return cell


class PictureStore:
    """Writes images of cells into a folder, each once, under the digest of its bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def unpack(self, cell: Any) -> Any:
        """A cell, or each of a list, with a path (or `BadPicture`) in place of an image."""
        return [self._path(one) for one in cell] if isinstance(cell, list) else self._path(cell)

    def _path(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return self._write(value)
        if not isinstance(value, DecodedPicture):
            return value
        try:
            return self._write(_as_png(value))
        except UserError as error:
            return BadPicture(f"holds a picture that cannot be used: {error}")

    def _write(self, data: bytes) -> Path | BadPicture:
        if len(data) > (limit := byte_limit()):
            return BadPicture(too_many_bytes(len(data), limit))
        path = self.folder.absolute() / (hashlib.sha256(data).hexdigest()[:32] + picture_suffix(data))
        if not path.exists():
            with writing(path, "or choose another folder"):
                self.folder.mkdir(parents=True, exist_ok=True)
                write_data(path, data, lasting=False)
        return path


def _as_png(picture: DecodedPicture) -> bytes:
    found = io.BytesIO()
    pixels = to_uint8(picture).movedim(0, -1).contiguous().cpu().numpy()  # [H, W, 3]
    Image.fromarray(pixels).save(found, "PNG", compress_level=1)
    return found.getvalue()
