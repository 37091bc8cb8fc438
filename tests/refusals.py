"""What a refusal must be: one line that names what is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xfm.core.errors import UserError


@contextmanager
def expect_refusal(*words: str, kind: type[Exception] = UserError) -> Iterator[None]:
    """The block ends with an error whose message is one line and holds each of the words as it stands."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message
