"""The rooms of the package: their order, what each imports, and the map that is drawn from both.

`make map` writes the drawing, the table of docs/architecture.md and the rule of CONTRIBUTING.md anew, and
`tests/test_architecture.py` says when that is due.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "xfm"
# A room imports only rooms before it.
ORDER = (
    *("errors", "sandbox", "failures"),
    *("paths", "boxed", "processes", "files", "terminal", "locks", "results_folder"),
    *("config", "executors", "data", "world", "corpora", "metrics"),
    *("modeling", "method", "runtimes", "interop", "objectives", "training", "planning"),
    *("tasks", "reports", "doctor", "finetuning", "evaluation", "inference", "index"),
    *("serving", "demo", "quickstart", "info", "commands", "cli", "__main__"),
)

Spot = tuple[str, ...]  # a room, or the point at which an arrow crosses a row
BOX, ROW, GAP, MARGIN = 30, 58, 22, 24
STYLE = """
  svg { color-scheme: light dark }
  .page { fill: #fff; stroke: #d0d7de } .room { fill: #eef2ff; stroke: #4f5fb8 }
  .module { fill: #f6f8fa; stroke: #8c959f } .arrow { fill: none; stroke: #8c959f; stroke-width: 1.3 }
  .tip { fill: #8c959f }
  text { fill: #1f2328; font: 13px ui-sans-serif, system-ui, sans-serif; text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    .page { fill: #161b22; stroke: #30363d } .room { fill: #232a4d; stroke: #8b9af0 }
    .module { fill: #21262d; stroke: #8b949e } .arrow { stroke: #6e7681 } .tip { fill: #6e7681 }
    text { fill: #e6edf3 }
  }"""


def room_of(path: Path) -> str:
    """The room in which a file of the package lies."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def modules(room: str) -> list[Path]:
    """The files of a room."""
    return sorted((SOURCE / room).rglob("*.py")) or [SOURCE / f"{room}.py"]


@cache
def imported(path: Path) -> frozenset[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return frozenset(found)


@cache
def below(room: str) -> frozenset[str]:
    """The rooms that a room imports."""
    names = frozenset[str]().union(*map(imported, modules(room)))
    return frozenset(name.split(".")[1] for name in names if name.startswith("xfm.")) - {room}


@cache
def reached(room: str) -> frozenset[str]:
    """The rooms that a room imports, and theirs."""
    return below(room).union(*map(reached, below(room)))


def arrows(room: str) -> list[str]:
    """The imports of a room that do not follow from others: the arrows of the drawing."""
    return sorted(other for other in below(room) if not any(other in reached(near) for near in below(room)))


def sentence(room: str) -> str:
    """The first line of a room's docstring, as Markdown."""
    path = SOURCE / room / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else SOURCE / f"{room}.py").read_text())) or ""
    return text.partition("\n")[0].replace(" |", ",")  # it becomes a cell of a table


def rows() -> tuple[list[list[Spot]], list[tuple[Spot, Spot]]]:
    """The spots of each row, who uses others on top, and the lines between spots of neighbouring rows."""
    depth = dict.fromkeys(ORDER, 0)
    for room in reversed(ORDER):
        for other in arrows(room):
            depth[other] = max(depth[other], depth[room] + 1)
    table: list[list[Spot]] = [[] for _ in range(max(depth.values()) + 1)]
    lines = []
    for room in reversed(ORDER):
        table[depth[room]].append((room,))
        for other in arrows(room):
            crossed = range(depth[room] + 1, depth[other])
            for row in crossed:
                table[row].append((room, other, str(row)))
            lines += pairwise([(room,), *((room, other, str(row)) for row in crossed), (other,)])
    return table, lines


def wide(spot: Spot) -> float:
    """The width of a spot in the drawing."""
    return 8.2 * len(spot[0]) + 22 if len(spot) == 1 else 6


def apart(row: list[Spot], wish: dict[Spot, float]) -> dict[Spot, float]:
    """Where the spots of a row stand without overlaps, as near to their wishes as least squares do."""
    offset = 0.0
    groups: list[list[Any]] = []  # who stands side by side: the sum of the wishes, the weight, the members
    for spot in row:
        offset += wide(spot) / 2
        weight = 1.0 if len(spot) == 1 else 4.0  # an arrow that bends is uglier than a room off its middle
        groups.append([weight * (wish[spot] - offset), weight, [(spot, offset)]])
        offset += wide(spot) / 2 + GAP
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            last = groups.pop()
            groups[-1] = [groups[-1][0] + last[0], groups[-1][1] + last[1], groups[-1][2] + last[2]]
    return {spot: total / weight + own for total, weight, members in groups for spot, own in members}


def placed(table: list[list[Spot]], lines: list[tuple[Spot, Spot]]) -> dict[Spot, float]:
    """The horizontal middle of every spot: near the middle of what it is joined with, without overlaps."""
    near: dict[Spot, list[Spot]] = {spot: [] for row in table for spot in row}
    for one, other in lines:
        near[one].append(other)
        near[other].append(one)
    x = {spot: 100.0 * number for row in table for number, spot in enumerate(row)}
    for turn in range(60):
        for row in table if turn % 2 else reversed(table):
            wish = {spot: sum(x[other] for other in near[spot]) / max(1, len(near[spot])) for spot in row}
            row.sort(key=lambda spot: (round(wish[spot], 3), spot))
            x.update(apart(row, wish))
    left = min(x[spot] - wide(spot) / 2 for spot in x)
    return {spot: round(value - left + MARGIN, 1) for spot, value in x.items()}


def drawing() -> str:
    """The rooms as SVG; an arrow leads to what is imported, and what follows from other arrows has none."""
    table, lines = rows()
    x = placed(table, lines)
    y = {spot: MARGIN + BOX / 2 + ROW * number for number, row in enumerate(table) for spot in row}
    width = round(max(x[spot] + wide(spot) / 2 for spot in x)) + MARGIN
    height = round(max(y.values()) + BOX / 2) + MARGIN
    return "\n".join([*_head(width, height), *_lines(lines, x, y), *_boxes(x, y), "</svg>", ""])


def _head(width: int, height: int) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    yield "<title>The rooms of xfm; an arrow leads to a room that is imported</title>"
    yield f"<style>{STYLE}\n</style>"
    yield '<marker id="tip" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    yield '<path class="tip" d="M1 1L8 4L1 7z"/></marker>'
    yield f'<rect class="page" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>'


def _lines(lines: list[tuple[Spot, Spot]], x: dict[Spot, float], y: dict[Spot, float]) -> Iterator[str]:
    for one, other in lines:
        top, end = y[one] + (BOX / 2 if len(one) == 1 else 0), y[other] - (BOX / 2 if len(other) == 1 else 0)
        half = (top + end) / 2
        tip = ' marker-end="url(#tip)"' if len(other) == 1 else ""
        curve = f"M{x[one]} {top}C{x[one]} {half} {x[other]} {half} {x[other]} {end}"
        yield f'<path class="arrow" d="{curve}"{tip}/>'


def _boxes(x: dict[Spot, float], y: dict[Spot, float]) -> Iterator[str]:
    for room in ORDER:
        spot = (room,)
        kind = "room" if (SOURCE / room).is_dir() else "module"
        left, top = x[spot] - wide(spot) / 2, y[spot] - BOX / 2
        box = f'x="{left:.1f}" y="{top}" width="{wide(spot):.1f}" height="{BOX}" rx="7"'
        yield f'<rect class="{kind}" {box}/><text x="{x[spot]}" y="{y[spot] + 4.5}">{room}</text>'


def between(text: str, new: str) -> str:
    """A page with what stands between its marks replaced."""
    marks = r"(<!-- rooms -->).*?(<!-- /rooms -->)"
    return re.sub(marks, lambda found: found[1] + new + found[2], text, flags=re.DOTALL)


def due() -> dict[Path, str]:
    """What the files that follow from the imports should hold."""
    page, rule = ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"
    table = ["| room | what is in it |", "|---|---|", *(f"| `{room}` | {sentence(room)} |" for room in ORDER)]
    return {
        ROOT / "docs" / "images" / "rooms.svg": drawing(),
        page: between(page.read_text(), "\n" + "\n".join(table) + "\n"),
        rule: between(rule.read_text(), " <- ".join(ORDER)),
    }


if __name__ == "__main__":
    for path, text in due().items():
        path.write_text(text)
