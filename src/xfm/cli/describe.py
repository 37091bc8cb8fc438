"""What a model folder, a checkpoint, a run folder, a published file or a recipe is, as text.

Only a published file needs torch, which is imported then.
"""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import yaml

from xfm.config.artifacts import MANIFEST
from xfm.core.errors import UserError
from xfm.core.files import file_digest, folder_size, read_json_object, read_log
from xfm.models.safetensors_header import tensor_shapes
from xfm.models.shipped import boxed_model

PUBLISHED = (".th", ".pt", ".pth", ".safetensors")
"""Ends of the names of published files; other files are recipes."""


def describe(path: str) -> str:
    """Configuration, parameters and provenance of a model, checkpoint, run or recipe, by path or name."""
    folder = Path(path)
    if folder.is_file() and folder.suffix in PUBLISHED:
        from xfm.models.interop.published.sizes import describe_published

        return _yaml({"published": path, "bytes": folder.stat().st_size, **describe_published(folder)})
    if not folder.is_dir():
        from xfm.config.load import dump_recipe, load_recipe, recipe_names

        if not folder.exists() and (own := boxed_model(path)):
            recipe = [dump_recipe(load_recipe(path)).rstrip()] if path in recipe_names() else []
            return "\n---\n".join([_describe_model(own), *recipe])
        return dump_recipe(load_recipe(path)).rstrip()
    if (folder / "state.json").exists():  # whatever it is: what reads it says so
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
    return _yaml({"model": str(folder), **_model_facts(folder)})


def _model_facts(folder: Path) -> dict[str, Any]:
    provenance, config = (
        read_json_object(folder / "provenance.json"),
        read_json_object(folder / "config.json"),
    )
    exported, weights = folder / MANIFEST, folder / "model.safetensors"
    if exported.is_file():
        facts: dict[str, Any] = {"exported": read_json_object(exported)}
    elif (folder / "adapter.json").is_file():
        facts = {"adapter": read_json_object(folder / "adapter.json"), "bytes": folder_size(folder)}
        for name in ("adapter_model", "changed"):
            if (folder / f"{name}.safetensors").is_file():
                facts[f"{name} parameters"] = parameter_counts(folder / f"{name}.safetensors")["total"]
    else:
        facts = {"parameters": parameter_counts(weights), "bytes": weights.stat().st_size}
    if (folder / "task.json").is_file():
        facts["task"] = read_json_object(folder / "task.json")
        if not exported.is_file():
            facts["task"] |= {"parameters": parameter_counts(folder / "task.safetensors")["total"]}
    if grid := _grid(config.get("vision")):
        facts["grid"] = grid
    for name in ("preprocessing", "tokenizer", "calibration"):
        path = folder / f"{name}.json"
        if name != "tokenizer" and path.is_file():
            facts[name] = read_json_object(path)
        elif path.is_file():
            facts[name] = {"file": path.name, "sha256": file_digest(path)}
    for name in ("position", "gradients", "licences", "data"):
        if name in provenance:
            facts[name] = provenance[name]
    others = {key: value for key, value in provenance.items() if key != "settings" and key not in facts}
    return {**facts, "config": config, "provenance": others}


def _grid(vision: Any) -> dict[str, int] | None:
    if not isinstance(vision, dict):
        return None
    side, patch = vision.get("image_size"), vision.get("patch_size")
    if not (isinstance(side, int) and isinstance(patch, int) and patch > 0):
        return None
    across = vision.get("image_width") or side
    if not isinstance(across, int):
        return None
    return {"rows": side // patch, "columns": across // patch}


def _describe_checkpoint(folder: Path) -> str:
    state = read_json_object(folder / "state.json")
    settings = state.pop("settings", {})
    parts = {"checkpoint": str(folder), **state}
    if (folder / "config.json").is_file():  # it is a whole model folder
        return _yaml(parts | _model_facts(folder) | {"settings": settings})
    return _yaml(parts | {"parameters": parameter_counts(folder / "model.safetensors"), "settings": settings})


def _describe_run(folder: Path) -> str:
    checkpoints = sorted(p.name for p in (folder / "checkpoints").glob("step-*"))
    parts: dict[str, Any] = {"run": str(folder), "checkpoints": checkpoints}
    if lines := [line for line in read_log(folder / "log.jsonl") if "event" not in line]:
        parts["last logged"] = lines[-1]
    text = _yaml(parts)
    return f"{text}\n{_describe_model(folder / 'model')}" if (folder / "model").is_dir() else text


def parameter_counts(file: Path) -> dict[str, int]:
    """Numbers in a safetensors file by the first part of their names, and their total, from its header."""
    counts = Counter[str]()
    for name, shape in tensor_shapes(file).items():
        counts[name.split(".")[0]] += prod(shape)
    return {**counts, "total": sum(counts.values())}


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
