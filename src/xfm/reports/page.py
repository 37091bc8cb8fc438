"""Pages from templates, with pictures as data URIs."""

import base64
import io
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from xfm.core.errors import UserError
from xfm.core.files import path_below
from xfm.data.images import load_image
from xfm.metrics.numbers import percent, points, readable_seconds, rough
from xfm.reports.labels import SPLIT_NAMES, metric_name, part_name

if TYPE_CHECKING:
    from jinja2 import Template


MAX_SIDE = 224  # larger pictures are shrunk: the report shows thumbnails


class Thumbnails:
    """Pictures of a world as data URIs, each written once."""

    def __init__(self, world: Path) -> None:
        self.world = world
        self._known: dict[str, str] = {}

    def uri(self, path: str) -> str:
        """JPEG data URI; empty where there is no such picture."""
        if path not in self._known:
            file = path_below(self.world, path)
            self._known[path] = "" if file is None else _encode(file)
        return self._known[path]


def _encode(path: Path) -> str:
    try:
        return thumbnail(load_image(path))
    except UserError:
        return ""


def thumbnail(pixels: Tensor) -> str:
    """Data URI of a small JPEG of [3, H, W] uint8."""
    small = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def page_template(name: str, thumbnails: Thumbnails) -> "Template":
    """A template of `reports/templates` with autoescaping."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def load(name: str) -> str:
        return (resources.files("xfm.reports") / "templates" / name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "seconds": readable_seconds}
    environment.filters |= {"rough": rough, "split_title": lambda split: SPLIT_NAMES.get(split, split)}
    environment.filters |= {"part_title": part_name, "metric_title": lambda name: metric_name(f"_/_/{name}")}
    environment.globals["picture"] = thumbnails.uri
    return environment.get_template(name)
