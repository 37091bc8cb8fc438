"""Completion of verbs, options, values and paths at Tab.

argcomplete does the asking. The parser of the verb at hand is built as for a real command, so that the
options of `xfm predict grounding` or of a recipe are those that it has.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from enum import Enum
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from xfm.core.errors import UserError

if TYPE_CHECKING:
    from xfm.config.options import ArgumentParser

ASKED = "_ARGCOMPLETE"
"""The environment variable by which a shell asks."""

SHELLS = ("bash", "zsh", "fish")

ParserOf = Callable[[Sequence[str]], "ArgumentParser"]


class CompletionAction(argparse.Action):
    """Print the code that makes a shell complete words, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *found: Any) -> None:
        """Nothing else of the line is done."""
        from argcomplete.shell_integration import shellcode

        print(shellcode(["xfm"], shell=found[1]))
        parser.exit()


def answer_shell(parsers: Mapping[str, ParserOf]) -> None:
    """Answer a shell's question by the parser of the verb at hand, and end the process."""
    from argcomplete.finders import CompletionFinder
    from argcomplete.lexers import split_line

    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    words = split_line(line, point)[3][1:]  # those before the one that is being written
    if words and words[0] in parsers:
        os.environ[ASKED] = "2"  # to argcomplete, the verb is the program
        asked = _plain(words[0], _parser(parsers[words[0]], words[1:]))
    else:
        asked = argparse.ArgumentParser("xfm")
        asked.add_argument("command", choices=list(parsers))
        for option in ("--version", "--debug"):
            asked.add_argument(option, action="store_true")
    CompletionFinder()(asked, always_complete_options=False)


def _parser(build: ParserOf, words: Sequence[str]) -> "ArgumentParser":
    """The verb's parser; without the words so far where they are not right yet."""
    try:
        return build(words)
    except UserError:
        return build(())


def _plain(verb: str, parser: "ArgumentParser") -> argparse.ArgumentParser:
    paths = parser.paths
    plain = argparse.ArgumentParser(verb, allow_abbrev=False)
    for action in parser._actions:
        shown = [option for option in action.option_strings if option.startswith("--")]
        if action.help == argparse.SUPPRESS or "--help" in shown:
            continue
        if shown and action.nargs == 0:
            plain.add_argument(*shown, action="store_true", help=action.help)
            continue
        is_switch = getattr(action, "kind", None) is bool
        how: dict[str, Any] = {"nargs": "?" if is_switch else None} if shown else {"nargs": "*"}
        added = plain.add_argument(*(shown or [action.dest]), help=action.help, **how)
        added.completer = _completer(verb, action, paths)  # pyright: ignore[reportAttributeAccessIssue]
    named = {action.dest: action for action in parser._actions}
    for word in parser.words:
        added = plain.add_argument(f"word_{word}")
        added.completer = _completer(verb, named[word], paths)  # pyright: ignore[reportAttributeAccessIssue]
    return plain


def _completer(verb: str, action: argparse.Action, paths: Set[str]) -> Any:
    """What completes the value of an option: its values, files, or nothing."""
    from argcomplete.completers import ChoicesCompleter, FilesCompleter

    values = [*(action.choices or _members(getattr(action, "kind", None)) or _known(verb, action.dest))]
    files = FilesCompleter() if action.dest.rpartition(".")[2] in paths else None
    if values and files:
        return lambda prefix, **_: [*(v for v in values if v.startswith(prefix)), *files(prefix)]
    return files or ChoicesCompleter(values)  # pyright: ignore[reportArgumentType]  # any iterable will do


def _members(kind: Any) -> list[str]:
    """The values of an enum, also of `T | None` and `list[T]`."""
    if get_origin(kind) in (Union, UnionType, list, tuple):
        return [value for part in get_args(kind) for value in _members(part)]
    if kind is bool:
        return ["true", "false"]
    return [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _known(verb: str, name: str) -> Iterable[str]:
    from xfm.config.load import recipe_names
    from xfm.config.tasks import task_names
    from xfm.config.training import Precision

    if name == "task":
        return task_names(tunable=verb != "predict")
    if name == "templates":
        from xfm.evaluation.probing.prompt_templates import template_names

        return template_names()
    known = {
        "recipe": recipe_names(),
        "path": recipe_names(),
        "precision": [*Precision],
    }
    return known.get(name, ["auto", "cpu", "cuda"] if name == "device" else [])
