"""Collections made and opened: folder, journal, store and model together."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfm.config.next_command import command_line
from xfm.core.errors import UserError, amount, excerpt, explained, printable
from xfm.core.locks import LOCK_FILE, locked
from xfm.core.paths import home_path
from xfm.inference.engine import Engine
from xfm.inference.pipeline import pipeline
from xfm.inference.row_units import everywhere
from xfm.models.folder import Pretrained
from xfm.models.resolve import packaged
from xfm.models.shipped import DEFAULT
from xfm.search.index import TOGETHER, Index, probe_of
from xfm.search.journal import HIDDEN, JOURNAL, MANIFEST, CollectionManifest, Journal, State
from xfm.search.trusted_hosts import require_trusted, without_password

if TYPE_CHECKING:
    from xfm.search.lance import LanceStore
    from xfm.search.postgres import PostgresStore

LANCE = "lance"
TABLE = "pictures"
SEARCHING: dict[str, Any] = {"precision": "fp32", "batch_size": 16}
"""How pictures are encoded for a collection: more at once is no faster on a CPU, and takes more memory."""
_NEAR = 1e-2
"""Most that a number of the probe differs where the model is the same: bf16 and other machines round."""


@contextmanager
def open_index(
    folder: Path | str,
    model: Pretrained | Path | str | None = None,
    *,
    make: bool = False,
    writing: bool = True,
    address: str | None = None,
    table: str | None = None,
    **running: Any,
) -> Iterator[Index]:
    """A collection, open while the block runs.

    Args:
        folder: of the collection, or of pictures with one in it.
        model: for the vectors; by default the one that made the collection.
        make: make the collection if it is not there.
        writing: whether pictures are added or removed, by one process at a time; others may search meanwhile.
        address: `postgresql://HOST/DATABASE` of the rows; `XFM_STORE_HOSTS` trusts hosts that collections
            name.
        table: in that server, `pictures` by default; a new collection makes it.
        running: `device` and `batch_size` of `xfm.pipeline`; vectors are computed in float32.

    Raises:
        UserError: no collection, in use, of another model or table, or on a server that is not trusted.
    """
    place = home_path(folder)
    if not writing and not (place / MANIFEST).exists() and (place / HIDDEN / MANIFEST).exists():
        place /= HIDDEN
    about = _found(place, make and writing, address, table)
    given = model if model is not None else about.model if about else None
    if given is None:
        raise UserError(f"a new collection needs a model: give a model folder, or {DEFAULT}, the package's")
    if about is not None and model is None and packaged(about.model) is None:
        told = f"{place} names its model: {excerpt(about.model, 200)}"
        print(f"Note: {printable(told)}", file=sys.stderr)
    engine = pipeline("embed", given, **SEARCHING | running).engine
    probe = probe_of(engine)
    with locked(place) if writing else nullcontext(), ExitStack() as undo:
        if writing:  # others may have made it, or added fields, while the model was loaded
            about = _found(place, make, address, table)
        if about is None:
            name = "the model" if isinstance(given, Pretrained) else everywhere(str(given))
            where = None if address is None else without_password(address)
            about = CollectionManifest(name, probe.tolist(), where, (table or TABLE) if address else "")
            for left in place.glob(f".{MANIFEST}.partial-*"):
                left.unlink()
            about.write(place)
            undo.callback(_clear, place)
        elif len(probe) != about.width or not np.abs(probe - np.array(about.probe)).max() <= _NEAR:
            name = engine.name if isinstance(given, Pretrained) else str(given)
            images = place.parent if place.name == HIDDEN else "..."
            anew = command_line("index", "build", model=name, images=images, out="FOLDER")
            raise UserError(
                f"{place} was made by another model than {name} (it says {about.model}): search it with that "
                f"one, or build a new collection: `{anew}`"
            )
        with _opened(place, about, engine, readonly=not writing, address=address) as index:
            undo.pop_all()
            yield index


def _found(place: Path, make: bool, address: str | None, table: str | None) -> CollectionManifest | None:
    """The collection that is there, where it may be opened so; None where one can be made."""
    if not (place / MANIFEST).exists() and make:
        own = (LOCK_FILE, f".{MANIFEST}.partial-")  # the second of a build that was killed
        if place.exists() and not all(path.name.startswith(own) for path in place.iterdir()):
            raise UserError(f"{place} holds something else than a collection: give another folder")
        if table is not None and address is None:
            raise UserError(f"{table} is a table of a server: give --store, too, or leave out --table")
        return None
    about = CollectionManifest.read(place)  # says where there is none
    if address is not None and without_password(about.address or "") != without_password(address):
        raise UserError(f"{place} keeps its rows in {about.address or 'the folder'}: give another --out")
    if table not in (None, about.table):
        kept = f"the table {about.table}" if about.table else "the folder"
        raise UserError(f"{place} keeps its rows in {kept}: give another --out, or leave out --table")
    if about.address is not None and address is None:
        require_trusted(place, about.address)
    return about


@contextmanager
def _opened(
    place: Path, about: CollectionManifest, engine: Engine, readonly: bool, address: str | None
) -> Iterator[Index]:
    with closing(Journal(place, readonly)) as journal:
        new = not readonly and not journal.counts()[State.STORED]
        with closing(_store(place, about, address, readonly, make=new)) as store:
            # Of a build that was killed some rows may be there before the journal names one.
            if new and not any(journal.counts().values()) and (rows := store.count()) > TOGETHER:
                unknown = f"its journal knows nothing of {amount(rows, 'row')}"
                raise UserError(f"{place} is damaged ({unknown}): remove it, and build the collection again")
            yield Index(place, about, engine, store, journal)


def _clear(place: Path) -> None:
    for path in (place / MANIFEST, *place.glob(f"{JOURNAL}*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(place / LANCE, ignore_errors=True)


def _store(
    place: Path, about: CollectionManifest, address: str | None, readonly: bool, make: bool
) -> "LanceStore | PostgresStore":
    if about.address is None:
        with explained("collections need LanceDB", "pip install 'xfm[index]'", ImportError):
            from xfm.search.lance import LanceStore
        return LanceStore(place / LANCE, about.width, make)
    from xfm.search.postgres import PostgresStore  # the address was read: what it needs is there

    return PostgresStore(address or about.address, about.table, about.width, about.id, not readonly)
