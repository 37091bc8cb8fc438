"""Other libraries: what they raise, as sentences, and the layers of their encoders."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

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


def find_layers(trunk: nn.Module) -> list[nn.Module]:
    """Members of the outermost lists of more than one module of the same class."""
    for child in trunk.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        if len(members) > 1 and len({type(member) for member in members}) == 1:
            return members
    return [layer for child in trunk.children() for layer in find_layers(child)]


def last_norms(trunk: nn.Module, layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Norms that are in no layer and no embedding."""
    inside = {id(part) for layer in layers for part in layer.modules()}
    named = {name: part for name, part in trunk.named_modules() if id(part) not in inside}
    ends = ("norm", "fc_norm")
    return [one for name, one in named.items() if name.rpartition(".")[2] in ends and "embed" not in name]
