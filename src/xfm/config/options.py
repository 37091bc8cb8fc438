"""Options for every field of a configuration, through jsonargparse: help, types, environment, messages."""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar, get_args, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse.typing import register_type

from xfm.config.fields import WANTED, check_fields, dataclass_of
from xfm.config.help import HelpFormatter, field_texts, is_extra
from xfm.config.members import member_of
from xfm.config.plain import check_text
from xfm.config.spelling import PATHS, Parser, paths_at_home, respell
from xfm.config.variants import chosen_variants, original, plain_defaults
from xfm.errors import UserError, suggest

C = TypeVar("C")

_PROBLEMS = (ArgumentError, ValueError, TypeError, KeyError)


def parse(
    kind: type[C],
    options: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    source: str = "",
    env_prefix: str | None = None,
) -> C:
    """A configuration from defaults, `values`, the environment and dotted options.

    Args:
        kind: the dataclass.
        options: as on the command line.
        values: nested mapping, such as a YAML file holds.
        source: where the values are from, for messages.
        env_prefix: prefix of the environment variables; None reads none.

    Raises:
        UserError: unknown field or wrong value.
    """
    parser = new_parser(env_prefix)
    add_fields(parser, kind, values=values, source=source)
    return assemble(kind, parse_options(parser, options))


def new_parser(env_prefix: str | None = None, words: Sequence[str] = (), **texts: Any) -> Parser:
    """A parser that raises instead of exiting; `add_fields` gives it a configuration.

    Args:
        env_prefix: prefix of the environment variables; without, `prog` gives it (XFM_EVALUATE), and a parser
            that is no command's reads none.
        words: options whose values may stand without their names, in that order.
        texts: texts of the parser (`prog`, `usage`, `description`, `epilog`).
    """
    if env_prefix is None and "prog" in texts:
        env_prefix = re.sub(r"\W", "_", texts["prog"]).upper()
    parser = Parser(
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
        env_prefix=env_prefix or False,
        default_env=bool(env_prefix),
        **texts,
    )
    parser.words = tuple(words)
    return parser


def add_fields(
    parser: ArgumentParser,
    kind: type,
    *,
    values: Mapping[str, Any] | None = None,
    source: str = "",
    shared: bool = False,
) -> None:
    """Add one dotted option for every field of a dataclass, documented from its docstring.

    Args:
        parser: from `new_parser`.
        kind: the dataclass.
        values: nested mapping that replaces the dataclass's defaults.
        source: where the values are from, for messages.
        shared: fields of which the parser has an option already, of another dataclass, have that one.

    Raises:
        UserError: the values do not fit the dataclass.
    """
    for enum in _enums(kind):
        register_type(enum, attrgetter("value"), _enum_reader(enum), fail_already_registered=False)
    if values:
        check_fields(kind, values, source)
    shape = chosen_variants(kind, values or {})
    there = {action.dest for action in parser._actions} if shared else set[str]()
    parser.add_class_arguments(
        shape, as_group=False, skip={*there.intersection(f.name for f in fields(shape))}
    )
    _document_shared(parser, shape)
    complete = plain_defaults(shape)
    if values:
        complete = merge(complete, values)
        for name, text in _texts(values):
            check_text(f"{source}: {name}", text)
        alone = new_parser()  # what else a command needs is not among the values
        alone.add_class_arguments(shape, as_group=False)
        try:
            alone.parse_object(complete, env=False)
        except _PROBLEMS as error:
            raise UserError(f"{source}: {_sentence(error)}") from error
    parser.set_defaults(dict(_flatten(shape, complete)))
    if isinstance(parser, Parser):
        parser.kinds += (kind,)


def parse_options(parser: ArgumentParser, options: Sequence[str]) -> Namespace:
    """Environment and options with a parser of `new_parser`; nested dataclasses are built.

    Raises:
        UserError: unknown option, wrong value, or values that do not go together.
    """
    for before, option in zip(("", *options), options, strict=False):
        name, equals, value = option.partition("=")
        check_text(name if equals else before, value if equals else option)
    for name, value in os.environ.items() if parser.default_env else ():
        if name.startswith(f"{parser.env_prefix}_"):
            check_text(name, value)
    try:
        given = parser.parse_args(respell(parser, options, check_fields))
        parsed = parser.instantiate(paths_at_home(given, getattr(parser, "paths", PATHS)))
    except _PROBLEMS as error:
        message = _sentence(error, known_options(parser))
        example = re.search(r"^  (xfm .*)", parser.epilog or "", re.MULTILINE)
        if example and "arguments are required" in message:
            message += f"; for example: {example[1]}"
        raise UserError(message) from error
    for kind in getattr(parser, "kinds", ()):
        assemble(kind, parsed)
    return parsed


def assemble(kind: type[C], parsed: Namespace) -> C:
    """The dataclass from its fields in the result of `parse_options`."""
    try:
        return kind(**{f.name: original(parsed[f.name]) for f in fields(kind) if f.init})  # pyright: ignore
    except ValueError as error:
        raise UserError(str(error)) from error


def known_options(parser: ArgumentParser) -> list[str]:
    """Every long option of a parser that stands in its help."""
    return [
        option.replace("_", "-")
        for action in parser._actions
        if action.help != argparse.SUPPRESS and not is_extra(action)
        for option in action.option_strings
        if option.startswith("--") and not option.endswith("+")
    ]


def _document_shared(parser: ArgumentParser, kind: type, name: str = "") -> None:
    """Help for fields that share a line of their docstring (`train_rows, test_rows: ...`)."""
    texts = field_texts(kind)
    for field, type_ in get_type_hints(kind).items():
        if inner := dataclass_of(type_):
            _document_shared(parser, inner, f"{name}{field}.")
        else:
            for action in parser._actions:
                if action.dest == f"{name}{field}" and not action.help:
                    action.help = texts.get(field)


def _sentence(error: BaseException, options: Sequence[str] = ()) -> str:
    """One line from jsonargparse's messages; unknown options get close matches."""
    text = re.sub(r"\s*\n\s*", " ", str(error)).strip()
    if match := re.search(r"unrecognized arguments: (\S+)", text):
        option = match[1].split("=")[0]
        return f"unknown option {match[1]}; {suggest(option, options, 'see --help')}"
    text = re.sub(r"Not of type \w+: ", "", text)
    text = re.sub(r"Expected a <class '(\w+)'>\. Got value: ", _wanted, text)
    text = re.sub(r"Problem with given class_path '[^']*': Parser key \"(\w+)\": ", r"\1: ", text)
    text = re.sub(r"Problem with given class_path ('[^']*').*", r"give fields in braces, not \1", text)
    return re.sub(r'Parser key "([^"]+)":', r"\1:", text)


def _wanted(found: re.Match[str]) -> str:
    # Lists in the environment come here; those among the options are checked before.
    return f"give {WANTED[found[1]]}, not " if found[1] in WANTED else found[0]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings with the values of `over` in place of those of `base`; lists are replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        merged[key] = value
    return merged


def _texts(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, str):
        yield name, values
    for key, value in values.items() if isinstance(values, Mapping) else ():
        yield from _texts(value, f"{name}.{key}" if name else str(key))
    for place, value in enumerate(values) if isinstance(values, list | tuple) else ():
        yield from _texts(value, f"{name}.{place}")


def _flatten(kind: type, values: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    types = get_type_hints(kind)
    for key, value in values.items():
        if is_dataclass(types[key]) and isinstance(value, Mapping):
            yield from _flatten(types[key], value, f"{name}{key}.")  # pyright: ignore
        else:
            yield f"{name}{key}", value


def _enums(kind: Any) -> set[type[Enum]]:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {kind}
    parts = get_type_hints(kind).values() if is_dataclass(kind) else get_args(kind)
    return {enum for part in parts for enum in _enums(part)}


def _enum_reader(enum: type[Enum]) -> Any:
    return partial(member_of, enum)
