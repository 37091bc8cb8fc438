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


class PictureStore:
    """Writes pictures of cells into a folder, each once, under the digest of its bytes.

    Args:
        folder: made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def unpack(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of a row with paths in place of pictures, or `BadPicture` for too large ones.

        Raises:
            UserError: a picture cannot be written.
        """
        return {name: self._path(value) for name, value in cells.items()}

    def _path(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._path(one) for one in value]
        if isinstance(value, Mapping) and {"bytes", "path"} >= value.keys() and value:
            value = value.get("bytes") or value.get("path")
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
