"""The command line: options for every field of a configuration, with help, environment and messages. Beside
the rules that `xfm --help` tells, a switch alone is true (`--validation`), and a list of names needs no
brackets (`--parts vqa,hard`, `--candidate-labels "cat, big dog"`)."""

import argparse
import json
import os
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser
import yaml

from xfm.config.plain import check_value_count, to_plain, yaml_value
from xfm.config.typed import build, default_of, number_of, variant
from xfm.core.errors import UserError, explained, suggest
from xfm.core.paths import at_home

C = TypeVar("C")

_PATHS = """adapter base cache config data draw evaluation file from gallery image images index init input
    json keys language model names node_modules out path pictures recipe root split templates test tokenizer
    train validation validation_rows vision world"""
PATHS = frozenset(_PATHS.split())
"""Options and fields that are paths, or may be one; a parser may know more (`ArgumentParser.paths`)."""

_BOOLEANS = frozenset({"true", "false", "yes", "no"})


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Line breaks of descriptions and examples are kept; defaults are shown as they are written."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = re.sub(r",? see `[A-Z]\w+`", "", action.help or "")
        text = text if text.endswith("...") else text.removesuffix(".")
        value = getattr(action, "shown", action.default)
        if value in (None, "", argparse.SUPPRESS):
            return text.replace("%", "%%")
        shown = _shown(value)
        return f"{text} (default: {shown})".replace("%", "%%") if shown else text.replace("%", "%%")

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = super()._format_action_invocation(action)
        return f"{action.dest.upper()}, {shown}" if getattr(action, "is_word", False) else shown


def _shown(value: Any) -> str:
    value = to_plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, list):
        return str(value)
    if all(isinstance(item, str) for item in value):
        return ", ".join(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()
    return text if len(text) < 200 else f"{len(value)} entries"


class ArgumentParser(argparse.ArgumentParser):
    """A parser that raises UserError. Its `words` are options that may stand without their names, in this
    order; `paths` are, or may be, paths; `repeated` are lists that are given once for each item, which may
    hold commas; `prefix` begins the environment variables (empty: none is read); `configs` are those whose
    fields are options, and what stands in place of their defaults."""

    def __init__(self, words: Sequence[str] = (), prefix: str = "", **texts: Any) -> None:
        super().__init__(allow_abbrev=False, exit_on_error=False, formatter_class=_HelpFormatter, **texts)
        self.words, self.prefix = tuple(words), prefix
        self.paths: frozenset[str] = PATHS
        self.repeated: frozenset[str] = frozenset()
        self.configs: list[tuple[type, Mapping[str, Any]]] = []

    def error(self, message: str) -> Any:
        """Raise what would end the process."""
        raise UserError(message)

    def format_help(self) -> str:
        """The help, in which what may stand without its name has both forms."""
        for action in self._actions:
            action.is_word = action.dest in self.words  # pyright: ignore[reportAttributeAccessIssue]
        return super().format_help()


def parse(
    kind: type[C],
    options: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    source: str = "",
    env_prefix: str | None = None,
) -> C:
    """A configuration from defaults, nested `values`, the environment (by its prefix) and dotted options."""
    parser = new_parser(env_prefix)
    add_fields(parser, kind, values=values, source=source)
    return assemble(kind, parse_options(parser, options))


def new_parser(
    env_prefix: str | None = None,
    words: Sequence[str] = (),
    usage: str = "",
    examples: str = "",
    **texts: Any,
) -> ArgumentParser:
    """A parser that raises instead of exiting; `add_fields` gives it a configuration. `prog`, or how `usage`
    begins, names the environment variables (XFM_EVALUATE), or a prefix; `words` need no names."""
    prog = texts.pop("prog", " ".join(usage.split()[:2]))
    if env_prefix is None:
        env_prefix = re.sub(r"\W", "_", prog).upper()
    epilog = f"examples:\n{examples}" if examples else None
    shown = usage.replace("%", "%%") or None
    return ArgumentParser(words, env_prefix, prog=prog or None, usage=shown, epilog=epilog, **texts)


def add_fields(
    parser: ArgumentParser,
    kind: type,
    *,
    values: Mapping[str, Any] | None = None,
    source: str = "",
    shared: bool = False,
) -> None:
    """Add a dotted option for every field of a dataclass, documented by its docstring. `values` replace its
    defaults; with `shared`, a field of which there is an option already has that one."""
    if values:
        build(kind, values, source)
    parser.configs.append((kind, values or {}))
    there = {action.dest for action in parser._actions} if shared else set[str]()

    def add(group: Any, kind: Any, values: Mapping[str, Any], default: Any, name: str) -> None:
        types, texts = get_type_hints(kind), field_texts(kind)
        for f in fields(kind):
            if not f.init or (dest := f"{name}{f.name}") in there:
                continue
            own = getattr(default, f.name) if isinstance(default, kind) else default_of(f)
            own, about = values.get(f.name, own), texts.get(f.name, "")
            narrow = variant(types[f.name], own)
            if is_dataclass(narrow) and own is not None:
                heading = f"{dest} - {' '.join(about.split()).removesuffix('.')}"
                given = (own, default_of(f)) if isinstance(own, Mapping) else ({}, own)
                add(parser.add_argument_group(heading), narrow, *given, f"{dest}.")
                continue
            told: dict[str, Any] = {"dest": dest, "default": argparse.SUPPRESS, "help": about}
            action: Any = add_option(group, f"--{dest.replace('_', '-')}", types[f.name], **told)
            action.shown = None if own is MISSING else own

    add(parser, kind, values or {}, None, "")


def add_option(group: Any, name: str, kind: Any, **more: Any) -> argparse.Action:
    """Add an option whose value is of a type, see `build`."""
    plain = variant(kind, None)
    if isinstance(plain, type) and issubclass(plain, Enum):
        more = {"metavar": "{" + ",".join(str(member.value) for member in plain) + "}", **more}
    elif plain is bool:
        more = {"metavar": "{true,false}", **more}
    elif get_origin(plain) in (list, tuple):
        more = {"metavar": list_form(get_args(plain)[0]), **more}
    elif "dest" in more:
        more = {"metavar": more["dest"].rpartition(".")[2].upper(), **more}
    action = group.add_argument(name, **more)
    action.kind, action.type = kind, partial(_from_text, kind, action.dest)
    return action


def parse_options(parser: ArgumentParser, options: Sequence[str]) -> Namespace:
    """Environment and options with a parser of `new_parser`; nested dataclasses are built."""
    words = respelled(parser, options)
    given = {word.partition("=")[0] for word in words}
    before = [word for word in _from_environment(parser) if word.partition("=")[0] not in given]
    try:
        found = vars(parser.parse_args([*before, *words]))
    except (argparse.ArgumentError, UserError) as error:
        raise UserError(_sentence(parser, str(error))) from error
    result = Namespace()
    for kind, values in parser.configs:
        nested, own = dict[str, Any](), {f.name for f in fields(kind)}
        for name in found:
            if name.partition(".")[0] in own:
                *above, last = name.split(".")
                below = nested
                for part in above:
                    below = below.setdefault(part, {})
                below[last] = found[name]
        built = build(kind, paths_at_home(merge(values, nested), parser.paths))
        for f in fields(kind):
            if not hasattr(result, f.name):
                setattr(result, f.name, getattr(built, f.name))
    for name, value in found.items():
        if "." not in name and not hasattr(result, name):
            setattr(result, name, paths_at_home(value, parser.paths, name))
    return result


def assemble(kind: type[C], parsed: Namespace) -> C:
    """The dataclass from its fields in the result of `parse_options`."""
    try:
        return kind(**{f.name: getattr(parsed, f.name) for f in fields(kind) if f.init})  # pyright: ignore
    except ValueError as error:
        raise UserError(str(error)) from error


def known_options(parser: argparse.ArgumentParser) -> list[str]:
    """Every long option of a parser."""
    options = (option for action in parser._actions for option in action.option_strings)
    return [option for option in options if option.startswith("--")]


def field_texts(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says of each field; several may share a line: `left, right: ...`."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        for p in docstring_parser.parse(one.__doc__ or "").params:
            found |= dict.fromkeys(p.arg_name.split(", "), p.description or "")
    return found


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings with the values of `over` in place of those of `base`; lists are replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        merged[key] = value
    return merged


def early_word(options: Sequence[str], name: str, known: Sequence[str]) -> str | None:
    """The value of an option that decides which options exist; after the first word only `known` ones."""
    for place, option in enumerate(options):
        if option == f"--{name}":
            return next(iter(options[place + 1 :]), None)
        if option.startswith(f"--{name}="):
            return option.partition("=")[2]
    if options and not options[0].startswith("-"):
        return options[0]
    return next((option for option in options if option in known), None)


def paths_at_home(values: Any, paths: Set[str], name: str = "") -> Any:
    """Plain values with the home folder for `~` in every one of the paths."""
    if isinstance(values, Mapping):
        return {key: paths_at_home(value, paths, str(key)) for key, value in values.items()}
    if isinstance(values, list):
        return [paths_at_home(value, paths, name) for value in values]
    return at_home(values) if isinstance(values, str) and name in paths else values


def list_form(item: Any) -> str:
    """How a list of these items is written, for help and messages."""
    if not (isinstance(item, type) and is_dataclass(item)):
        return "NAME,..."
    needed = [f.name for f in fields(item) if default_of(f) is MISSING]
    return "[{" + ", ".join(f"{name}: {name.upper()}" for name in needed) + "}]"


def names_in(text: str) -> list[str]:
    """The names that a text with commas holds; a sentence with {} for a name is one, whatever its commas."""
    if "{}" in text:
        return [text]
    return [name for part in text.split(",") if (name := part.strip())]


# ---------------------------------------------------------------- words of a line
def respelled(parser: ArgumentParser, options: Sequence[str]) -> list[str]:
    """Options as argparse takes them, `--name=value` each, with the remaining words behind."""
    actions = {option: action for action in parser._actions for option in action.option_strings}
    known = {option.replace("_", "-"): option for option in actions}
    found, words, items = list[str](), list[str](), dict[str, list[str]]()
    rest, unknown = list(options), False

    def is_option(word: str) -> bool:
        return word.startswith("--") and word.partition("=")[0].replace("_", "-") in known

    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("-") or name == "-":
            words.append(f"{name}{equals}{value}")
            continue
        name = known.get(name.replace("_", "-"), name)
        action = actions.get(name)
        unknown = unknown or action is None
        kind = variant(getattr(action, "kind", None), None)
        if name.removeprefix("--") in parser.repeated and (equals or rest):
            value = value if equals else rest.pop(0)
            items.setdefault(name, []).extend(_names(value) if value.strip().startswith("[") else [value])
            continue
        if kind is bool and not equals:
            equals, value = "=", rest.pop(0) if rest and rest[0].lower() in _BOOLEANS else "true"
        elif action is not None and action.nargs is None and not equals and rest and not is_option(rest[0]):
            equals, value = "=", rest.pop(0)
        found.append(f"{name}{equals}{value}")
    found += [f"{name}={json.dumps(several)}" for name, several in items.items()]
    given = {option.partition("=")[0] for option in found}
    open_places = [name for word in parser.words if (name := f"--{word}") not in given]
    found += [f"{name}={word}" for name, word in zip(open_places, words, strict=False)]
    words = words[len(open_places) :]
    if words and not unknown and all(action.option_strings for action in parser._actions):
        raise UserError(f"there is no place for {words[0]!r} here; the names of options begin with --")
    return found + words


def _from_environment(parser: ArgumentParser) -> Iterator[str]:
    if not parser.prefix:
        return
    for action in parser._actions:
        option = next((one for one in action.option_strings if one.startswith("--")), "--help")
        name = f"{parser.prefix}_{action.dest.replace('.', '__').upper()}"
        value = None if option == "--help" else os.environ.get(name)
        if value is not None and action.nargs != 0:
            yield f"{option}={value}"
        elif value is not None and build(bool, number_of(bool, value), name):
            yield option


def _from_text(kind: Any, name: str, text: str) -> Any:
    if text == "null" and type(None) in get_args(kind):
        return None
    plain = variant(kind, None)
    if plain is str:
        return text
    origin = get_origin(plain)
    if origin in (list, tuple) and get_args(plain)[0] is str:
        return origin(_names(text))
    if origin in (list, tuple, dict) or is_dataclass(plain):
        try:
            value = yaml_value(text)
        except ValueError:
            value = text
        with explained(f"{name} cannot be so", "mend the value", ValueError):
            check_value_count(value)
        item = next(iter(get_args(plain)), None)
        if origin in (list, tuple) and is_dataclass(item):
            value = [value] if isinstance(value, Mapping) else value
            if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
                raise UserError(f"{name}: give a list in quotes such as '{list_form(item)}', not {text}")
        elif origin in (list, tuple):
            several = value if isinstance(value, list) else names_in(text)
            value = [number_of(item, one) if isinstance(one, str) and item else one for one in several]
        return value if is_dataclass(plain) or is_dataclass(item) else build(kind, value, name=name)
    return build(kind, number_of(plain, text), name=name)


def _names(value: str) -> list[str]:
    inner = value.strip()
    inner = inner[1:-1] if inner.startswith("[") and inner.endswith("]") else inner
    try:
        content: Any = yaml_value(f"[{inner}]")
    except ValueError:
        content = None
    texts = isinstance(content, list) and all(isinstance(one, str) for one in content)
    return content if texts else names_in(inner)


def _sentence(parser: ArgumentParser, text: str) -> str:
    if match := re.search(r"unrecognized arguments: (\S+)", text):
        option = match[1].split("=")[0]
        return f"unknown option {match[1]}; {suggest(option, known_options(parser), 'see --help')}"
    text = re.sub(r"^argument (--\S+): ", r"\1: ", " ".join(text.split()))
    example = re.search(r"^  (xfm .*)", parser.epilog or "", re.MULTILINE)
    return f"{text}; for example: {example[1]}" if example and "arguments are required" in text else text
