"""What retrieval and captioning share: pictures with captions, one pair of them a training row."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from xfm.data.schema import TensorFields
from xfm.data.tables import TableRow
from xfm.files import file_digest
from xfm.tasks.base import Prediction, Task
from xfm.tasks.rows import CellMeaning, Described

BatchT = TypeVar("BatchT", bound=TensorFields)


class DescribedTask(Task[Described, BatchT, Prediction]):
    """A task of pictures with captions: training draws pairs."""

    @property
    def cases(self) -> list[Described]:
        """Every training caption as a row of its own."""
        return [
            Described(row.image, (caption,), row.key) for row in self.train_rows for caption in row.captions
        ]

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Described:
        """Fields `image` and `caption`."""
        return Described(row.path("image"), tuple(row.texts("caption")))

    @classmethod
    def merge(cls, rows: Sequence[Described]) -> list[Described]:
        """One row a picture, with the captions of all its rows; files of equal bytes are one picture."""
        captions: dict[Path, list[str]] = {}
        first = equal_files(row.image for row in rows)
        for row in rows:
            captions.setdefault(first[row.image], []).extend(row.captions)
        return [Described(image, tuple(dict.fromkeys(own))) for image, own in captions.items()]

    @classmethod
    def epoch(cls, rows: Sequence[Described]) -> int:
        """Every caption is a case."""
        return sum(len(row.captions) for row in rows)

    @classmethod
    def texts_of(cls, row: Described) -> tuple[str, ...]:
        """The captions."""
        return row.captions


def equal_files(paths: Iterable[Path]) -> dict[Path, Path]:
    """Each file, and the first of those that have its bytes; one that cannot be read is like no other."""
    sizes: dict[int, list[Path]] = {}
    first: dict[Path, Path] = {}
    for path in paths:
        if path not in first:
            first[path] = path
            with suppress(OSError):
                sizes.setdefault(path.stat().st_size, []).append(path)
    for same_size in sizes.values():
        known: dict[str, Path] = {}
        for path in same_size if len(same_size) > 1 else ():  # only what is as long can be equal
            with suppress(OSError):
                first[path] = known.setdefault(file_digest(path), path)
    return first
