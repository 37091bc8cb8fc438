"""Files and folders that are replaced whole or not at all, and paths that other files name."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from xfm.core.errors import FULL, LIMITS, UserError, refused

MAX_SETTINGS = 64 << 20
"""Bytes of a file of settings, or of results, that is read whole."""
DEEPEST = 100
"""Levels of a file of settings, more than any of ours has: JSON and YAML are not written of any depth."""
MAX_OFFICIAL = 2 << 30
"""Bytes of a published file of annotations."""
MAX_LOG = 1 << 30
"""Bytes of the log of a run."""
OPENING = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of every descriptor; each is of some systems."""
_positions = threading.Lock()


def file_digest(path: Path, told: Callable[[int], object] = lambda read: None) -> str:
    """Sha256 of a regular file as hexadecimal digits; `told` hears how many more bytes were read."""
    found = hashlib.sha256()
    with open_regular(path) as stream:
        while part := stream.read(1 << 20):
            found.update(part)
            told(len(part))
    return found.hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder, those of folders in it left out."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


# ---------------------------------------------------------------- paths that a file names
def path_below(folder: Path, name: str, within: Path | None = None) -> Path | None:
    """`folder`/`name`, or None where that is no path, or leaves `within` (the folder) by `..` or a link:
    whoever may write a list of images must not choose among all files of the machine."""
    try:
        inside = Path(os.path.realpath(folder / name)).is_relative_to(os.path.realpath(within or folder))
    except ValueError:  # a NUL, or half a surrogate pair
        return None
    return folder / name if inside else None


# ---------------------------------------------------------------- reading
@contextlib.contextmanager
def reading(place: object, remedy: str = "check the path") -> Iterator[None]:
    """Turn an OSError inside into a UserError: "PLACE cannot be read (why); remedy"."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{place} cannot be read ({error.strerror or error}); {remedy}") from error


def open_regular(path: Path | str) -> BufferedReader:
    """A regular file, opened for reading: no pipe (blocks), no device (endless). Raises OSError."""
    handle = os.open(path, os.O_RDONLY | OPENING | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """At most `size` bytes at `offset`. Where there are forks, it moves no position that these share."""
    if sys.platform != "win32":
        return os.pread(descriptor, size, offset)
    with _positions:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def read_bytes(path: Path | str, limit: int = MAX_SETTINGS) -> bytes:
    """Content of a regular file of at most `limit` bytes, checked before. Raises OSError."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        # A file may grow meanwhile, or not say its size; room for the limit is taken by no reader at once.
        content = (stream.read(size + 1) if size <= limit else b"") or b""  # None: it would block
        while size < len(content) <= limit and (more := stream.read(min(1 << 20, limit + 1 - len(content)))):
            content += more
    if (size := max(size, len(content))) > limit:
        raise OSError(errno.EFBIG, f"it has {size} bytes, more than the limit of {limit}", str(path))
    return content


def read_text(
    path: Path | str, limit: int = MAX_SETTINGS, encoding: str = "utf-8", errors: str = "strict"
) -> str:
    """Text of a regular file of at most `limit` bytes, its lines ended by `\\n`. Raises OSError,
    UnicodeDecodeError."""
    text = read_bytes(path, limit).decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file of a model folder; raises UserError."""
    try:
        with reading(path, "check the path, or name a folder that holds a model"):
            value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        what = str(error).partition("; use sys.")[0]  # advice for programs, of numbers of 5,000 digits
        raise UserError(f"{path} is not valid JSON ({what}); copy it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object; copy it again")
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
    if level:
        raise UserError(f"{path} is nested more than {DEEPEST} levels deep; copy it again")
    return value


def read_json_or_nothing(path: Path) -> dict[str, Any]:
    """The object that a file holds; empty where there is none that can be read."""
    try:
        value = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The objects of a log of JSON lines without torn and foreign lines. Raises OSError."""
    found: list[dict[str, Any]] = []
    for text in read_text(path, MAX_LOG, errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, RecursionError):
            found += [line] if isinstance(line := json.loads(text), dict) else []
    return found


# ---------------------------------------------------------------- writing
@contextlib.contextmanager
def writing(place: Path, remedy: str | Callable[[], str]) -> Iterator[None]:
    """Turn what keeps `place` from being written into a UserError; `remedy`: for a full disk."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = refused(error)
        if number is not None and number in (*FULL, errno.EFBIG):
            what, mend = LIMITS[number]
            remedy = remedy if isinstance(remedy, str) else remedy()
            mend = f"free some space {remedy}" if number in FULL else mend
            raise UserError(f"{place}: {what}; {mend}") from error
        if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
            reason = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
            raise UserError(f"{place} cannot be written ({reason}); choose another folder") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; odd bytes in names of files become escapes."""
    write_data(path, text.encode("utf-8", errors="backslashreplace"))


def write_data(path: Path, data: bytes, lasting: bool = True) -> None:
    """Write a file, whole or not at all; `lasting`: wait until it outlives a power failure."""
    with replacing(path, lasting) as stream:
        stream.write(data)


@contextlib.contextmanager
def replacing(path: Path, lasting: bool = True) -> Iterator[BinaryIO]:
    """A file, open for writing, that gets the name `path` after the block unless this raises."""
    number = threading.get_native_id()  # of the first thread that of the process
    partial = path.with_name(f".{path.name}.partial-{number}")
    try:
        partial.unlink(missing_ok=True)  # of a process with this id that was killed
        with partial.open("xb") as stream:
            yield stream
            if lasting:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, for `replace_folder`; drafts of killed processes go first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(target.parent, re.escape(target.name))
    draft = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        draft.mkdir()
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def clear_leftovers(parent: Path, names: str) -> None:
    """Remove the drafts of killed processes of targets whose names fit a regular expression; a folder that
    one of them had moved aside comes back."""
    pattern = re.compile(rf"\.(?P<name>{names})\.(?P<what>partial|old)-(?P<process>\d+)")
    for path in [*parent.iterdir()]:
        if not (match := pattern.fullmatch(path.name)) or _is_running(int(match["process"])):
            continue
        target = parent / match["name"]
        if match["what"] == "old" and not target.exists():
            os.replace(path, target)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    if process == os.getpid():  # in a container, the killed process often had the same id
        return False
    if sys.platform == "win32":  # whose os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def replace_folder(draft: Path, target: Path) -> None:
    """Rename `draft` to `target`, in the same parent. A folder cannot be replaced in one call: if the process
    dies in between, the old one is found as `.NAME.old-PID`, and the next `drafting` brings it back."""
    aside = target.with_name(f".{target.name}.old-{os.getpid()}")
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(draft, target)
    except BaseException:
        if aside.exists():
            os.rename(aside, target)
        raise
    _sync_path(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def delete_folder(path: Path) -> None:
    """Delete a folder; it has its name whole or not at all, the rest counts as a draft."""
    doomed = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(doomed, ignore_errors=True)  # of a process with this id that was killed
    with contextlib.suppress(OSError):  # somebody else was faster, or it may not be deleted
        os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Force files and directory entries to the disk, so that a later rename never outlives their content."""
    for path in [*folder.rglob("*"), folder]:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():  # which opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
