"""ImageNet (Russakovsky et al., 2015): pictures without text; the names of their classes are none."""

from collections.abc import Iterator
from pathlib import Path

from xfm.core.errors import UserError
from xfm.corpora.gathered import GatheredReader
from xfm.corpora.source_record import SourceRecord
from xfm.data.tables.table import open_folder


class ImageNetReader(GatheredReader):
    """Pictures of `train/CLASS/`, one of each class in turn, so that consecutive ones show many classes."""

    licence = "ImageNet: for research and education that is not commercial, under its terms of access"
    needs_text = False

    def __init__(self, source: Path, shard_size: int, splits: list[str]) -> None:
        super().__init__(shard_size)
        self._source, self._splits = source, splits

    def inputs(self) -> Iterator[Path]:
        """See `CorpusReader.inputs`."""
        return (
            folder / name / picture
            for folder, classes in self._classes()
            for name in classes
            for picture in classes[name]
        )

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        """See `GatheredReader.gathered`."""
        for folder, classes in self._classes():
            turns = sorted((place, name) for name in classes for place in range(len(classes[name])))
            for place, name in turns:
                path = folder / name / classes[name][place]
                yield SourceRecord(path.relative_to(self._source).as_posix(), path)

    def _classes(self) -> Iterator[tuple[Path, dict[str, list[str]]]]:
        return ((folder, open_folder(folder)[0]) for folder in self._folders())

    def _folders(self) -> list[Path]:
        roots = [
            self._source / "ILSVRC" / "Data" / "CLS-LOC",
            self._source / "Data" / "CLS-LOC",
            self._source,
        ]
        root = next(place for place in roots if place.is_dir() or place == self._source)
        found = [root / split for split in self._splits or ["train"]]
        if not self._splits and not found[0].is_dir():
            return [root]
        if lacking := [place for place in found if not place.is_dir()]:
            raise UserError(f"{lacking[0]} does not exist; unpack ImageNet there, or check --splits")
        return found
