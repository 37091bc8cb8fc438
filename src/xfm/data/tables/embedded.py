"""Pictures that stand in cells: as bytes, or as the hub's `{"bytes": .., "path": ..}`."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfm.data.pictures import byte_limit, picture_suffix, too_many_bytes
from xfm.files import writing


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
    """Writes pictures of cells into a folder, each once, under the digest of its bytes.

    Args:
        folder: made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def unpack(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a row with paths in place of pictures' bytes, or `BadPicture` for too large ones.

        Raises:
            UserError: a picture cannot be written.
        """
        return {name: self._paths(value) for name, value in fields.items()}

    def _paths(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._write(one) if isinstance(one, bytes) else one for one in value]
        return self._write(value) if isinstance(value, bytes) else value

    def _write(self, data: bytes) -> Path | BadPicture:
        if len(data) > (limit := byte_limit()):
            return BadPicture(too_many_bytes(len(data), limit))
        path = self.folder.absolute() / (hashlib.sha256(data).hexdigest()[:32] + picture_suffix(data))
        if not path.exists():
            with writing(path, "or choose another folder"):
                self.folder.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{path.name}.partial")
                partial.write_bytes(data)
                partial.replace(path)
        return path
