"""The collections of a server."""

import io
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from xfm.errors import UserError, excerpt, suggest
from xfm.index.about import HIDDEN
from xfm.index.answers import Answer, FoundPicture
from xfm.index.opening import open_index
from xfm.index.searching import Searcher
from xfm.inference.picture_inputs import read_original
from xfm.modeling.folder import Pretrained

LARGEST = 640
"""Pixels of the longer side of a picture that is shown."""
_REMEMBERED = 10_000
"""Pictures that searches gave, of which the file is known."""


class Searches:
    """Collections by name, open for reading; the first is asked where a request names none.

    Args:
        folders: of the collections.
        models: that made some of them, by folder; of the others the one that made them is loaded.
        running: how their models run, see `xfm.pipeline`.

    Raises:
        UserError: one is none, or two have one name.
    """

    def __init__(
        self, folders: list[Path], models: Mapping[Path, Pretrained] | None = None, **running: Any
    ) -> None:
        self._stack, self._searchers = ExitStack(), dict[str, Searcher]()
        self._given = OrderedDict[tuple[int, str], str]()
        try:
            for folder in folders:
                name = folder.absolute().parent.name if folder.name == HIDDEN else folder.name
                if name in self._searchers:
                    raise UserError(f"two collections are called {name}: rename a folder")
                model = (models or {}).get(folder)
                index = self._stack.enter_context(open_index(folder, model, writing=False, **running))
                self._searchers[name] = Searcher(index)
        except BaseException:
            self.close()
            raise

    @property
    def names(self) -> list[str]:
        """Of the collections."""
        return [*self._searchers]

    def of(self, name: str | None) -> Searcher:
        """The searcher of a collection; raises UserError where there is none."""
        if not self._searchers:
            raise UserError("the server has no collection: start it with --index FOLDER")
        if name is None:
            return next(iter(self._searchers.values()))
        if name not in self._searchers:
            raise UserError(
                f"there is no collection {excerpt(name)}; {suggest(name[:100], self.names, 'see /ready')}"
            )
        return self._searchers[name]

    def told(self, searcher: Searcher, found: Answer, marks: Mapping[str, str]) -> dict[str, Any]:
        """What a search found, as plain values; its pictures can be asked for from now on.

        Nothing is told of where the files lie on this machine.

        Args:
            searcher: of the collection.
            found: the answer.
            marks: of its pictures, see `Searcher.marks`.
        """
        for hit in found.hits:
            self._given[id(searcher), hit["key"]] = hit["source"]
            self._given.move_to_end((id(searcher), hit["key"]))
        while len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        told = asdict(found)
        for hit in told["hits"]:
            hit |= {"key": marks.get(hit["key"], hit["key"]), "source": shown_source(hit)}
        return told

    def picture(self, searcher: Searcher, key: str) -> tuple[bytes, str]:
        """A picture of a collection by the key that a search told, and its media type.

        A key is looked up, and never a path that is opened: the file is the one that a search named lately.
        Where there is none any more, or the picture never was a file, it is shown as the model sees it.

        Raises:
            UserError: there is no such picture.
        """
        key = searcher.key_of(key)
        source = self._given.get((id(searcher), key))
        if source is not None:
            try:
                return _smaller(Path(source)), "image/jpeg"
            except UserError:  # it came from a table or a shard, or is gone
                pass
        return searcher.pixels(key), "image/png"

    def close(self) -> None:
        """Close them."""
        self._stack.close()


def shown_source(hit: FoundPicture) -> str:
    """Where a picture came from, without where that is on this machine.

    The path within the folder that was indexed, the shard and the name in it, or the name of the file, with
    the row of a table that holds pictures.
    """
    source, told = hit["source"], hit["metadata"]
    inside = PurePosixPath(str(told.get("folder", ""))) / str(told.get("name", ""))
    if source.endswith(f"/{inside}"):  # as the pictures of folders have it
        return str(inside)
    shard, tar, name = source.partition(".tar/")
    return f"{PurePosixPath(shard).name}{tar}{name}" if tar else PurePosixPath(source).name


def _smaller(path: Path) -> bytes:
    """A picture's file as a JPEG of at most `LARGEST` pixels a side."""
    image = Image.fromarray(read_original(path).pixels.permute(1, 2, 0).numpy())
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "jpeg", quality=88)
    return out.getvalue()
