"""Many picture files are looked at by their beginnings and ends, once; what was found whole is remembered.

Nothing is decoded but the files of which `xfm.data.glance` is not sure: what is broken is named as decoding
names it. A file that was whole is known again by its path, size and time of change. A picture that only looks
whole turns out broken when it is decoded, and whoever decodes it says so.
"""

import contextlib
import hashlib
import os
import pickle
import queue
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from xfm.data import glance
from xfm.data.known_pictures import FolderFiles, KnownPictures
from xfm.data.left_out import UnreadablePicture
from xfm.data.picture_files import load_decoded
from xfm.data.pictures import byte_limit, pixel_limit
from xfm.processes import cores

SHOWN, MANY = 1000, 20_000
"""Files from which there is a bar, and from which helper processes look: these start too late for fewer."""
_CHUNK = 4096
_MOST_HELPERS = 16
Files = Mapping[str, str]
"""Names of files by their folder, sorted and parted by NUL."""


@dataclass
class Looked:
    """What was found out about pictures.

    Attributes:
        bad: why pictures cannot be used.
        flaws: what is wrong with those of which a part only is there.
        marks: a digest of the names and sizes of a folder's pictures, by the folder.
    """

    bad: dict[Path, str] = field(default_factory=dict)
    flaws: dict[Path, str] = field(default_factory=dict)
    marks: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Unsure:
    """A picture that does not look whole: where it is, and its time of change, -1 of what is no file."""

    path: Path
    entry: FolderFiles | None
    place: int
    time: int


def look_through(files: Files, places: Sequence[Path] = (), progress: bool = False) -> Looked:
    """Look at each file once, by its beginning and its end, or at its size and time where it is known.

    Args:
        files: what to look at.
        places: where what was found is kept: the first of these files that can be written.
        progress: show a bar.

    Raises:
        UserError: none of `places` can be written.
    """
    known, found, unsure = KnownPictures.read(places, pixel_limit()), Looked(), list[_Unsure]()
    entries: dict[str, FolderFiles] = {}
    for folder, names in files.items():
        blob, odd = _coded(names)
        unsure += [_Unsure(Path(folder) / name, None, 0, -1) for name in odd]
        if blob:
            entries[folder] = known.of(folder, blob)
    try:
        unsure += _glance(entries, progress)
        found.marks = {Path(folder): _digest(entry) for folder, entry in entries.items()}
        _decode(unsure, found, progress)
    finally:  # whoever interrupts it goes on from there
        for folder, entry in entries.items():
            known.keep(folder, entry)
        known.write(places)
    return found


def _coded(names: str) -> tuple[bytes, list[str]]:
    """Names as the system has them, and those that are none; of a million, none is looked at alone."""
    with contextlib.suppress(UnicodeEncodeError):
        if (blob := os.fsencode(names)) and not blob.startswith(b"\0"):
            return blob, []
    listed = names.split("\0")
    odd = [name for name in listed if not _is_name(name)]
    return b"\0".join(os.fsencode(name) for name in listed if _is_name(name)), odd


def _is_name(name: str) -> bool:
    try:
        return bool(os.fsencode(name))
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _digest(entry: FolderFiles) -> str:
    return hashlib.blake2b(entry.names + b"\0\0" + entry.sizes.tobytes()).hexdigest()[:16]


def _decode(unsure: Sequence[_Unsure], found: Looked, progress: bool) -> None:
    """Decode what does not look whole; what is whole all the same is known from now on."""

    def outcome(one: _Unsure) -> tuple[str | None, str | None]:
        try:
            return None, load_decoded(one.path).flaw
        except UnreadablePicture as error:
            return str(error), None

    bar = tqdm(unsure, unit="picture", desc="decoding", disable=not (progress and unsure))
    with ThreadPoolExecutor(min(8, cores())) as pool:
        for one, (problem, flaw) in zip(unsure, pool.map(outcome, bar), strict=True):
            if problem is not None:
                found.bad[one.path] = problem
            elif flaw is not None:
                found.flaws[one.path] = flaw
            elif one.entry is not None:
                one.entry.times[one.place] = one.time


# ---------------------------------------------------------------- looking
@dataclass(frozen=True)
class _Part:
    """Some files of a folder, from the place of the first on."""

    folder: str
    start: int
    job: glance.Job


def _glance(entries: Mapping[str, FolderFiles], progress: bool) -> list[_Unsure]:
    """Bring sizes and times up to date; what does not look whole gets none, and is returned."""
    limits = pixel_limit(), byte_limit()
    parts = [part for folder, entry in entries.items() for part in _parts(folder, entry, *limits)]
    total, unsure = sum(len(entry.sizes) for entry in entries.values()), list[_Unsure]()
    workers = min(_MOST_HELPERS, 2 * cores())  # most of the time they wait for the disk
    with (
        tqdm(
            total=total, unit="picture", desc="looking at pictures", disable=not progress or total < SHOWN
        ) as bar,
        _helpers(workers if total >= MANY else 0) as look,
        ThreadPoolExecutor(workers) as pool,
    ):
        seen = pool.map(look, (part.job for part in parts))
        for part, (sizes, times, odd) in zip(parts, seen, strict=True):
            entry, stop = entries[part.folder], part.start + len(sizes) // 8
            entry.sizes[part.start : stop] = array("q", sizes)
            entry.times[part.start : stop] = array("q", times)
            names = part.job[1].split(b"\0") if odd else []
            for number in odd:
                place = part.start + number
                path = Path(part.folder) / os.fsdecode(names[number])
                unsure.append(_Unsure(path, entry, place, entry.times[place]))
                entry.times[place] = -1
            bar.update(stop - part.start)
    return unsure


def _parts(folder: str, entry: FolderFiles, pixels: int, most: int) -> Iterator[_Part]:
    count = len(entry.sizes)
    names = entry.names.split(b"\0") if count > _CHUNK else []
    for start in range(0, count, _CHUNK):
        own = slice(start, start + _CHUNK)
        blob = b"\0".join(names[own]) if names else entry.names
        known = entry.sizes[own].tobytes(), entry.times[own].tobytes()
        yield _Part(folder, start, (os.fsencode(folder), blob, *known, pixels, most))


# ---------------------------------------------------------------- helpers
class _Helper:
    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", glance.__file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ask(self, job: glance.Job) -> glance.Seen:
        """What it saw.

        Raises:
            OSError, EOFError, pickle.UnpicklingError: it has ended.
        """
        source, target = self._process.stdout, self._process.stdin
        assert source is not None
        assert target is not None
        pickle.dump(job, target)
        target.flush()
        return pickle.load(source)

    def end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close() if stream is not None else None
        self._process.wait()


@contextlib.contextmanager
def _helpers(count: int) -> Iterator[Callable[[glance.Job], glance.Seen]]:
    """What looks at a job, from any thread: helper processes, or this one where there are none."""
    started: list[_Helper] = []
    with contextlib.suppress(OSError):  # without helpers it takes longer
        started += [_Helper() for _ in range(count)] if sys.executable else []
    idle: queue.SimpleQueue[_Helper] = queue.SimpleQueue()
    for helper in started:
        idle.put(helper)

    def look(job: glance.Job) -> glance.Seen:
        helper = idle.get()
        try:
            return helper.ask(job)
        except (OSError, EOFError, pickle.UnpicklingError):  # it was killed
            return glance.glance(job)
        finally:
            idle.put(helper)

    try:
        yield look if started else glance.glance
    finally:
        for helper in started:
            helper.end()
