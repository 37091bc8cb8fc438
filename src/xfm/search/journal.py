"""Manifest (`index.json`) and journal of a collection; the journal is an SQLite file that survives a kill.

It names no picture whose row is not in the store; a kill may leave rows in the store that it does not name.
"""

import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.core.files import open_regular, read_json_object, write_text
from xfm.search.filters import Kind
from xfm.search.store import guarded

MANIFEST, FORMAT = "index.json", 3
_SERVER = "address", "table", "id"
HIDDEN = ".xfm-index"
"""The collection of a folder of pictures, in that folder."""


@dataclass(frozen=True)
class CollectionManifest:
    """Model, probe (the vector of a fixed text), fields, and PostgreSQL address and table of a collection.

    `id` marks the owner of the table. The address has no password.
    """

    model: str
    probe: list[float]
    address: str | None = None
    table: str = ""
    fields: Mapping[str, Kind] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def width(self) -> int:
        """E, of the vectors."""
        return len(self.probe)

    def write(self, folder: Path) -> None:
        """Write it into the folder, whole or not at all."""
        told: dict[str, Any] = {"format": FORMAT, "model": self.model}
        told["store"] = {name: getattr(self, name) for name in _SERVER} if self.address else "lancedb"
        told |= {"fields": {name: kind.value for name, kind in self.fields.items()}}
        told["probe"] = [round(float(value), 6) for value in self.probe]
        write_text(folder / MANIFEST, json.dumps(told, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "CollectionManifest":
        """Read it; UserError: no collection, damaged, or of another format."""
        if not (place := folder / MANIFEST).exists():
            raise UserError(
                f"{folder} holds no collection: make one with `xfm index build --images ... --out {folder}`"
            )
        told = read_json_object(place)
        if (number := told.pop("format", None)) != FORMAT:
            raise UserError(f"{place} is of format {number}, not {FORMAT}: build it again")
        store = told.pop("store", None)
        if isinstance(store, dict):
            told |= {name: store.get(name, "") for name in _SERVER}
        return from_plain(cls, told, place, remedy="build the collection again")


JOURNAL = "journal.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY, stamp TEXT NOT NULL, state TEXT NOT NULL, digest BLOB, told TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS pictures ON items (digest) WHERE state = 'stored';
CREATE INDEX IF NOT EXISTS others ON items (told) WHERE state = 'duplicate';
"""
_SECONDS = 30.0
"""For which a process waits while another one writes."""


class State(StrEnum):
    """State of an offered picture."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    BAD = "bad"


class JournalItem(NamedTuple):
    """An offered picture: its state, its file's stamp, a detail, and its pixels' digest if it is stored.

    `told` is of a duplicate the other's key, of a bad picture the reason, of others the table that names it.
    """

    state: State
    stamp: str
    told: str | None = None
    digest: bytes | None = None

    def is_of(self, stamp: str) -> bool:
        """Whether the file has not changed since; one without a stamp may have."""
        return bool(stamp) and self.stamp == stamp


@guarded
class Journal:
    """The journal of a collection; every method raises StoreError where the file is damaged or foreign."""

    def __init__(self, folder: Path, readonly: bool = False) -> None:
        self.place, mode = folder / JOURNAL, "mode=ro" if readonly else "mode=rwc"
        log = folder / f"{JOURNAL}-wal"
        if readonly and not os.access(folder, os.W_OK) and not log.exists():
            mode += "&immutable=1"  # a file system that nobody writes to, where no lock can be made either
        if readonly or self.place.exists():
            open_regular(self.place).close()  # a pipe would never end
        self._database = sqlite3.connect(
            f"file:{quote(str(self.place))}?{mode}", uri=True, timeout=_SECONDS, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        with closing(sqlite3.connect(":memory:")) as other:
            other.executescript(_TABLES)
            own, there = _schema(other), _schema(self._database)
        if there != own if readonly else not there <= own:
            raise ValueError("it has other tables, or views, which may never end")
        if not readonly:
            # Each commit is in the file when it returns, and safe from anything but a power cut.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_TABLES)
        self._file = self.place.stat()

    @property
    def is_there(self) -> bool:
        """Whether the file is still the one that was opened."""
        try:
            return os.path.samestat(self.place.stat(), self._file)
        except OSError:
            return False

    def item(self, key: str) -> JournalItem | None:
        """A picture's item; None for an unknown key."""
        texts = "state, CAST(stamp AS TEXT), CAST(told AS TEXT), digest"  # a stranger's may be no texts
        row = self._database.execute(f"SELECT {texts} FROM items WHERE key = ?", [key]).fetchone()
        return None if row is None else JournalItem(State(row[0]), *row[1:])

    def holder(self, digest: bytes) -> str | None:
        """The key of the picture with these pixels."""
        query = "SELECT key FROM items WHERE digest = ? AND state = 'stored'"
        row = self._database.execute(query, [digest]).fetchone()
        return None if row is None else row[0]

    def note(self, items: Mapping[str, JournalItem]) -> None:
        """Note pictures by key, all or none, in place of those with their keys."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for key, one in items.items():
                self._forget(key)
                cells = [key, one.stamp, one.state, one.digest, one.told]
                self._database.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?)", cells)

    def forget(self, keys: Iterable[str]) -> int:
        """Forget pictures and their duplicates; how many of the keys were known."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            return sum(map(self._forget, keys))

    def _forget(self, key: str) -> int:
        self._database.execute("DELETE FROM items WHERE state = 'duplicate' AND told = ?", [key])
        return self._database.execute("DELETE FROM items WHERE key = ?", [key]).rowcount

    def offered(self) -> list[str]:
        """Every key that is known."""
        return [row[0] for row in self._database.execute("SELECT key FROM items ORDER BY key")]

    def counts(self) -> Mapping[State, int]:
        """Pictures by state."""
        rows = self._database.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall()
        return {state: dict(rows).get(state, 0) for state in State}

    def fold(self) -> None:
        """Give free space back."""
        self._database.execute("VACUUM")
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _schema(database: sqlite3.Connection) -> set[Any]:
    return {*database.execute("SELECT name, type, sql FROM sqlite_master")}
