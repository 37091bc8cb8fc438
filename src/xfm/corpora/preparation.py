"""A preparation (which corpus, from where, to where, how) and its plan: the pieces, one a shard."""

import hashlib
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xfm.config.corpora import CorpusName, PrepareConfig
from xfm.config.plain import to_plain
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.corpora.images import evaluated
from xfm.corpora.readers.coco import CocoReader
from xfm.corpora.readers.img2dataset import Img2DatasetReader
from xfm.corpora.readers.openimages import OpenImagesReader
from xfm.corpora.readers.own_data import FolderReader, ImageNetReader, TableReader
from xfm.corpora.readers.text import TextReader
from xfm.corpora.readers.visual_genome import VisualGenomeReader
from xfm.corpora.source_record import CorpusReader, Piece
from xfm.data.folders import scan_folder
from xfm.data.tables import ColumnMap
from xfm.executors.sharded_map import PLAN, find_plan

_LISTINGS = "listings"
FORMAT = 1
"""Of the shards; another one makes everything anew."""
TEXTS = frozenset((CorpusName.TEXT, CorpusName.WIKIPEDIA, CorpusName.C4, CorpusName.OPENWEBTEXT))
_PARTED = frozenset((CorpusName.COCO, CorpusName.OBJECTS365, CorpusName.OPENIMAGES, CorpusName.IMAGENET))
_LICENCES = {
    CorpusName.OBJECTS365: "Objects365's annotations: CC BY 4.0, for research; pictures: the terms of Flickr",
    CorpusName.SBU: "SBU's captions and pictures: the terms of Flickr and of whoever took them",
    CorpusName.CC3M: "CC3M: free for any purpose, Google LLC named; pictures: the terms of their pages",
    CorpusName.CC12M: "CC12M: free for any purpose, Google LLC named; pictures: the terms of their pages",
    CorpusName.LAION: "LAION's addresses and texts: CC BY 4.0; pictures: the terms of their pages",
    CorpusName.WIKIPEDIA: "Wikipedia: CC BY-SA 4.0 and GFDL",
    CorpusName.C4: "C4: ODC-BY; texts: the terms of their pages",
    CorpusName.OPENWEBTEXT: "OpenWebText: CC0 of the collection; texts: the terms of their pages",
}


@dataclass(frozen=True)
class Preparation:
    """A preparation from a folder, table or file of texts into a folder of shards; `columns` are those of a
    table or of texts, `pictures` the folder that paths of a table start from, if not its own, `max_bad`
    records that may be damaged (None: half of them)."""

    corpus: CorpusName
    source: Path
    target: Path
    config: PrepareConfig = field(default_factory=PrepareConfig)
    columns: str = ""
    pictures: Path | None = None
    max_bad: int | None = None

    @property
    def work(self) -> Path:
        """Hidden folder of unfinished work beside the target, the same for all processes."""
        return self.target.with_name(f".{self.target.name}.preparing")

    @property
    def is_text(self) -> bool:
        """Whether its records are texts."""
        return self.corpus in TEXTS

    def check(self) -> None:
        """Refuse options that do not suit the corpus."""
        if not self.source.exists():
            raise UserError(f"--from: {self.source} does not exist; check the path")
        if self.max_bad is not None and self.max_bad < 0:
            raise UserError(f"--max-bad is {self.max_bad}: choose 0 or more")
        config, name = self.config, self.corpus.value
        for option, given, fits in (
            ("splits", config.splits, self.corpus in _PARTED),
            ("columns", self.columns, self.is_text or self.corpus is CorpusName.TABLE),
            ("pictures", self.pictures, self.corpus is CorpusName.TABLE),
            ("max-side", config.max_side, not self.is_text),
            ("quality", config.quality is not None, not self.is_text),
            ("min-side", config.min_side, not self.is_text),
            ("max-aspect", config.max_aspect, not self.is_text),
            ("evaluation", config.evaluation, not self.is_text),
        ):
            if given and not fits:
                raise UserError(
                    f"--{option} has no meaning here: {name} is another kind of corpus; leave it out"
                )
        if self.source.is_file() and not (self.is_text or self.corpus is CorpusName.TABLE):
            raise UserError(f"--from: {self.source} is a file; {name} is read from a folder")

    def reader(self) -> CorpusReader:
        """The reader of the corpus."""
        if self.is_text:
            given = ColumnMap.parse(self.columns).columns
            if others := [name for name in given if name != "text"]:
                raise UserError(f"--columns: there is no field {others[0]!r}; texts have text=COLUMN")
            reader = TextReader(self.source, self.config, given.get("text") or "text")
        elif self.corpus is CorpusName.TABLE:
            reader = TableReader(self.source, self.config, ColumnMap.parse(self.columns), self.pictures)
        else:
            reader = _READERS.get(self.corpus, Img2DatasetReader)(self.source, self.config)
        reader.licence = _LICENCES.get(self.corpus, reader.licence)
        return reader

    def settings(self) -> dict[str, Any]:
        """Settings that decide the content, as plain values."""
        plain = to_plain(self.config)
        for name in ("workers", "engine"):
            del plain[name]
        return {"corpus": self.corpus.value, **plain, "columns": self.columns}

    def mark(self, reader: CorpusReader) -> str:
        """Digest of settings, and of names and sizes of the inputs."""
        settings = {"format": FORMAT, "settings": self.settings()}
        if self.pictures is not None:
            settings["pictures"] = str(self.pictures)
        found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        made = {self.target, self.work}
        for path in reader.inputs():
            if not made.isdisjoint(path.parents):
                continue
            name = path.name if path == self.source else path.relative_to(self.source).as_posix()
            found.update(json.dumps([name, _size(path)]).encode())
        for place in map(home_path, self.config.evaluation):
            held = scan_folder(place)[0] if place.is_dir() else []
            size = 0 if held or not place.exists() else _size(place)  # what is not there is told later
            found.update(json.dumps([place.name, size, *held]).encode())
        return found.hexdigest()


def _size(path: Path) -> int:
    """Bytes of a file, 0 of a folder, by a single request: remote stores are asked millions."""
    found = path.stat()
    return 0 if stat.S_ISDIR(found.st_mode) else found.st_size


_READERS: dict[CorpusName, Callable[[Path, PrepareConfig], CorpusReader]] = {
    CorpusName.COCO: CocoReader,
    CorpusName.OBJECTS365: partial(CocoReader, own_names=False),
    CorpusName.OPENIMAGES: OpenImagesReader,
    CorpusName.IMAGENET: ImageNetReader,
    CorpusName.VG: VisualGenomeReader,
    CorpusName.FOLDER: FolderReader,
}


# ---------------------------------------------------------------- the plan
@dataclass(frozen=True)
class PreparationPlan:
    """A preparation, its pieces (a unit of work each), names and hashes of the pictures of evaluations."""

    preparation: Preparation
    pieces: tuple[Piece, ...]
    names: frozenset[str]
    hashes: tuple[int, ...]

    @property
    def listings(self) -> Path:
        """Folder of a reader's listings."""
        return self.preparation.work / PLAN / _LISTINGS


def plan_of(preparation: Preparation, reader: CorpusReader, mark: str) -> PreparationPlan:
    """The plan of a preparation, found or made; UserError where another one is under way."""

    def make(draft: Path) -> dict[str, list[Any]]:
        names, hashes = evaluated(preparation.config.evaluation)
        return {"pieces": [*reader.pieces(draft / _LISTINGS)], "names": sorted(names), "hashes": hashes}

    plan = find_plan(preparation.work, mark, make, "begin anew with --force")
    pieces = tuple(Piece(*piece) for piece in plan["pieces"])
    return PreparationPlan(preparation, pieces, frozenset(plan["names"]), tuple(plan["hashes"]))
