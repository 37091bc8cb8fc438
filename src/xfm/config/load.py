"""Recipes by name or file, with overrides from the environment and from dotted options.

Later wins: the dataclasses' defaults, the recipe named by `base:`, the recipe, the environment
(`XFM_PRETRAIN_TRAINING__STEPS=100`), options (`--training.steps 100`).
"""

import os
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from xfm.config.options import merge, parse
from xfm.config.plain import check_value_count, to_plain, yaml_value
from xfm.config.recipe import Recipe
from xfm.config.typed import check_names
from xfm.core.errors import UserError, suggest
from xfm.core.files import read_text, reading
from xfm.core.paths import at_home

RECIPE_ENV = "XFM_PRETRAIN"
MAX_RECIPE = 1 << 20
"""Bytes of a recipe, far above any."""
MOST_LISTED = 128
"""Phases and corpora of a recipe, far above any: the time to read them grows with their square."""


def recipe_names(family: str = "") -> list[str]:
    """Names of the package's recipes of a family such as `finetune`; of pre-training without one."""
    files = (p.name for p in resources.files("xfm").joinpath("recipes", family).iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def load_recipe(recipe: str | Path, options: Sequence[str] = ()) -> Recipe:
    """A recipe, by its name in the package or as a YAML file.

    It has the overrides of the environment and of `options` as on the command line
    (`["--training.steps", "100"]`). UserError: an unknown recipe or field, or a value of the wrong type; the
    message lists close matches."""
    values = read_recipe(recipe)
    return parse(Recipe, options, values=values, source=f"recipe {recipe}", env_prefix=RECIPE_ENV)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every field; `load_recipe` reads it back."""
    return yaml.safe_dump(to_plain(recipe), sort_keys=False, allow_unicode=True)


def read_recipe(recipe: str | Path, kind: type = Recipe, family: str = "") -> dict[str, Any]:
    """The fields that a recipe, by name or path, and its bases set, as nested mappings."""
    values: dict[str, Any] = {}
    seen: list[str] = []
    name: str | None = str(recipe)
    folder = Path()
    while name is not None:
        name = at_home(name)
        is_path = name.endswith((".yaml", ".yml")) or os.sep in name
        if not is_path and name not in (known := recipe_names(family)):
            raise UserError(
                f"unknown recipe {name}; {suggest(name, known)} (or give the path of a YAML file)"
            )
        shipped = resources.files("xfm").joinpath("recipes", family)
        path = folder / name if is_path else shipped / f"{name}.yaml"
        content = read_yaml(path)
        real = os.path.realpath(str(path))
        if real in seen:
            raise UserError(f"recipe {recipe}: base recipes form a loop ({' -> '.join([*seen, real])})")
        seen.append(real)
        folder = path.parent if isinstance(path, Path) else folder
        base = content.pop("base", None)
        check_names(kind, content, f"recipe {name}")
        values = merge(content, values)
        if (count := _listed(content)) > MOST_LISTED:
            raise UserError(
                f"recipe {name} lists {count} phases and corpora, more than {MOST_LISTED}: take fewer, "
                "or name the files of a corpus by a pattern, such as shards-*.tar"
            )
        name = None if base is None else str(base)
    return values


def _listed(values: Any) -> int:
    if isinstance(values, dict):
        return sum(map(_listed, values.values()))
    if isinstance(values, list):
        return sum(isinstance(value, dict) + _listed(value) for value in values)
    return 0


def read_yaml(path: Path | Traversable, source: str = "") -> dict[str, Any]:
    """A YAML mapping of settings; a UserError names `source`, else the recipe."""
    source = source or f"recipe {path}"
    try:
        with reading(source):
            text = read_text(path, MAX_RECIPE) if isinstance(path, Path) else path.read_text("utf-8")
        content = yaml_value(text)
        check_value_count(content)
    except ValueError as error:
        raise UserError(f"{source} is not valid YAML ({error}): mend that line") from error
    if not isinstance(content, dict):
        raise UserError(f"{source} must be a mapping of fields, such as `training:`; see `xfm info nano`")
    return content
