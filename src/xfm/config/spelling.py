"""What people write on the command line, brought to the form that jsonargparse takes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser

from xfm.errors import UserError

_BOOLEANS = frozenset({"true", "false", "yes", "no"})


def respell(
    parser: ArgumentParser, options: Sequence[str], check: Callable[[Any, Any, str, str], None]
) -> list[str]:
    """Options as the parser takes them.

    `--batch-size` is `--batch_size`, a switch alone is true (`--validation`), and a list of names needs no
    brackets (`--parts vqa,hard`, `--candidate-labels "cat, big dog"`).

    Args:
        parser: the parser.
        options: as they were written.
        check: refuses fields that a type does not have, see `check_fields`.

    Raises:
        UserError: a list of records, such as corpora, is given as something else.
    """
    actions = {option: action for action in parser._actions for option in action.option_strings}
    found: list[str] = []
    rest = list(options)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name.startswith("--") and name not in actions:
            spelled = "--" + name[2:].replace("-", "_")
            name = spelled if spelled in actions else name
        kind = getattr(actions.get(name), "_typehint", None)
        if kind is bool and not equals:
            equals, value = "=", rest.pop(0) if rest and rest[0].lower() in _BOOLEANS else "true"
        elif get_origin(kind) is list and (equals or rest):
            equals, value = "=", _listed(name, kind, value if equals else rest.pop(0), check)
        found.append(f"{name}{equals}{value}")
    return found


def list_form(item: type) -> str:
    """How a list of these items is written, for help and messages."""
    if not is_dataclass(item):
        return "NAME,..."
    needed = [f.name for f in fields(item) if f.default is MISSING and f.default_factory is MISSING]
    return "[{" + ", ".join(f"{name}: {name.upper()}" for name in needed) + "}]"


def names_in(text: str) -> list[str]:
    """The names that a text with commas holds; a sentence with {} for a name is one, whatever its commas."""
    if "{}" in text:
        return [text]
    return [name for part in text.split(",") if (name := part.strip())]


def _names(value: str) -> list[str]:
    """The same on the command line, where YAML's brackets and quotes are understood, too.

    What YAML would read as something else than texts (yes, 12, a: b) is a text here.
    """
    inner = value.strip()
    inner = inner[1:-1] if inner.startswith("[") and inner.endswith("]") else inner
    try:
        content: Any = yaml.safe_load(f"[{inner}]")
    except yaml.YAMLError:
        content = None
    texts = isinstance(content, list) and all(isinstance(one, str) for one in content)
    return content if texts else names_in(inner)


def _listed(name: str, kind: Any, value: str, check: Callable[[Any, Any, str, str], None]) -> str:
    """The value of a list option with brackets."""
    (item,) = get_args(kind)
    if item is str:
        return json.dumps(_names(value))
    try:
        content: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        content = value
    if not (isinstance(item, type) and is_dataclass(item)):
        return value if isinstance(content, list) else f"[{value}]"
    content = [content] if isinstance(content, Mapping) else content
    if not isinstance(content, list) or not all(isinstance(entry, Mapping) for entry in content):
        raise UserError(f"{name}: give a list in quotes such as '{list_form(item)}', not {value}")
    check(kind, content, "options", name.lstrip("-").rstrip("+"))
    return value if value.lstrip().startswith(("[", "-")) else f"[{value}]"
