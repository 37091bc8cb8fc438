"""The shards of a folder or a pattern where there is an index: they are listed, and none is opened.

There may be a hundred thousand of them, in every process: names stay plain texts.
"""

import glob
import os
import re
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from xfm.data.sources.shard_index import COMMAND, SavedIndex, saved_index
from xfm.errors import UserError

TAR = ".tar"


@dataclass(frozen=True, eq=False)
class IndexedShards:
    """Some shards of a folder, in order, and the index of the folder."""

    folder: Path
    names: list[str]
    index: SavedIndex


def indexed_shards(path: Path | str) -> IndexedShards | None:
    """The shards that a path stands for, if it is a folder with an index, or a pattern in one.

    Raises:
        UserError: the index is damaged, or has a shard that is not there.
    """
    text = str(path)
    place = Path(text)
    if os.path.isdir(place):
        folder, pattern = place, "*"
    elif not os.path.exists(place) and glob.has_magic(place.name) and os.path.isdir(place.parent):
        folder, pattern = place.parent, place.name
    else:
        return None
    if (index := saved_index(folder)) is None:
        return None
    fits = re.compile(translate(pattern)).match
    names = sorted(name for name in os.listdir(folder) if name.endswith(TAR) and fits(name))
    if gone := {name for name in index.table.names if fits(name)}.difference(names):
        raise UserError(
            f"{folder / min(gone)}: the shard is missing, which {index.place} has; download or prepare it "
            f"again, or run `{COMMAND} {folder}` to go on without it."
        )
    return IndexedShards(folder, names, index) if names else None
