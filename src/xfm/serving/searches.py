"""The collections of a server."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xfm.config.index import SearchOptions
from xfm.errors import UserError, excerpt, suggest
from xfm.index.opening import open_index
from xfm.index.searching import Searcher
from xfm.inference.picture_inputs import Picture


class Searches:
    """Collections by name, open for reading; the first is asked where a request names none.

    Args:
        folders: of the collections.
        running: how their models run, see `xfm.pipeline`.

    Raises:
        UserError: one is none, or two have one name.
    """

    def __init__(self, folders: list[Path], **running: Any) -> None:
        self._stack, self._searchers = ExitStack(), dict[str, Searcher]()
        try:
            for folder in folders:
                if folder.name in self._searchers:
                    raise UserError(f"two collections are called {folder.name}: rename a folder")
                index = self._stack.enter_context(open_index(folder, writing=False, **running))
                self._searchers[folder.name] = Searcher(index)
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

    def answer(
        self, searcher: Searcher, text: str | None, image: Picture | None, options: SearchOptions
    ) -> dict[str, Any]:
        """What a search finds, or the UserError that says why it cannot be made."""
        return asdict(searcher.search(text, image, options))

    def close(self) -> None:
        """Close them."""
        self._stack.close()
