"""A folder of pictures without text."""

import os
from pathlib import Path

from xfm.data.records import Limits, Record, SampleKind
from xfm.data.schema import Origin
from xfm.data.sources.base import RecordSource
from xfm.data.sources.jsonl import picture_bytes
from xfm.data.sources.tar import PICTURES


class FolderSource(RecordSource):
    """Every JPEG, PNG and WebP below a folder, in the order of their paths."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        super().__init__(SampleKind.IMAGE, limits)
        self.folder = folder
        self._names = sorted(
            os.path.relpath(os.path.join(place, name), folder)
            for place, _, names in os.walk(folder)
            for name in names
            if name.rpartition(".")[2].lower() in PICTURES
        )

    @property
    def names(self) -> list[str]:
        """Paths of the pictures from the folder, in order."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError."""
        name = self._names[index]
        origin = Origin(str(self.folder), name)
        return Record(origin, picture_bytes(self.folder / name, origin, self.limits.picture_bytes), {})
