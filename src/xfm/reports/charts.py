"""Curves and bars as inline SVG that follows the page's colours."""

import io
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfm.core.files import read_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"  # stands for the text colour of the page until the SVG is written
PALETTE = ("#3b7dd8", "#e0803c", "#3fa36c", "#b65fb0", "#c9a227", "#5b8a8f")
MAX_POINTS = 400
FEW = 6  # shorter curves show their points
TITLE = 40  # characters of a title that fit above a panel

Curve = tuple[Sequence[float], Sequence[float]]
"""Steps and values."""


def read_curves(path: Path) -> dict[str, Curve]:
    """Curves `loss`, `lr` and each of `losses` of a run's `log.jsonl`; torn lines and events are skipped."""
    return _curves(read_log(path), lambda line: {"loss": line["loss"], **line["losses"]})


def read_validation(path: Path) -> dict[str, dict[str, Curve]]:
    """Validation curves of a run's `log.jsonl`: `losses` or `average` (of the weights) -> name -> curve."""
    looks = [line for line in read_log(path) if line.get("event") == "validation"]
    return {kind: _curves(looks, itemgetter(kind)) for kind in ("losses", "average")}


def _curves(lines: Iterable[dict[str, Any]], values_of: Callable[[Any], dict[str, Any]]) -> dict[str, Curve]:
    curves: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for line in lines:
        try:
            step, values = float(line["step"]), values_of(line).items()
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        for name, value in values:
            if isinstance(value, int | float):
                curves[name][0].append(step)
                curves[name][1].append(float(value))
    return dict(curves)


def _axes(panels: Mapping[str, Any], columns: int) -> "tuple[Figure, list[Any]]":
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.2 * rows), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, title in zip(axes, panels, strict=False):
        axis.patch.set_alpha(0)
        axis.set_title(textwrap.fill(title, TITLE), fontsize=9, color=INK, loc="left")
        axis.tick_params(labelsize=7, colors=INK, length=2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set(color=INK, alpha=0.4)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return figure, [*axes[: len(panels)]]


def small_multiples(
    panels: Mapping[str, Mapping[str, Curve]],
    columns: int = 4,
    smooth: bool = False,
    last: float | None = None,
    marks: Sequence[float] = (),
) -> str:
    """Panels (title -> label -> curve) as an `<svg>` element with ink `currentColor`. `smooth` draws a
    running mean over the pale raw curve; `last` is the last step of every panel; `marks` are steps with a
    vertical line."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes(panels, columns)
    for axis, curves in zip(axes, panels.values(), strict=True):
        axis.grid(True, color=INK, alpha=0.12, linewidth=0.6)
        axis.set_xlim(0, last or max((max(steps, default=0) for steps, _ in curves.values()), default=0) or 1)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        for mark in marks:
            axis.axvline(mark, color=INK, alpha=0.45, linewidth=0.8, linestyle=(0, (3, 3)))
        for colour, (label, curve) in zip(PALETTE, curves.items(), strict=False):
            every = -(-len(curve[0]) // MAX_POINTS) or 1
            # From the end, so that the last point is there; in between they are means of what is left out.
            steps, values = curve[0][::-every][::-1], running_mean(curve[1], every)[::-every][::-1]
            if len(steps) < FEW:  # a line needs two points, and is hard to see with a few
                axis.plot(steps, values, color=colour, marker="o", markersize=3, linestyle="", clip_on=False)
            if smooth:
                axis.plot(steps, values, color=colour, linewidth=0.7, alpha=0.25)
                values = running_mean(curve[1])[::-every][::-1]
            axis.plot(steps, values, color=colour, linewidth=1.3, label=label)
        if len(curves) > 1:
            axis.legend(fontsize=7, frameon=False, labelcolor=INK)
    return _svg(figure)


def histograms(panels: Mapping[str, Mapping[str, int]], columns: int = 4) -> str:
    """Panels of bins (title -> edge -> count) as an `<svg>` element."""
    figure, axes = _axes(panels, columns)
    for axis, bins in zip(axes, panels.values(), strict=True):
        axis.bar(range(len(bins)), [*bins.values()], width=0.9, color=PALETTE[0])
        every = -(-len(bins) // 8) or 1
        begins = [place - 0.5 for place in range(0, len(bins), every)]  # a bin is named where it begins
        axis.set_xticks(begins, [*bins][::every])
        axis.grid(True, axis="y", color=INK, alpha=0.12, linewidth=0.6)
    return _svg(figure)


def running_mean(values: Sequence[float], width: int = 0) -> list[float]:
    """Centred running mean over `width` points (0: 8 % of the curve); shorter windows at the ends."""
    width = width or max(1, round(len(values) * 0.08))
    kernel = np.ones(2 * (width // 2) + 1)
    counts = np.convolve(np.ones(len(values)), kernel, mode="same")
    return (np.convolve(np.asarray(values, dtype=float), kernel, mode="same") / counts).tolist()


def _svg(figure: "Figure") -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "xfm", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # No addresses in the page: the namespaces are implied for SVG inside HTML.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # two charts on a page would repeat them
    return text.replace("xlink:href", "href").replace(INK, "currentColor")
