"""`xfm info`: describe a model, checkpoint, run or recipe."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import yaml

from xfm.cli._options import option
from xfm.config.artifacts import MANIFEST
from xfm.config.load import dump_recipe, load_recipe, recipe_names
from xfm.config.options import ArgumentParser, Namespace, new_parser
from xfm.core.errors import UserError, printable, suggest
from xfm.core.files import file_digest, folder_size, read_json_object, read_log
from xfm.core.paths import home_path
from xfm.models.resolve import packaged
from xfm.models.safetensors_header import tensor_shapes
from xfm.models.shipped import boxed_names

PUBLISHED = (".th", ".pt", ".pth", ".safetensors")
"""Ends of the names of published files; other files are recipes."""


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        prog="xfm info",
        description="Print configuration, parameters of each part and provenance of a model folder, a\n"
        "checkpoint or a run folder, kind and sizes of a published checkpoint (.th, .pt), or every field of\n"
        f"a recipe ({', '.join(recipe_names())}).\n"
        "--checkpoints lists those of a run, or one, and compares every file with its checksum: the exit\n"
        "status is 1 where one is damaged; --resume takes the newest whole one.",
        examples="  xfm info runs/quickstart/model\n  xfm info runs/quickstart\n"
        "  xfm info xfm-base.th\n  xfm info base\n  xfm info runs/nano --checkpoints",
    )
    meaning = "folder, file or recipe; several are shown in turn"
    parser.add_argument("path", type=str, nargs="*", metavar="PATH", help=meaning)
    option(parser, "--model")
    option(parser, "--checkpoints", "list and verify the checkpoints of the runs", False)
    option(parser, "--json", "print that list as JSON", False)
    option(parser, "--quiet")
    return parser


def run(chosen: Namespace) -> int:
    paths = [*(chosen.path or []), *([chosen.model] if chosen.model else [])]
    if not paths:
        raise UserError("say what to describe; for example: xfm info runs/quickstart/model")
    if chosen.checkpoints:
        from tqdm import tqdm

        from xfm.training.checkpoint import checkpoints_of, size_of, verified

        found = [path for run in paths for path in checkpoints_of(home_path(run))]
        size = sum(map(size_of, found))
        with tqdm(total=size, unit="B", unit_scale=True, disable=chosen.quiet, leave=False) as bar:
            entries = [entry for path in found if (entry := verified(path, bar.update)) is not None]
        print(json.dumps(entries, indent=1) if chosen.json else table(entries))
        return int(any(entry["damage"] for entry in entries))  # 1: damaged
    if chosen.json:
        raise UserError("--json is for --checkpoints; give that, or leave it out")
    for path in paths:
        if path not in (*recipe_names(), *boxed_names()) and not Path(path).exists():
            raise UserError(
                f"{path} does not exist, and no recipe or model of the package has that name: name a model "
                f"folder, a checkpoint, a run folder or a recipe; {suggest(path, recipe_names())}"
            )
    print("\n---\n".join(describe(path) for path in paths))
    return 0


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """A row for each checkpoint, and below it what was otherwise when the run was resumed."""
    lines = [f"{'step':>12}  {'written':<19}  {'MB':>10}  {'processes':>9}  state"]
    told: set[str] = set()
    for one in entries:
        written = printable((one["written"] or "?")[:19].replace("T", " "))
        processes, size = "?" if one["processes"] is None else one["processes"], one["size"] / 1e6
        state = "whole" if one["damage"] is None else f"damaged: {one['damage']}"
        lines.append(f"{one['step']:>12,}  {written:<19}  {size:>10,.1f}  {processes:>9}  {state}")
        lines += [f"{'':>14}{printable(change)}" for change in one["changes"] if change not in told]
        told.update(one["changes"])
    return "\n".join(lines)


# ---------------------------------------------------------------- what a path is, as text
def describe(path: str) -> str:
    """Configuration, parameters and provenance of a model, checkpoint, run or recipe, by path or name."""
    folder = Path(path)
    if folder.is_file() and folder.suffix in PUBLISHED:
        from xfm.models.interop.published.sizes import describe_published

        return _yaml({"published": path, "bytes": folder.stat().st_size, **describe_published(folder)})
    own = None if folder.is_file() else packaged(path)
    if own or not folder.is_dir():
        recipe = [] if own and path not in recipe_names() else [dump_recipe(load_recipe(path)).rstrip()]
        return "\n---\n".join([*([_described_model(own)] if own else []), *recipe])
    if (folder / "state.json").exists():  # whatever it is: what reads it says so
        state = read_json_object(folder / "state.json")
        settings, parts = state.pop("settings", {}), {"checkpoint": str(folder), **state}
        whole = (folder / "config.json").is_file()  # it is a model folder, too
        weights = folder / "model.safetensors"
        more = _model_facts(folder) if whole else {"parameters": parameter_counts(weights)}
        return _yaml(parts | more | {"settings": settings})
    if (folder / "config.json").is_file():
        return _described_model(folder)
    if (folder / "checkpoints").is_dir() or (folder / "model").is_dir():
        checkpoints = sorted(p.name for p in (folder / "checkpoints").glob("step-*"))
        parts = {"run": str(folder), "checkpoints": checkpoints}
        if lines := [line for line in read_log(folder / "log.jsonl") if "event" not in line]:
            parts["last logged"] = lines[-1]
        model = folder / "model"
        return _yaml(parts) + (f"\n{_described_model(model)}" if model.is_dir() else "")
    raise UserError(
        f"{folder} is no model folder (config.json), checkpoint (state.json) or run folder (checkpoints/): "
        "name one of those, such as runs/NAME/model"
    )


def _described_model(folder: Path) -> str:
    return _yaml({"model": str(folder), **_model_facts(folder)})


def _model_facts(folder: Path) -> dict[str, Any]:
    provenance = read_json_object(folder / "provenance.json")
    config = read_json_object(folder / "config.json")
    exported, weights = folder / MANIFEST, folder / "model.safetensors"
    if exported.is_file():
        facts: dict[str, Any] = {"exported": read_json_object(exported)}
    elif (folder / "adapter.json").is_file():
        facts = {"adapter": read_json_object(folder / "adapter.json"), "bytes": folder_size(folder)}
        for name in ("adapter_model", "changed"):
            if (path := folder / f"{name}.safetensors").is_file():
                facts[f"{name} parameters"] = parameter_counts(path)["total"]
    else:
        facts = {"parameters": parameter_counts(weights), "bytes": weights.stat().st_size}
    if (folder / "task.json").is_file():
        facts["task"] = read_json_object(folder / "task.json")
        if not exported.is_file():
            facts["task"] |= {"parameters": parameter_counts(folder / "task.safetensors")["total"]}
    for name, file in _FILES:
        if (path := folder / file).is_file():
            facts[name] = read_json_object(path)
    if (path := folder / "tokenizer.json").is_file():
        facts["tokenizer"] = {"file": path.name, "sha256": file_digest(path)}
    facts |= {name: provenance[name] for name in _ORIGIN if name in provenance}
    others = {key: value for key, value in provenance.items() if key != "settings" and key not in facts}
    return {**facts, "config": config, "provenance": others}


_FILES = (
    ("preprocessing", "preprocessor_config.json"),
    ("preprocessing", "preprocessing.json"),  # of older folders
    ("calibration", "calibration.json"),
)
_ORIGIN = ("position", "gradients", "licences", "data")


def parameter_counts(file: Path) -> dict[str, int]:
    """Numbers in a safetensors file by the first part of their names, and their total, from its header."""
    counts = Counter[str]()
    for name, shape in tensor_shapes(file).items():
        counts[name.split(".")[0]] += prod(shape)
    return {**counts, "total": sum(counts.values())}


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
