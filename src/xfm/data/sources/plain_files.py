"""Files as they lie: JSON lines with pictures in a folder beside them, and folders of pictures alone."""

from pathlib import Path

import numpy as np

from xfm.core.errors import UserError
from xfm.core.files import path_below, reading
from xfm.data.folders import passed_over, scan_folder
from xfm.data.images import ImageError, read_image, too_many_bytes
from xfm.data.records import MAX_ANNOTATION, BadRecordError, Record, SampleKind, parse_annotation
from xfm.data.schema import Origin
from xfm.data.sources.base import RecordSource, StoredFile

_CHUNK, _LONGEST = 1 << 24, 1 << 30


class JsonLinesSource(RecordSource):
    """A JSON-lines file; `"image"` is a path below its folder. Raises UserError when missing or empty."""

    def __init__(self, path: Path, kind: SampleKind) -> None:
        super().__init__(kind)
        self.path = path
        with reading(path):
            self._file = StoredFile.of(path)
            self._starts, self._ends, self._lines = _index(self._file)
        if not len(self._starts):
            raise UserError(f"{path}: the file holds no rows; check the path or prepare it again.")

    def __len__(self) -> int:
        return len(self._starts)

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError."""
        origin = Origin(str(self.path), str(self._lines[index]))
        start, end = int(self._starts[index]), int(self._ends[index])
        if end - start > MAX_ANNOTATION:
            problem = too_many_bytes(end - start, MAX_ANNOTATION, picture=False)
            raise BadRecordError(origin, f"the row {problem}")
        try:
            data = self._file.read(start, end - start)
        except OSError as error:
            raise BadRecordError(origin, f"the file cannot be read ({error.strerror})") from None
        annotation = parse_annotation(data, origin)
        if self.kind is SampleKind.TEXT:
            return Record(origin, None, annotation)
        name = annotation.get("image")
        if not isinstance(name, str) or not name:
            raise BadRecordError(origin, 'the field "image" is missing or not a path')
        picture = path_below(self.path.parent, name)
        if picture is None:
            raise BadRecordError(origin, 'the field "image" is not a path below the folder of the file')
        return Record(origin, _image_bytes(picture, origin), annotation)


class FolderSource(RecordSource):
    """Every image below a folder, in the order of their paths, and a report of other files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SampleKind.IMAGE)
        self.folder = folder
        self.names, passed = scan_folder(folder)
        self.report = passed_over(folder, passed)

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError."""
        name = self.names[index]
        origin = Origin(str(self.folder), name)
        return Record(origin, _image_bytes(self.folder / name, origin), {})


def _image_bytes(path: Path, origin: Origin) -> bytes:
    try:
        return read_image(path)
    except ImageError as error:
        raise BadRecordError(origin, str(error)) from None


def _index(file: StoredFile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the lines begin and end that are not blank, and their numbers."""
    breaks, last = [np.zeros(0, np.int64)], -1
    with file.path.open("rb") as stream:
        for at in range(0, file.size, _CHUNK):
            found = np.flatnonzero(np.frombuffer(stream.read(_CHUNK), np.uint8) == ord("\n")) + at
            last = int(found[-1]) if len(found) else last
            if at - last > _LONGEST:  # a file of holes, say, which would be read for hours
                raise UserError(f"{file.path}: no line ends in {_LONGEST} bytes; is it a file of JSON lines?")
            breaks.append(found)
        if last + 1 < file.size:
            breaks.append(np.array([file.size]))
        ends = np.concatenate(breaks)
        starts = np.concatenate([[0], ends + 1])[:-1]
        keep = np.ones(len(ends), bool)
        # Rows of a few bytes only can be blank, unless somebody means harm: then they are bad records.
        for row in np.flatnonzero(ends - starts < 16).tolist():
            stream.seek(int(starts[row]))
            keep[row] = bool(stream.read(int(ends[row] - starts[row])).strip())
    return starts[keep], ends[keep], np.flatnonzero(keep) + 1
