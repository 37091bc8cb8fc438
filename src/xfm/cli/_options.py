"""Options as the commands have them: their default gives their kind, and shared ones have one text."""

from typing import Any

from xfm.config.options import ArgumentParser, add_option

_SHARED: dict[str, tuple[str, Any]] = {
    "--model": (
        "folder of a model or of a finished run, a model of the package (small), or "
        "owner/name[@revision] of the hub",
        None,
    ),
    "--columns": ("what the columns are called: FIELD=COLUMN,..., FIELD= for none", None),
    "--pictures": ("folder that paths of pictures start from", None),
    "--allow-urls": (
        "hosts from which pictures may be fetched by address, with commas: *.example.org; '*' for any",
        [],
    ),
    "--resume": ("continue the run in the out folder exactly", False),
    "--device": ("auto, cpu, cuda, cuda:1, ...", "auto"),
    "--quiet": ("no progress bars", False),
}
"""What an option of several commands means, and its default."""
PRECISION = "fp32, bf16, or auto: bf16 where it is faster; if not given, fp32"
"""Of the commands that use a model."""


def option(parser: ArgumentParser, name: str, meaning: str = "", default: Any = None, **more: Any) -> None:
    """Add an option with its own or the shared help; a False default makes a switch, None a text."""
    if not meaning:
        meaning, default = _SHARED[name][0], default if default is not None else _SHARED[name][1]
    if default is False:
        parser.add_argument(name, action="store_true", help=meaning)
    else:
        kind = more.pop(
            "type", list[str] if isinstance(default, list) else str if default is None else type(default)
        )
        add_option(parser, name, kind, **{"default": default, "help": meaning, **more})
