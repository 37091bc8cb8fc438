"""What became of every tensor of a published file, as a table."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor


class Fate(StrEnum):
    """Fate of a tensor."""

    USED = "used"
    IGNORED = "ignored"
    MISSING = "missing"


@dataclass(frozen=True)
class FateLine:
    """Tensors of one part with the same fate: their count, numbers and reason; missing parts by our names."""

    fate: Fate
    part: str
    tensors: int
    values: int
    reason: str


@dataclass(frozen=True)
class Report:
    """Tensors used, ignored and missing in a file."""

    source: str
    layout: str
    lines: tuple[FateLine, ...]

    def names(self, fate: Fate) -> list[str]:
        """Parts with a fate."""
        return [line.part for line in self.lines if line.fate is fate]

    def table(self) -> str:
        """The report as text."""
        head = ("", "part", "tensors", "values", "what or why")
        rows = [(str(x.fate), x.part, f"{x.tensors:,}", f"{x.values:,}", x.reason) for x in self.lines]
        for fate in Fate:
            found = [x for x in self.lines if x.fate is fate]
            counts = sum(x.tensors for x in found), sum(x.values for x in found)
            rows.append((str(fate), "all", f"{counts[0]:,}", f"{counts[1]:,}", ""))
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
        text = [f"{self.source}: {self.layout}"]
        for row in [head, *rows]:
            cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
            cells += [row[2].rjust(widths[2]), row[3].rjust(widths[3]), row[4]]
            text.append("  ".join(cells).rstrip())
        return "\n".join(text)


def lines(fate: Fate, state: Mapping[str, Tensor], reasons: Mapping[str, str]) -> Iterable[FateLine]:
    """One line for the tensors of each part and reason."""
    groups: dict[tuple[str, str], list[Tensor]] = {}
    for name, reason in reasons.items():
        groups.setdefault((part_of(name), reason), []).append(state[name])
    for (part, reason), tensors in groups.items():
        yield FateLine(fate, part, len(tensors), sum(t.numel() for t in tensors), reason)


def part_of(name: str) -> str:
    """Part of the model of a tensor: an encoder, its head, or a head."""
    first, _, rest = name.partition(".")
    head = re.match(r"(lm_head|lm_cap_head)\.", rest)
    return f"{first}.{head[1]}" if head else first
