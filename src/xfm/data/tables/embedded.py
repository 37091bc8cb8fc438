"""Pictures that stand in cells: as bytes, or as the hub's `{"bytes": .., "path": ..}`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm.data.pictures import byte_limit, picture_suffix, too_many_bytes
from xfm.errors import UserError
from xfm.files import writing


class PictureStore:
    """Writes pictures of cells into a folder, each once, under the digest of its bytes.

    Args:
        folder: made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def unpack(self, cells: Mapping[str, Any], place: str) -> dict[str, Any]:
        """The cells of a row with paths in place of pictures.

        Raises:
            UserError: a picture is larger than any that would be decoded, or cannot be written.
        """
        return {name: self._path(value, f"{place}: {name}") for name, value in cells.items()}

    def _path(self, value: Any, place: str) -> Any:
        if isinstance(value, list):
            return [self._path(one, place) for one in value]
        if isinstance(value, Mapping) and {"bytes", "path"} >= value.keys() and value:
            value = value.get("bytes") or value.get("path")
        return self._write(value, place) if isinstance(value, bytes) else value

    def _write(self, data: bytes, place: str) -> Path:
        if len(data) > (limit := byte_limit()):
            raise UserError(f"{place} {too_many_bytes(len(data), limit)}")
        path = self.folder.absolute() / (hashlib.sha256(data).hexdigest()[:32] + picture_suffix(data))
        if not path.exists():
            with writing(path, "or choose another folder"):
                self.folder.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{path.name}.partial")
                partial.write_bytes(data)
                partial.replace(path)
        return path
