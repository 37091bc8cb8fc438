"""The one exception that a user sees as a sentence instead of a traceback."""

import difflib
from collections.abc import Sequence
from importlib import import_module
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


class SaidElsewhere(UserError):
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


def import_extra(module: str, needed_by: str) -> Any:
    """A module that the package's extra of the same name installs; raises UserError."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"{needed_by} needs {module}: pip install 'xfm[{module}]'") from error
