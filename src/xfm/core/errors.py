"""Errors that a user sees as a sentence instead of a traceback, and what a machine refuses as one."""

import difflib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

LONGEST_MESSAGE = 4000
"""Characters of a message that are shown at most."""


class UserError(Exception):
    """Something the user can mend: the message names the file, row or field and the remedy.

    The command line prints the message on one line and exits with status 2.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > LONGEST_MESSAGE:  # somebody put a book into a cell; the remedy stands at the end
            text = f"{text[: LONGEST_MESSAGE * 3 // 4]} ... {text[-LONGEST_MESSAGE // 5 :]}"
        return printable(text)


class PeerReportedError(UserError):
    """The same in a process beside the one that says it: this one ends in silence, with the same status."""


def printable(text: str) -> str:
    """The text with control characters, line breaks and half surrogates as escapes: names from unchecked
    files end up in messages, and a terminal obeys what is in them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def excerpt(text: str, longest: int = 60) -> str:
    """The text, its end cut after so many characters: a name that a file holds may be of any length."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def amount(count: int, one: str, more: str = "") -> str:
    """A count with its noun: 1 picture, 2,000 pictures (`more`, by default `one` with an s)."""
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def suggest(word: str, known: Sequence[str], otherwise: str | None = None) -> str:
    """The closest known words as a question; `otherwise`, or all of them, where none is close."""
    if close := difflib.get_close_matches(word, known, n=3, cutoff=0.5):
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}" if otherwise is None else otherwise


def refuse_none(**given: object) -> None:
    """Refuse a call by UserError where one of the arguments is None."""
    if missing := [name for name, value in given.items() if value is None]:
        raise UserError(f"{missing[0]} is None, and nothing can be done without it; give it")


def first_line(error: BaseException, longest: int = 160) -> str:
    """The beginning of another library's message, of at most `longest` characters."""
    lines = str(error).strip().splitlines()
    text = " ".join(lines[0].split()) if lines else type(error).__name__
    return excerpt(text, longest)


@contextmanager
def explained(what: str, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn an error inside (of `kinds`, by default all) into a UserError: "what (first line); remedy"."""
    caught = kinds or (Exception,)
    try:
        yield
    except caught as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{what} ({first_line(error)}); {remedy}") from error


@contextmanager
def naming(place: object, kind: type[Exception] = UserError) -> Iterator[None]:
    """Put the place before the sentence of an error inside, which becomes a UserError."""
    try:
        yield
    except kind as error:
        raise UserError(f"{place}: {error}") from error


def import_extra(module: str, needed_by: str, extra: str = "") -> Any:
    """A module that an extra of the package installs, one of its name if not given; raises UserError."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"{needed_by} needs {module}: pip install 'xfm[{extra or module}]'") from error


AGAIN = "and run the command again"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

LIMITS = {
    errno.ENOSPC: ("the disk is full", f"free some space {AGAIN}"),
    errno.EDQUOT: ("the quota of the disk is used up", f"free some space {AGAIN}"),
    errno.EFBIG: ("no file may grow that large here", f"raise the limit (`ulimit -f unlimited`) {AGAIN}"),
    errno.EMFILE: ("too many files are open", f"raise the limit (`ulimit -n 8192`) {AGAIN}"),
    errno.ENFILE: ("too many files are open on this machine", f"end other programs {AGAIN}"),
    errno.EAGAIN: ("no further process may be started", f"raise the limit (`ulimit -u`) {AGAIN}"),
    errno.EIO: ("the disk reports an error", f"check the disk {AGAIN}"),
}
"""Limits of `refused`: what each is, and what to do, wherever it happens; the others need a path."""

_PATHS = {
    errno.EACCES: ("it may not be opened", "change its permissions, or name another path"),
    errno.EPERM: ("it may not be changed", "change its permissions, or name another path"),
    errno.EROFS: ("that disk cannot be written", "name a path on another"),
    errno.EISDIR: ("it is a folder where a file is needed", "name a file"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "check the path"),
    errno.ENOENT: ("it does not exist", "check the path"),
    errno.EEXIST: ("it exists already", "name another path"),
    errno.ENAMETOOLONG: ("the name is too long", "check the path"),
    errno.ELOOP: ("its links lead in a circle", "check the path"),
    errno.ENXIO: ("it cannot be read or written", "name an ordinary file"),
}
_LONGEST_NAME = 80
_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|bad_alloc|"
    r"failed to map segment|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def refused(error: BaseException) -> int | None:
    """The errno of the limit behind an error, even where a library hides it in a text; else None."""
    for one in chain(error):
        if isinstance(one, OSError) and one.errno in LIMITS and not isinstance(one, BlockingIOError):
            return one.errno
        if found := re.search(r"\bos error (\d+)\b", str(one)):
            return int(found[1]) if int(found[1]) in LIMITS else None
        if "disk is full" in str(one):  # as SQLite has it
            return errno.ENOSPC
        for number in (*FULL, errno.EFBIG):
            if os.strerror(number) in str(one):
                return number
    return None


def explain(error: BaseException, place: str = "") -> str | None:
    """One sentence on an error of the machine, None for others; `place`: what the command writes."""
    if out_of_memory(error):
        detail = f" ({first_line(error)})" if str(error) else ""
        return (
            f"memory ran out{detail}; take smaller batches (a batch_size among the options of --help), fewer "
            "workers, or a machine with more memory"
        )
    name = _name(error) or place
    if (number := refused(error)) is not None:
        what, remedy = LIMITS[number]
        return f"{name}: {what}; {remedy}" if name else f"{what}; {remedy}"
    if _name(error) and (found := _PATHS.get(getattr(error, "errno", None) or 0)):
        what, remedy = found
        return f"{name}: {what}; {remedy}"
    if isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, BrokenPipeError):
        return f"a connection failed ({first_line(error)}); check the network {AGAIN}"
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory of this machine or of its device was too little."""
    said = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    return said or _MEMORY.search(str(error)) is not None


def require_memory(path: Path, size: int) -> None:
    """Refuse a file of weights of more bytes than the machine's memory by UserError."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise UserError(
            f"{path} has {size >> 20} MiB, more than the {memory >> 20} MiB of memory here; take a machine "
            "with more, or a smaller model"
        )


def beneath(error: BaseException) -> UserError | None:
    """The sentence after which a file could not be closed either; None where an error is not of that kind."""
    after = isinstance(error, OSError) or refused(error) is not None
    return next((one for one in chain(error) if isinstance(one, UserError)), None) if after else None


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, what was being handled then, and so on."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _name(error: BaseException) -> str:
    given = getattr(error, "filename", None)
    if given is None or isinstance(given, int):
        return ""
    name = os.fsdecode(given) if isinstance(given, bytes | os.PathLike) else str(given)
    return name if len(name) <= 4 * _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
