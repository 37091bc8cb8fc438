"""Object stores and web servers through fsspec: what files are there, and ranges of their bytes."""

import errno
import logging
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from traceback import clear_frames
from typing import Any, TypeVar

from xfm.core.errors import UserError, explained, first_line
from xfm.data.sources.base import stale

_CHANGED = "it was changed after it had been opened"
SECONDS = 120.0
"""Of a request: a server that sends a byte a second would hold it for ever."""


@dataclass(frozen=True)
class RemoteFile:
    """A file when it was first asked for: bytes, tag or time of its version, if any, and address of that."""

    url: str
    size: int
    version: str
    at: str = ""


class RemoteStore:
    """A kind of stores. Its methods ask once, and raise what its library does."""

    lists = True
    """Whether it can say which files there are."""

    def __init__(self, system: Any, pinned: Callable[[str], str] = str) -> None:
        """Over a file system of fsspec; `pinned` gives the address that stays the same."""
        self._system, self._pinned = system, pinned

    def find(self, url: str) -> RemoteFile:
        """A file as it is now."""
        place = self._pinned(url)
        return self._file(url, place, self._system.info(place))

    def folder(self, url: str) -> dict[str, RemoteFile]:
        """The files of a folder by name."""
        place = self._pinned(url)
        found = self._system.ls(place, detail=True)
        files = [(info["name"].rpartition("/")[2], info) for info in found if info["type"] == "file"]
        return {name: self._file(f"{url}/{name}", f"{place}/{name}", info) for name, info in files if name}

    def read(self, file: RemoteFile, start: int, end: int) -> bytes:
        """The bytes `start` to `end` - 1; raises OSError where the file is another one now."""
        data = self._system.cat_file(file.at, start, end, size=file.size, cache_type="none")
        _check_size(len(data), end - start)
        return data

    @staticmethod
    def _file(url: str, place: str, info: dict[str, Any]) -> RemoteFile:
        if info.get("type") != "file":
            raise FileNotFoundError(url)
        version = info.get("ETag") or info.get("blob_id") or info.get("LastModified") or ""
        return RemoteFile(url, int(info["size"]), str(version), "" if place == url else place)


def _check_size(found: int, size: int) -> None:
    if found != size:
        raise OSError(errno.EIO, f"{found} bytes came in place of {size}")


# ---------------------------------------------------------------- S3
class S3(RemoteStore):
    """S3, and what speaks as it does."""

    def read(self, file: RemoteFile, start: int, end: int) -> bytes:
        """See `RemoteStore.read`."""
        from fsspec.asyn import sync

        bucket, key, _ = self._system.split_path(file.url)
        tag = {"IfMatch": file.version} if file.version.startswith('"') else {}
        span = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}"}
        try:
            answer = self._system.call_s3("get_object", **span, **tag, timeout=SECONDS)
        except OSError as error:
            said = (getattr(error.__cause__, "response", None) or {}).get("Error", {})
            if str(said.get("Code", "")) in ("PreconditionFailed", "InvalidRange", "412", "416"):
                raise stale(_CHANGED) from error
            raise
        try:
            if tag and answer.get("ETag", file.version) != file.version:
                raise stale(_CHANGED)
            _check_size(answer.get("ContentLength", end - start), end - start)
            data: Any = sync(self._system.loop, answer["Body"].read, timeout=SECONDS)
        finally:
            answer["Body"].close()
        _check_size(len(data), end - start)
        return data


# ---------------------------------------------------------------- the hub
def at_commit(system: Any, url: str) -> str:
    """The address of a file or folder at the commit that stands when it is first asked for."""
    from huggingface_hub import HfApi

    place = system.resolve_path(url)
    info = HfApi().repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision)
    kinds = {"dataset": "datasets/", "space": "spaces/", "model": ""}
    return f"hf://{kinds[place.repo_type]}{place.repo_id}@{info.sha}/{place.path_in_repo}".rstrip("/")


# ---------------------------------------------------------------- web servers
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Web(RemoteStore):
    """Servers that answer ranges."""

    lists = False

    def find(self, url: str) -> RemoteFile:
        """See `RemoteStore.find`."""
        return self._get(url, 0, 1)[0]

    def read(self, file: RemoteFile, start: int, end: int) -> bytes:
        """See `RemoteStore.read`."""
        return self._get(file.url, start, end, file)[1]

    def _get(self, url: str, start: int, end: int, known: RemoteFile | None = None) -> Any:
        from fsspec.asyn import sync

        return sync(self._system.loop, self._answer, url, start, end, known, timeout=SECONDS)

    async def _answer(self, url: str, start: int, end: int, known: RemoteFile | None) -> Any:
        session = await self._system.set_session()
        asks = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        if known is not None and known.version.startswith('"'):
            asks["If-Match"] = known.version
        async with session.get(self._system.encode_url(url), headers=asks) as answer:
            if answer.status in (404, 410):
                raise FileNotFoundError(url)
            if answer.status in (412, 416) and known is not None:
                raise stale(_CHANGED)
            if answer.status == 200:
                raise UserError(f"{url}: the server answers no ranges of bytes; download the shards first")
            answer.raise_for_status()
            said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if said is None or int(said[1]) != start:
                raise OSError(errno.EIO, f"HTTP {answer.status} without the range that was asked for")
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            found = RemoteFile(url, int(said[2]), version)
            if known is None:
                return found, b""
            if found != known:
                raise stale(_CHANGED)
            return found, await answer.content.readexactly(end - start)


T = TypeVar("T")
SCHEMES = {"s3": "s3fs", "hf": "huggingface_hub", "https": "aiohttp", "http": "aiohttp"}
"""Schemes of addresses that are read, and the library that fsspec needs for each."""
_FIRST, _LONGEST = 0.5, 15.0
"""Seconds before a store is asked again, which double; a little more or less, lest all ask at once."""
_SAID = 2.0
"""The wait with which it is said: single failures are common."""
_JITTER = random.SystemRandom()  # another one after a fork, too
_PASSING = frozenset({408, 425, 429})
"""Answers of web servers, besides those from 500 on, that may pass."""
_FINAL = (PermissionError, ValueError, TypeError, AttributeError)
_FINAL_NAMES = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"})
_FINAL_NUMBERS = frozenset({errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG})
"""What libraries make of answers that will not pass."""
_SECRETS = re.compile(r"(?<=://)[^/\s'\"@]*@|\?[^\s'\"]*")
_log = logging.getLogger(__name__)


class RefusedError(UserError):
    """A store refuses, and asking again does not help."""


def asked(url: str, ask: Callable[[RemoteStore], T], patience: float) -> T:
    """The answer of a store, asked again for `patience` seconds where it fails. Raises OSError where there is
    no such file, or another now; UserError where the store does not answer, or refuses (`RefusedError`)."""
    store, begun, wait = store_of(url), time.monotonic(), _FIRST
    while True:
        try:
            return ask(store)
        except UserError:
            raise
        except FileNotFoundError as error:
            clear_frames(error.__traceback__)  # fsspec's hold the error, and so all that led to it
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except Exception as error:  # every store's library has its own
            if isinstance(error, OSError) and error.errno == errno.ESTALE:
                raise
            reason, passes = _reason(error)
            if not passes:
                raise RefusedError(f"{url} cannot be read ({reason}): check it and your rights") from error
            left = patience - (time.monotonic() - begun)
            if left <= 0:
                told = "see whether the store answers, or raise data.remote.patience"
                last = f"for {max(0.0, patience):g} seconds now"
                raise UserError(f"{url} cannot be read ({reason}), {last}: {told}") from error
            if wait == _SAID:
                _log.warning("%s: no answer (%s); it is asked again for %.0f seconds", url, reason, left)
            time.sleep(min(left, wait * _JITTER.uniform(0.75, 1.25)))
            wait = min(2 * wait, _LONGEST)


def _reason(error: Exception) -> tuple[str, bool]:
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return f"HTTP {status}", status in _PASSING or status >= 500
    said = _SECRETS.sub("", first_line(error))
    name = type(error).__name__
    reason = said if said == name else f"{name}: {said}"
    final = isinstance(error, _FINAL) or name in _FINAL_NAMES
    return reason, not (final or (isinstance(error, OSError) and error.errno in _FINAL_NUMBERS))


def store_of(url: str) -> RemoteStore:
    """The store of an address; raises UserError where it is of no known kind, or its library is missing."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise UserError(f"{url}: shards are read from {', '.join(SCHEMES)}, not from {scheme}")
    return _opened(scheme, os.getpid())


@lru_cache(maxsize=8)
def _opened(scheme: str, process: int) -> RemoteStore:
    """The store of this process: fsspec's file systems are not made for a fork."""
    with explained(f"{scheme}:// needs {SCHEMES[scheme]}", "pip install 'xfm[remote]'", ImportError):
        import fsspec

        if scheme == "s3":
            once = {"retries": {"max_attempts": 0}}  # it is asked again here
            options = {"use_listings_cache": False, "config_kwargs": once}
            system = fsspec.filesystem("s3", skip_instance_cache=True, **options)
            system.retries = 1
            return S3(system)
        if scheme == "hf":
            system = fsspec.filesystem("hf", skip_instance_cache=True)
            return RemoteStore(system, partial(at_commit, system))
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=10, sock_read=30)
        options = {"timeout": timeout, "trust_env": True}  # proxies, and names and passwords of ~/.netrc
        return Web(fsspec.filesystem(scheme, skip_instance_cache=True, client_kwargs=options))
