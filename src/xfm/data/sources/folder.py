"""A folder of pictures without text."""

from pathlib import Path

from xfm.data.folders import scan_folder
from xfm.data.records import Limits, Record, SampleKind
from xfm.data.schema import Origin
from xfm.data.sources.base import RecordSource
from xfm.data.sources.jsonl import picture_bytes


class FolderSource(RecordSource):
    """Every picture below a folder, in the order of their paths.

    Attributes:
        names: paths of the pictures from the folder, in order.
        report: what else the folder holds.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        super().__init__(SampleKind.IMAGE, limits)
        self.folder = folder
        scan = scan_folder(folder)
        self.names, self.report = scan.pictures, scan.report(folder)

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError."""
        name = self.names[index]
        origin = Origin(str(self.folder), name)
        return Record(origin, picture_bytes(self.folder / name, origin, self.limits.picture_bytes), {})
