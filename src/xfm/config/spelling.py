"""What people write on the command line, brought to the form that jsonargparse takes.

The rules of every command, in one place:

- `--batch-size` and `--batch_size` are one option; help shows dashes.
- What a command needs most may stand without its name: `xfm evaluate MODEL` is `xfm evaluate --model MODEL`.
- One thing has one name in all commands; the names of `ALSO` are understood, too.
- A switch alone is true (`--validation`).
- A list of names needs no brackets (`--parts vqa,hard`, `--candidate-labels "cat, big dog"`).
- Every option has an environment variable, `XFM_EVALUATE_BATCH_SIZE`.
- `~` is the home folder in what `PATHS` names, wherever it is written: options, environment, recipes.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace

from xfm.config.plain import yaml_value
from xfm.errors import UserError
from xfm.paths import at_home

ALSO = {"valid": "validation", "folder": "out", "to": "out"}
"""Other names of options, and what they are called here."""

_PATHS = """adapter base cache config data draw evaluation file from gallery image images index init input
    json keys language model names out path pictures recipe replay root split templates test tokenizer train
    validation_rows vision world"""
PATHS = frozenset(_PATHS.split())
"""Options and fields that are paths, or may be one; a parser may know more (`Parser.paths`)."""

_BOOLEANS = frozenset({"true", "false", "yes", "no"})

Check = Callable[[Any, Any, str, str], None]


class Parser(ArgumentParser):
    """A parser whose first options may stand without their names.

    Attributes:
        words: those options, in the order in which their values are written.
        paths: options that are paths, or may be one.
        kinds: dataclasses whose fields are options.
        repeated: options of lists that are given once for each item, which may hold commas.
    """

    words: tuple[str, ...] = ()
    paths: frozenset[str] = PATHS
    kinds: tuple[type, ...] = ()
    repeated: frozenset[str] = frozenset()


def respell(parser: ArgumentParser, options: Sequence[str], check: Check) -> list[str]:
    """Options as the parser takes them.

    Args:
        parser: the parser.
        options: as they were written.
        check: refuses fields that a type does not have, see `check_fields`.

    Raises:
        UserError: a list of records, such as corpora, is given as something else, or a word has no place.
    """
    spelled = _Spelling(parser)
    found, words = list(_from_environment(parser, spelled)), list[str]()
    rest, unknown, items = list(options), False, dict[str, list[str]]()
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("-") or name == "-":
            words.append(f"{name}{equals}{value}")
            continue
        name = spelled(name)
        unknown = unknown or name not in spelled.actions
        kind = getattr(spelled.actions.get(name), "_typehint", None)
        if name.removeprefix("--") in getattr(parser, "repeated", ()) and (equals or rest):
            items.setdefault(name, []).extend(_items(value if equals else rest.pop(0)))
            continue
        if kind is bool and not equals:
            equals, value = "=", rest.pop(0) if rest and rest[0].lower() in _BOOLEANS else "true"
        elif get_origin(kind) is list and (equals or rest):
            equals, value = "=", _listed(name, kind, value if equals else rest.pop(0), check)
        elif not equals and spelled.takes_value(name) and rest and not spelled.is_option(rest[0]):
            equals, value = "=", rest.pop(0)
        found.append(f"{name}{equals}{value}")
    found += [f"{name}={json.dumps(several)}" for name, several in items.items()]
    given = {option.partition("=")[0] for option in found}
    open_places = [name for word in getattr(parser, "words", ()) if (name := f"--{word}") not in given]
    found += [f"{name}={word}" for name, word in zip(open_places, words, strict=False)]
    words = words[len(open_places) :]
    if words and not unknown and all(action.option_strings for action in parser._actions):
        raise UserError(f"there is no place for {words[0]!r} here; the names of options begin with --")
    return found + words


class _Spelling:
    def __init__(self, parser: ArgumentParser) -> None:
        self.actions = {option: action for action in parser._actions for option in action.option_strings}
        self._names = {option.replace("_", "-"): option for option in self.actions}

    def __call__(self, name: str) -> str:
        """The option as the parser has it; the name itself where it has none."""
        dashed = name.replace("_", "-")
        also = f"--{ALSO.get(dashed.removeprefix('--'), '')}"
        return self._names.get(dashed) or self._names.get(also) or name

    def takes_value(self, name: str) -> bool:
        action = self.actions.get(name)
        return action is not None and action.nargs is None

    def is_option(self, word: str) -> bool:
        """Whether a word names an option, so that it is no value."""
        return word.startswith("--") and self(word.partition("=")[0]) in self.actions


def _from_environment(parser: ArgumentParser, spelled: _Spelling) -> Iterator[str]:
    """Options that the environment gives by another of their names; the parser reads the others."""
    if not parser.default_env:
        return
    for also, name in ALSO.items():
        value = os.environ.get(f"{parser.env_prefix}_{also.upper()}")
        has_own = f"{parser.env_prefix}_{name.upper()}" in os.environ
        if value is not None and not has_own and f"--{name}" in spelled.actions:
            yield f"--{name}={value}"


def early_word(options: Sequence[str], name: str, known: Sequence[str]) -> str | None:
    """The value of an option that decides which options there are, before there is a parser.

    Args:
        options: as they were written.
        name: the option, such as task, whose value may stand without its name.
        known: its values; of words that do not come first, only these are taken for it.
    """
    for place, option in enumerate(options):
        if option == f"--{name}":
            return next(iter(options[place + 1 :]), None)
        if option.startswith(f"--{name}="):
            return option.partition("=")[2]
    if options and not options[0].startswith("-"):
        return options[0]
    return next((option for option in options if option in known), None)


def paths_at_home(values: Any, paths: Set[str], name: str = "") -> Any:
    """The values of a parser, in place, with the home folder for `~` in every one of the paths."""
    if isinstance(values, Namespace | dict):
        for key, value in [*(vars(values) if isinstance(values, Namespace) else values).items()]:
            values[key] = paths_at_home(value, paths, str(key))
    elif isinstance(values, list):
        return [paths_at_home(value, paths, name) for value in values]
    elif isinstance(values, str) and name in paths:
        return at_home(values)
    return values


def with_dashes(parser: ArgumentParser) -> None:
    """Spell every option with dashes, as help and completion show them."""
    for action in parser._actions:
        action.option_strings = [option.replace("_", "-") for option in action.option_strings]


def with_underscores(values: Any) -> Any:
    """The mapping of a YAML file, whose fields may be spelled with dashes, too."""
    if isinstance(values, Mapping):
        return {
            key.replace("-", "_") if isinstance(key, str) else key: with_underscores(value)
            for key, value in values.items()
        }
    return [with_underscores(value) for value in values] if isinstance(values, list) else values


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
        content: Any = yaml_value(f"[{inner}]")
    except ValueError:
        content = None
    texts = isinstance(content, list) and all(isinstance(one, str) for one in content)
    return content if texts else names_in(inner)


def _items(value: str) -> list[str]:
    return _names(value) if value.strip().startswith("[") else [value]


def _listed(name: str, kind: Any, value: str, check: Check) -> str:
    (item,) = get_args(kind)
    if item is str:
        return json.dumps(_names(value))
    try:
        content: Any = yaml_value(value)
    except ValueError:
        content = value
    if not (isinstance(item, type) and is_dataclass(item)):
        return value if isinstance(content, list) else f"[{value}]"
    content = [content] if isinstance(content, Mapping) else content
    if not isinstance(content, list) or not all(isinstance(entry, Mapping) for entry in content):
        raise UserError(f"{name}: give a list in quotes such as '{list_form(item)}', not {value}")
    check(kind, content, "options", name.lstrip("-").rstrip("+"))
    return value if value.lstrip().startswith(("[", "-")) else f"[{value}]"
