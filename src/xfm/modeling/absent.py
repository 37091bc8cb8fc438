"""The place of a part that a language-only model lacks."""

from typing import Any, NoReturn

from torch import nn

from xfm.config.model import lacks
from xfm.errors import UserError


class AbsentPartError(UserError, AttributeError):
    """A part is asked for that is not there; to `hasattr` and `copy` it is a missing attribute."""


class Absent(nn.Module):
    """Holds no weights; whatever asks it for something is refused in one sentence."""

    def forward(self, *given: Any, **named: Any) -> NoReturn:
        """Refused.

        Raises:
            UserError: always.
        """
        raise UserError(lacks())

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise AbsentPartError(lacks()) from error
