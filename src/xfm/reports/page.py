"""Scores as rows of tables, and pages from templates, with pictures as data URIs."""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from xfm.core.errors import UserError
from xfm.core.files import path_below
from xfm.data.images import load_image
from xfm.metrics.numbers import percent, points, readable_seconds, rough
from xfm.reports.labels import NOUNS, SPLIT_NAMES, headlines, less_is_better, metric_name, part_name, title_of
from xfm.reports.scores import HELD_OUT, SPLITS_RETRIEVAL, Score

if TYPE_CHECKING:
    from jinja2 import Template


def line_of(key: str, scores: Mapping[str, Score], baselines: dict[str, float]) -> dict[str, Any]:
    """Row of a score in the score table: task, split and metric in words, and its own `baselines` by name.
    `gain` is the value minus the better of chance and baseline (None for an error, or without either), in
    points for a difference; `verdict` is `up` or `down` where the interval lies above or below that, else
    `level`."""
    score, verdict, split = scores[key], "level", key.split("/")[1]
    floor = max((one for one in (score.chance, score.baseline) if one is not None), default=None)
    if less_is_better(key):
        floor = None
    if floor is not None and score.low is not None and score.high is not None:
        verdict = "up" if score.low > floor else "down" if score.high < floor else "level"
    return {
        "key": key,
        "task": title_of(key),
        "split": SPLIT_NAMES.get(split, split),
        "metric": metric_name(key),
        "score": score,
        "gain": None if floor is None else score.value - floor,
        "is_difference": key.endswith("_gain"),  # of two shares, and no share
        "verdict": verdict,
        "baselines": baselines,
    }


_WITH_NOUNS = tuple(f"retrieval/{split}/" for split in SPLITS_RETRIEVAL)


def summary(scores: Mapping[str, Score]) -> str:
    """Table of the report's headlines."""
    return table(scores, headlines(scores))


def table(scores: Mapping[str, Score], keys: Sequence[str]) -> str:
    """Table of some scores; empty columns are left out."""
    titles = ("", "score", "95 %", "scratch", "chance", "baseline", "n")
    rows: list[tuple[str, ...]] = [titles]
    for key in keys:
        one = scores[key]
        ends = "-" if one.low is None or one.high is None else f"{100 * one.low:.1f} to {percent(one.high)}"
        floors = (percent(value) for value in (one.scratch, one.chance, one.baseline))
        name, split = f"{title_of(key)}: {metric_name(key)}", key.split("/")[1]
        name += f", {SPLIT_NAMES[split]}" if split in HELD_OUT else ""
        if one.baseline is not None and key.startswith(_WITH_NOUNS):
            name += f" (baseline: {NOUNS})"
        rows.append((name, percent(one.value), ends, *floors, f"{one.n:,}"))
    used = [column for column in range(len(titles)) if {row[column] for row in rows[1:]} != {"-"}]
    rows = [tuple(row[column] for column in used) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join(map("  ".join, aligned))


MAX_SIDE = 224  # larger pictures are shrunk: the report shows thumbnails


def thumbnail_of(world: Path, path: str) -> str:
    """JPEG data URI of a picture below a folder; empty where there is no such picture."""
    try:
        return "" if (file := path_below(world, path)) is None else thumbnail(load_image(file))
    except UserError:
        return ""


def thumbnail(pixels: Tensor) -> str:
    """Data URI of a small JPEG of [3, H, W] uint8."""
    small = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def page_template(name: str, world: Path = Path("/")) -> "Template":
    """A template of `reports/templates` with autoescaping; its pictures lie below `world`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("xfm.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "seconds": readable_seconds}
    environment.filters |= {"rough": rough, "split_title": lambda split: SPLIT_NAMES.get(split, split)}
    environment.filters |= {"part_title": part_name, "metric_title": lambda name: metric_name(f"_/_/{name}")}
    environment.globals["picture"] = cache(partial(thumbnail_of, world))
    return environment.get_template(name)
