"""What a model folder, a checkpoint, a run folder or a recipe is, as text. Nothing here imports torch."""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from xfm.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def info_parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm info`."""
    from xfm.config.load import recipe_names
    from xfm.config.options import new_parser

    parser = new_parser(
        prog="xfm info",
        description="Print configuration, parameters of each part and provenance of a model folder, a\n"
        f"checkpoint or a run folder, or every field of a recipe ({', '.join(recipe_names())}).",
        epilog="examples:\n  xfm info runs/nano/model\n  xfm info runs/nano\n  xfm info base",
    )
    parser.add_argument("path", type=str, help="folder or recipe")
    return parser


def info(chosen: "Namespace") -> None:
    """`xfm info`."""
    print(describe(chosen.path))


def describe(path: str) -> str:
    """Configuration, parameters by part and provenance.

    Args:
        path: a model folder, a checkpoint, a run folder, or the name or file of a recipe.

    Raises:
        UserError: it is none of these.
    """
    folder = Path(path)
    if not folder.is_dir():
        from xfm.config.load import dump_recipe, load_recipe

        return dump_recipe(load_recipe(path)).rstrip()
    if (folder / "state.json").is_file():
        return _describe_checkpoint(folder)
    if (folder / "config.json").is_file():
        return _describe_model(folder)
    if (folder / "checkpoints").is_dir() or (folder / "model").is_dir():
        return _describe_run(folder)
    raise UserError(
        f"{folder} is no model folder (config.json), checkpoint (state.json) or run folder (checkpoints/): "
        "name one of those, such as runs/NAME/model"
    )


def _describe_model(folder: Path) -> str:
    provenance = _read_json(folder / "provenance.json")
    provenance = {key: value for key, value in provenance.items() if key != "settings"}
    parts: dict[str, Any] = {
        "model": str(folder),
        "parameters": parameter_counts(folder / "model.safetensors"),
    }
    if (folder / "task.json").is_file():
        added = parameter_counts(folder / "task.safetensors")
        parts["task"] = _read_json(folder / "task.json") | {"parameters": added["total"]}
    return _yaml(parts | {"config": _read_json(folder / "config.json"), "provenance": provenance})


def _describe_checkpoint(folder: Path) -> str:
    state = _read_json(folder / "state.json")
    settings = state.pop("settings", {})
    parts = {"checkpoint": str(folder), **state, "parameters": parameter_counts(folder / "model.safetensors")}
    return _yaml(parts | {"settings": settings})


def _describe_run(folder: Path) -> str:
    checkpoints = sorted(p.name for p in (folder / "checkpoints").glob("step-*"))
    parts: dict[str, Any] = {"run": str(folder), "checkpoints": checkpoints}
    log = folder / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    logged = [line for line in map(json.loads, lines) if "event" not in line]
    if logged:
        parts["last logged"] = logged[-1]
    text = _yaml(parts)
    return f"{text}\n{_describe_model(folder / 'model')}" if (folder / "model").is_dir() else text


def parameter_counts(file: Path) -> dict[str, int]:
    """Numbers in a safetensors file by the first part of their names, and their total; reads the header only.

    Raises:
        UserError: the file is missing or not safetensors.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, struct.error, MemoryError) as error:
        raise UserError(f"{file} is missing or not a safetensors file: restore it from a copy") from error
    counts = Counter[str]()
    for name, shape in shapes.items():
        counts[name.split(".")[0]] += prod(shape)
    return {**counts, "total": sum(counts.values())}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or not JSON: restore it from a copy") from error


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
