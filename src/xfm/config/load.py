"""Recipes by name or file, with overrides from the environment and from dotted options.

Later wins: the dataclasses' defaults, the recipe named by `base:`, the recipe, the environment
(`XFM_PRETRAIN_TRAINING__STEPS=100`), options (`--training.steps 100`).
"""

import argparse
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace
from jsonargparse.typing import register_type

from xfm.config.data import Augmentation
from xfm.config.evaluation import Part
from xfm.config.model import Positions
from xfm.config.plain import to_plain
from xfm.config.recipe import Recipe
from xfm.config.training import Precision
from xfm.errors import UserError

C = TypeVar("C")

RECIPE_ENV = "XFM_PRETRAIN"
_ENUMS: tuple[type[Enum], ...] = (Augmentation, Positions, Precision, Part)


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """jsonargparse's help with the line breaks of descriptions and examples kept."""


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _shipped().iterdir() if p.name.endswith(".yaml"))


def load_recipe(recipe: str | Path, options: Sequence[str] = ()) -> Recipe:
    """A recipe with the overrides of the environment and of dotted options.

    Args:
        recipe: name of a recipe of the package, or path of a YAML file.
        options: as on the command line, `["--training.steps", "100"]`.

    Raises:
        UserError: unknown recipe or field, or a value of the wrong type; the message lists close matches.

    Example:
        >>> load_recipe("nano", ["--training.steps", "100"]).training.steps
        100
    """
    values = read_recipe(recipe)
    return parse(Recipe, options, values=values, source=f"recipe {recipe}", env_prefix=RECIPE_ENV)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every field; `load_recipe` reads it back."""
    return yaml.safe_dump(to_plain(recipe), sort_keys=False, allow_unicode=True)


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """The fields that a recipe and those it is based on set, as nested mappings.

    Raises:
        UserError: unknown recipe or field, or a file that is not YAML.
    """
    values: dict[str, Any] = {}
    seen: list[str] = []
    name: str | None = str(recipe)
    folder = Path()
    while name is not None:
        if name in seen:
            raise UserError(f"recipe {recipe}: base recipes form a loop ({' -> '.join([*seen, name])})")
        seen.append(name)
        content, folder = _read_yaml(name, folder)
        base = content.pop("base", None)
        check_fields(Recipe, content, f"recipe {name}")
        values = _merge(content, values)
        name = None if base is None else str(base)
    return values


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


def new_parser(env_prefix: str | None = None, **texts: Any) -> ArgumentParser:
    """A parser that raises instead of exiting; `add_fields` gives it a configuration.

    Args:
        env_prefix: prefix of the environment variables; None reads none.
        texts: texts of the parser (`prog`, `usage`, `description`, `epilog`).
    """
    return ArgumentParser(
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
        env_prefix=env_prefix or False,
        default_env=bool(env_prefix),
        **texts,
    )


def add_fields(
    parser: ArgumentParser, kind: type, *, values: Mapping[str, Any] | None = None, source: str = ""
) -> None:
    """Add one dotted option for every field of a dataclass, documented from its docstring.

    Args:
        parser: from `new_parser`.
        kind: the dataclass.
        values: nested mapping that replaces the dataclass's defaults.
        source: where the values are from, for messages.

    Raises:
        UserError: the values do not fit the dataclass.
    """
    for enum in _ENUMS:
        register_type(
            enum, serializer=_enum_value, deserializer=_enum_reader(enum), fail_already_registered=False
        )
    parser.add_class_arguments(kind, as_group=False)
    _document_shared(parser, kind)
    complete = to_plain(kind())
    if values:
        check_fields(kind, values, source)
        complete = _merge(complete, values)
        try:
            parser.parse_object(complete, env=False)
        except (ArgumentError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{source}: {_sentence(error)}") from error
    parser.set_defaults(dict(_flatten(kind, complete)))


def tidy_help(parser: ArgumentParser) -> None:
    """Make the help easy to read: values as in a recipe, and environment variables left to the epilog.

    Call it when help is printed; the parser cannot parse afterwards.
    """
    parser.default_env = False
    for action in parser._actions:
        kind, default = getattr(action, "_typehint", None), action.default
        if kind in _ENUMS:
            action.metavar = "{" + ",".join(str(member.value) for member in kind) + "}"
            action.default = to_plain(default)
        elif isinstance(default, list):
            action.default = yaml.safe_dump(
                _from_namespaces(default), default_flow_style=True, width=10**6
            ).strip()


def parse_options(parser: ArgumentParser, options: Sequence[str]) -> Namespace:
    """Environment and options with a parser of `new_parser`; nested dataclasses are built.

    Raises:
        UserError: unknown option or wrong value.
    """
    try:
        return parser.instantiate(parser.parse_args(list(options)))
    except (ArgumentError, ValueError, TypeError, KeyError) as error:
        raise UserError(_sentence(error, known_options(parser))) from error


def assemble(kind: type[C], parsed: Namespace) -> C:
    """The dataclass from its fields in the result of `parse_options`."""
    try:
        return kind(**{f.name: parsed[f.name] for f in fields(kind) if f.init})  # pyright: ignore
    except ValueError as error:
        raise UserError(str(error)) from error


def known_options(parser: ArgumentParser) -> list[str]:
    """Every long option of a parser."""
    return [option for action in parser._actions for option in action.option_strings if option[:2] == "--"]


def check_fields(kind: type, values: Any, source: str, name: str = "") -> None:
    """Refuse fields that a dataclass does not have.

    Args:
        kind: the dataclass, or the type of a field.
        values: nested mapping, or the value of a field.
        source: where the values are from.
        name: dotted name of the field.

    Raises:
        UserError: names the field and the closest ones that exist.
    """
    if isinstance(values, list | tuple):
        for index, item in enumerate(values):
            check_fields(_item_type(kind), item, source, f"{name}.{index}")
    inner = _dataclass_of(kind)
    if inner is None or values is None or isinstance(values, list | tuple):
        return
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: {name or 'the file'} must be a mapping of fields, not {values!r}")
    types = get_type_hints(inner)
    known = [f.name for f in fields(inner) if f.init]
    for key, value in values.items():
        below = f"{name}.{key}" if name else str(key)
        if key not in known:
            raise UserError(f"{source}: unknown field {below}; {_suggest(str(key), known)}")
        check_fields(types[key], value, source, below)


def _document_shared(parser: ArgumentParser, kind: type, name: str = "") -> None:
    """Help for fields that share a line of their docstring (`train_rows, test_rows: ...`)."""
    documented = docstring_parser.parse(kind.__doc__ or "").params
    shared = {
        field: p.description for p in documented for field in p.arg_name.split(", ") if ", " in p.arg_name
    }
    for field, type_ in get_type_hints(kind).items():
        if inner := _dataclass_of(type_):
            _document_shared(parser, inner, f"{name}{field}.")
        elif field in shared:
            for action in parser._actions:
                if action.dest == f"{name}{field}":
                    action.help = shared[field]


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def _sentence(error: BaseException, options: Sequence[str] = ()) -> str:
    """One line from jsonargparse's messages; unknown options get close matches."""
    text = re.sub(r"\s*\n\s*", " ", str(error)).strip()
    if match := re.search(r"unrecognized arguments: (\S+)", text):
        option = match[1].split("=")[0]
        return f"unknown option {match[1]}; {_suggest(option, options)}"
    return re.sub(r'Parser key "([^"]+)":', r"\1:", text)


def _shipped() -> Any:
    return resources.files("xfm") / "recipes"


def _read_yaml(name: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """Content of a recipe by name, or by path relative to `folder`; and the folder of its own base."""
    is_path = name.endswith((".yaml", ".yml")) or os.sep in name
    if not is_path and name not in recipe_names():
        raise UserError(
            f"unknown recipe {name}; {_suggest(name, recipe_names())} (or give the path of a YAML file)"
        )
    path = folder / name if is_path else _shipped() / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"recipe {path} cannot be read ({error.strerror}): check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = re.sub(r"\s+", " ", str(error))
        raise UserError(f"recipe {path} is not valid YAML ({where}): mend that line") from error
    if not isinstance(content, dict):
        raise UserError(
            f"recipe {path} must be a mapping of fields, such as `training:`; see `xfm info nano`"
        )
    return content, path.parent if isinstance(path, Path) and is_path else folder


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _merge(below, value)
        merged[key] = value
    return merged


def _flatten(kind: type, values: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of the leaves, as jsonargparse names its options."""
    types = get_type_hints(kind)
    for key, value in values.items():
        if is_dataclass(types[key]) and isinstance(value, Mapping):
            yield from _flatten(types[key], value, f"{name}{key}.")  # pyright: ignore
        else:
            yield f"{name}{key}", value


def _from_namespaces(value: Any) -> Any:
    """Plain values of what jsonargparse keeps as a list's default."""
    if isinstance(value, Namespace):
        return (
            _from_namespaces(value["init_args"])
            if "init_args" in value
            else {key: _from_namespaces(item) for key, item in vars(value).items()}
        )
    return [_from_namespaces(item) for item in value] if isinstance(value, list) else to_plain(value)


def _dataclass_of(kind: Any) -> type | None:
    """The dataclass behind `T` or `T | None`, None for other types."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((part for part in get_args(kind) if is_dataclass(part)), None)
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def _item_type(kind: Any) -> Any:
    return next(iter(get_args(kind)), None)


def _enum_value(value: Enum) -> str:
    return value.value


def _enum_reader(enum: type[Enum]) -> Any:
    def read(value: str) -> Enum:
        try:
            return enum(value)
        except ValueError:
            raise ValueError(f"{value!r} is none of {', '.join(str(e.value) for e in enum)}") from None

    return read
