"""Pictures that a table names by address: fetched where that is allowed, once, and kept in the cache."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from xfm.config.pipelines import UrlRules
from xfm.core.errors import UserError
from xfm.core.files import write_data, writing
from xfm.core.paths import cache_folder
from xfm.data.fetch import check_address, fetch
from xfm.data.pictures import PictureError, picture_size, picture_suffix

FETCHED = "fetched"
"""Folder of the cache."""
_TOGETHER, _QUIET = 8, 2.0  # fetches at once; seconds before a bar is shown


@dataclass(frozen=True, eq=False)
class AddressBook:
    """Cached files of image URLs; `failed` holds, by row, why a run that is continued left rows out: their
    URLs are not fetched again."""

    rules: UrlRules
    folder: Path
    failed: Mapping[str, str] = field(default_factory=dict)
    _known: dict[str, Path | UserError] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rules: UrlRules | None, table: object, failed: Mapping[str, str] | None = None
    ) -> "AddressBook | None":
        """The files of a table's addresses, in its part of the cache; None where nothing may be fetched."""
        if rules is None:
            return None
        mark = hashlib.sha256(os.path.abspath(str(table)).encode("utf-8", "surrogateescape")).hexdigest()
        return cls(rules, cache_folder() / FETCHED / mark[:16], failed or {})

    def file(self, url: str, place: str = "") -> Path:
        """The file of a URL that the row at `place` names; raises UserError where it is not allowed or gives
        no image."""
        if url in self.failed.get(place, ""):
            raise UserError(self.failed[place])
        self._look_up(url)
        if isinstance(found := self._known[url], UserError):
            raise found
        return found

    def fetch_all(self, named: Iterable[tuple[str, str]]) -> None:
        """Fetch addresses side by side, given with the places of their rows; what fails is told by `file`."""
        urls = dict.fromkeys(url for url, place in named if url not in self.failed.get(place, ""))
        with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="fetching") as pool:
            waiting = pool.map(self._look_up, urls)
            for _ in tqdm(waiting, "fetching", len(urls), unit="picture", disable=None, delay=_QUIET):
                pass

    def _look_up(self, url: str) -> None:
        if url not in self._known:
            try:
                self._known[url] = self._fetched(url)
            except UserError as error:
                told = str(error)  # of a redirect it names another address
                self._known[url] = error if url in told else UserError(f"{url}: {told}")

    def _fetched(self, url: str) -> Path:
        check_address(url, self.rules)  # what is in the cache, too
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        if found := next(iter(self.folder.glob(f"{name}.*")), None):
            return found.absolute()
        data = fetch(url, self.rules)
        try:
            picture_size(data)
        except PictureError as error:
            raise UserError(f"{url}: {error}; check the address") from error
        path = self.folder.absolute() / f"{name}{picture_suffix(data)}"
        with writing(path, "or set XFM_CACHE to another folder"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_data(path, data, lasting=False)
        return path
