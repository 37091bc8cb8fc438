"""Where shards lie: files that are known again, and read in pieces."""

from pathlib import Path
from typing import Any, Protocol

from xfm.data.sources.base import FILES, StoredFile, sampled_digest
from xfm.data.sources.shard_index import COMMAND
from xfm.data.sources.shard_table import ShardTable


class StaleError(OSError):
    """A shard is not the one that was indexed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.strerror = reason


class ShardStorage(Protocol):
    """A folder of shards, here or elsewhere; safe to use after a fork and to pickle.

    Attributes:
        remedy: what to do where the shards are not those of their index.
        distant: whether they lie on other machines, which answer late and several questions at a time.
    """

    distant: bool

    @property
    def remedy(self) -> str:
        """What to do where the shards are not those of their index."""
        ...

    def name(self, shard: str) -> str:
        """The whole name of a shard, for people."""
        ...

    def file(self, table: ShardTable, shard: int) -> Any:
        """A shard of a table as `read` takes it, with the `size` in bytes.

        Raises:
            OSError: it is gone, cannot be reached, or is not the one that was indexed.
        """
        ...

    def read(self, file: Any, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`; raises OSError."""
        ...

    def expect(self, file: Any, offset: int, size: int) -> None:
        """Hear what will be read soon; raises OSError."""
        ...


class LocalShards:
    """Shards in a folder of this machine, or of one that is mounted.

    Args:
        folder: of the shards.
        indexed: whether a user has written their index.
    """

    distant = False

    def __init__(self, folder: Path, indexed: bool) -> None:
        self.folder, self._indexed = folder, indexed
        self._before = str(folder / "-").removesuffix("-")  # paths are slow to join, a time for each record

    @property
    def remedy(self) -> str:
        """See `ShardStorage.remedy`."""
        if not self._indexed:
            return "start again"
        return f"run `{COMMAND} {self.folder}`, or download or prepare the shard again"

    def name(self, shard: str) -> str:
        """See `ShardStorage.name`."""
        return self._before + shard

    def file(self, table: ShardTable, shard: int) -> StoredFile:
        """See `ShardStorage.file`. A copy has another time, and is known by its sampled digest."""
        file, size = StoredFile.of(self.folder / table.names[shard]), int(table.sizes[shard])
        if file.size != size:
            raise StaleError(f"it has {file.size} bytes and was indexed with {size}; {self.remedy}")
        if file.modified != table.modified[shard] and sampled_digest(file) != table.samples[shard].tobytes():
            before = "indexed" if self._indexed else "opened"
            raise StaleError(f"it was changed after it had been {before}; {self.remedy}")
        return file

    def read(self, file: StoredFile, offset: int, size: int) -> bytes:
        """See `ShardStorage.read`."""
        return FILES.read(file, offset, size)

    def expect(self, file: StoredFile, offset: int, size: int) -> None:
        """See `ShardStorage.expect`."""
        FILES.expect(file, offset, size)
