"""What other libraries raise, as sentences."""

from collections.abc import Iterator
from contextlib import contextmanager

from xfm.errors import UserError, first_line


@contextmanager
def explained(what: str, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn an error inside into a sentence: what failed, the beginning of what was said, and the remedy.

    Args:
        what: the beginning of the sentence.
        remedy: its end.
        kinds: of errors; all if none is given, as most libraries raise every kind.

    Raises:
        UserError: the sentence, or one that was raised inside.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not isinstance(error, kinds or Exception):
            raise
        raise UserError(f"{what} ({first_line(error)}); {remedy}") from error
