"""Manifest of a prepared corpus: counts, source, licence, filters, omissions, checksums of its shards."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import PIL

from xfm.core.errors import amount
from xfm.core.files import read_json_or_nothing
from xfm.corpora.judging import BAD, counted
from xfm.corpora.preparation import FORMAT, Preparation
from xfm.corpora.shard_units import ShardMark

NAME = "corpus.json"


@dataclass(frozen=True)
class CorpusManifest:
    """The file `corpus.json` beside the shards.

    Attributes:
        format: version of the layout.
        mark: digest of settings and inputs.
        source: name of the prepared folder or file.
        settings: options that decide the content.
        read, written: records of the source and of the shards.
        left_out: records by reason.
        parts: captions and regions that were dropped or repaired, by reason.
        shards: name, records, bytes and sha256 of each.
        versions: of the packages that decide the bytes.
    """

    format: int
    corpus: str
    mark: str
    licence: str
    source: str
    settings: dict[str, Any]
    read: int
    written: int
    bytes: int
    counts: dict[str, int]
    left_out: dict[str, int]
    parts: dict[str, int]
    shards: list[dict[str, Any]]
    versions: dict[str, str]

    def to_json(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def summary(self) -> str:
        """A few lines for people."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        records, shards = amount(self.read, "record"), amount(len(self.shards), "shard")
        lines = [f"{self.written:,} of {records} in {shards}: {counts}."]
        for title, found in (("left out", self.left_out), ("of captions and regions", self.parts)):
            if found:
                lines.append(
                    f"{title}: " + ", ".join(f"{count:,} {reason}" for reason, count in found.items())
                )
        return "\n".join(lines)

    @property
    def bad(self) -> int:
        """Damaged records."""
        return self.left_out.get(BAD, 0)


def manifest_of(
    preparation: Preparation, licence: str, mark: str, marks: Sequence[ShardMark], names: Sequence[str]
) -> CorpusManifest:
    """The manifest of finished units; `names` are the shards of the units that have one."""
    made = [one for one in marks if one.written]
    return CorpusManifest(
        format=FORMAT,
        corpus=preparation.corpus.value,
        mark=mark,
        licence=preparation.config.licence or licence,
        source=preparation.source.name,
        settings=preparation.settings(),
        read=sum(one.read for one in marks),
        written=sum(one.written for one in marks),
        bytes=sum(one.bytes for one in marks),
        counts=counted(sum((one.counts for one in marks), Counter())),
        left_out=counted(sum((one.left_out for one in marks), Counter())),
        parts=counted(sum((one.parts for one in marks), Counter())),
        shards=[
            {"name": name, "records": one.written, "bytes": one.bytes, "sha256": one.sha256}
            for name, one in zip(names, made, strict=True)
        ],
        versions={"xfm": version("xfm"), "pillow": PIL.__version__},
    )


def prepared_mark(folder: Path) -> str | None:
    """Mark of the complete corpus in a folder; None without one."""
    found = read_json_or_nothing(folder / NAME)
    try:
        whole = all((folder / one["name"]).stat().st_size == one["bytes"] for one in found["shards"])
        return str(found["mark"]) if whole else None
    except (OSError, KeyError, TypeError, ValueError):  # ValueError: a name with a NUL
        return None
