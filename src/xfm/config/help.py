"""The help of the command line, made for readers: jsonargparse's own speaks of parsers and Python types."""

import argparse
import re
from enum import Enum
from typing import Any, get_args, get_origin

import docstring_parser
import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from xfm.config.plain import to_plain
from xfm.config.spelling import list_form, with_dashes


class HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Texts and values; line breaks of descriptions and examples are kept, Python's types left out."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = re.sub(r",? see `[A-Z]\w+`", "", action.help or "")
        text = text if text.endswith("...") else text.removesuffix(".")
        value = action.default
        if "--help" in action.option_strings or value in (None, "", argparse.SUPPRESS):
            return text
        return f"{text} (default: {str(value).lower() if isinstance(value, bool) else value})"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = super()._format_action_invocation(action)
        return f"{action.dest.upper()}, {shown}" if hasattr(action, "stands_alone") else shown


def field_texts(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says of each field; several may share a line: `left, right: ...`."""
    documented = docstring_parser.parse(kind.__doc__ or "").params
    return {name: p.description or "" for p in documented for name in p.arg_name.split(", ")}


def tidy_help(parser: ArgumentParser) -> None:
    """Make the help easy to read: values as in a recipe, headings that name the fields, no parser's extras.

    Environment variables are left to the epilog. Call it when help is printed; the parser cannot parse
    afterwards.
    """
    parser.default_env = False
    with_dashes(parser)
    for action in parser._actions:
        if action.dest in getattr(parser, "words", ()):
            action.stands_alone = True  # pyright: ignore[reportAttributeAccessIssue]
        kind, default = getattr(action, "_typehint", None), action.default
        if is_extra(action):
            action.help = argparse.SUPPRESS
        elif isinstance(kind, type) and issubclass(kind, Enum):
            action.metavar = "{" + ",".join(str(member.value) for member in kind) + "}"
            action.default = to_plain(default)
        elif get_origin(kind) is list:
            action.option_strings = action.option_strings[:1]  # without `--parts+`
            action.metavar = list_form(get_args(kind)[0])
            action.default = _listed_default(default)
    for group in parser._action_groups:
        places = {action.dest.rpartition(".")[0] for action in group._group_actions if not is_extra(action)}
        if len(places) == 1 and (place := places.pop()):
            group.title = f"{place} - {group.title}"


def is_extra(action: argparse.Action) -> bool:
    """Whether an option is the parser's own, none of a field: `--model FILE`, `--data.pair.corpora.help`."""
    return action.metavar == "CONFIG" or any(option.endswith(".help") for option in action.option_strings)


def _listed_default(default: list[Any]) -> str:
    items = _from_namespaces(default)
    if all(isinstance(item, str) for item in items):
        return ", ".join(items)
    text = yaml.safe_dump(items, default_flow_style=True, width=10**6).strip()
    return text if len(text) < 200 else f"{len(items)} entries, shown by `xfm info`"


def _from_namespaces(value: Any) -> Any:
    if isinstance(value, Namespace):
        return (
            _from_namespaces(value["init_args"])
            if "init_args" in value
            else {key: _from_namespaces(item) for key, item in vars(value).items()}
        )
    return [_from_namespaces(item) for item in value] if isinstance(value, list) else to_plain(value)
