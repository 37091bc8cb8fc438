"""Object stores and web servers through fsspec: what files are there, and ranges of their bytes."""

import errno
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from xfm.core.errors import UserError
from xfm.data.sources.base import StaleError

SECONDS = 120.0
"""Of a request: a server that sends a byte a second would hold it for ever."""


@dataclass(frozen=True)
class RemoteFile:
    """A file when it was first asked for: bytes, entity tag or time of its version (may be empty), and the
    address of that version alone where there is one."""

    url: str
    size: int
    version: str
    at: str = ""


class RemoteStore(ABC):
    """A kind of stores. Its methods ask once, and raise what its library does."""

    lists = True
    """Whether it can say which files there are."""

    def __init__(self, system: Any) -> None:
        self._system = system

    @abstractmethod
    def find(self, url: str) -> RemoteFile:
        """A file as it is now."""

    def folder(self, url: str) -> dict[str, RemoteFile]:
        """The files of a folder by name."""
        raise NotImplementedError

    @abstractmethod
    def read(self, file: RemoteFile, start: int, end: int) -> bytes:
        """The bytes `start` to `end` - 1; raises StaleError where the file is another one now."""


# ---------------------------------------------------------------- S3
class S3(RemoteStore):
    """S3, and what speaks as it does."""

    def find(self, url: str) -> RemoteFile:
        """See `RemoteStore.find`."""
        return self._file(url, self._system.info(url, refresh=True))

    def folder(self, url: str) -> dict[str, RemoteFile]:
        """See `RemoteStore.folder`."""
        found = self._system.ls(url, detail=True, refresh=True)
        files = [(info["name"].rpartition("/")[2], info) for info in found if info["type"] == "file"]
        return {name: self._file(f"{url}/{name}", info) for name, info in files if name}

    @staticmethod
    def _file(url: str, info: dict[str, Any]) -> RemoteFile:
        if info.get("type") != "file":
            raise FileNotFoundError(url)
        return RemoteFile(url, int(info["size"]), str(info.get("ETag") or info.get("LastModified") or ""))

    def read(self, file: RemoteFile, start: int, end: int) -> bytes:
        """See `RemoteStore.read`."""
        from fsspec.asyn import sync

        bucket, key, _ = self._system.split_path(file.url)
        tag = {"IfMatch": file.version} if file.version.startswith('"') else {}
        span = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}"}
        try:
            answer = self._system.call_s3("get_object", **span, **tag, timeout=SECONDS)
        except OSError as error:
            if _code(error) in ("PreconditionFailed", "InvalidRange", "412", "416"):
                raise _changed() from error
            raise
        try:
            if tag and answer.get("ETag", file.version) != file.version:
                raise _changed()
            _check_size(answer.get("ContentLength", end - start), end - start)
            data: Any = sync(self._system.loop, answer["Body"].read, timeout=SECONDS)
        finally:
            answer["Body"].close()
        _check_size(len(data), end - start)
        return data


def _code(error: OSError) -> str:
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _check_size(found: int, size: int) -> None:
    if found != size:
        raise OSError(errno.EIO, f"{found} bytes came in place of {size}")


def _changed() -> StaleError:
    return StaleError("it was changed after it had been opened")


# ---------------------------------------------------------------- the hub
class Hub(RemoteStore):
    """Files are read at the commit that stands when they are first asked for."""

    def find(self, url: str) -> RemoteFile:
        """See `RemoteStore.find`."""
        pinned = self._pinned(url)
        return self._file(url, pinned, self._system.info(pinned))

    def folder(self, url: str) -> dict[str, RemoteFile]:
        """See `RemoteStore.folder`."""
        pinned = self._pinned(url)
        found = self._system.ls(pinned, detail=True)
        files = [(info["name"].rpartition("/")[2], info) for info in found if info["type"] == "file"]
        return {name: self._file(f"{url}/{name}", f"{pinned}/{name}", info) for name, info in files}

    def _pinned(self, url: str) -> str:
        from huggingface_hub import HfApi

        place = self._system.resolve_path(url)
        info = HfApi().repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision)
        kinds = {"dataset": "datasets/", "space": "spaces/", "model": ""}
        return f"hf://{kinds[place.repo_type]}{place.repo_id}@{info.sha}/{place.path_in_repo}".rstrip("/")

    @staticmethod
    def _file(url: str, pinned: str, info: dict[str, Any]) -> RemoteFile:
        if info.get("type") != "file":
            raise FileNotFoundError(url)
        return RemoteFile(url, int(info["size"]), str(info.get("blob_id") or ""), pinned)

    def read(self, file: RemoteFile, start: int, end: int) -> bytes:
        """See `RemoteStore.read`."""
        data = self._system.cat_file(file.at, start, end, size=file.size, cache_type="none")
        _check_size(len(data), end - start)
        return data


# ---------------------------------------------------------------- web servers
class _Status(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Web(RemoteStore):
    """Servers that answer ranges."""

    lists = False

    def find(self, url: str) -> RemoteFile:
        """See `RemoteStore.find`."""
        return self._get(url, 0, 1, None)[0]

    def read(self, file: RemoteFile, start: int, end: int) -> bytes:
        """See `RemoteStore.read`."""
        return self._get(file.url, start, end, file)[1]

    def _get(self, url: str, start: int, end: int, known: RemoteFile | None) -> tuple[RemoteFile, bytes]:
        from fsspec.asyn import sync

        found: Any = sync(self._system.loop, self._answer, url, start, end, known, timeout=SECONDS)
        return found

    async def _answer(
        self, url: str, start: int, end: int, known: RemoteFile | None
    ) -> tuple[RemoteFile, bytes]:
        session = await self._system.set_session()
        asks = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        if known is not None and known.version.startswith('"'):
            asks["If-Match"] = known.version
        async with session.get(self._system.encode_url(url), headers=asks) as answer:
            if answer.status in (404, 410):
                raise FileNotFoundError(url)
            if answer.status in (412, 416) and known is not None:
                raise _changed()
            if answer.status == 200:
                raise UserError(
                    f"{url}: the server answers no ranges of bytes; download the shards, or use another"
                )
            said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status != 206 or said is None or int(said[1]) != start:
                raise _Status(answer.status)
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            found = RemoteFile(url, int(said[2]), version)
            if known is None:
                return found, b""
            if found != known:
                raise _changed()
            return found, await answer.content.readexactly(end - start)
