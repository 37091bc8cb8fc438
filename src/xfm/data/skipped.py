"""Rows that a command leaves out, up to a limit, and other files of a folder. Every command that reads images
leaves out rows whose image cannot be read, says so and counts them: `--max-bad` at most; by default a
hundred, and never more than half of the rows of a table, as then it is not an image that is wrong."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm.config.tables import MAX_BAD
from xfm.core.errors import UserError, amount, printable
from xfm.core.files import write_text, writing

BAD_FILE = "bad.jsonl"
"""In the folder of a run: a JSON line for each row that was left out, and each folder with other files."""
_SHOWN = 3


class SkippedRecords:
    """Rows that are left out, with reasons by place; `max_bad` None: the rule above. Raises UserError."""

    def __init__(self, max_bad: int | None = None) -> None:
        if max_bad is not None and max_bad < 0:
            raise UserError(f"--max-bad is {max_bad}: choose 0 or more")
        self.max_bad = max_bad
        self.rows: dict[str, str] = {}
        self.folders: list[str] = []
        self.by_split = Counter[str]()
        self.total = 0

    @property
    def limit(self) -> int:
        """Rows that may be left out."""
        return MAX_BAD if self.max_bad is None else self.max_bad

    def note(self, place: str, reason: str) -> None:
        """Note a row; `check` looks whether it was one too many."""
        self.rows.setdefault(place, reason.removeprefix(f"{place}: "))

    def add(self, place: str, reason: str) -> None:
        """Note a row, where rows come one by one; raises UserError if it is one too many."""
        self.note(place, reason)
        self.check()

    def folder(self, report: str) -> None:
        """Note what a folder holds besides what is read, if anything, and say it on stderr at once."""
        if report:
            self.folders.append(report)
            print(f"Note: {report}", file=sys.stderr, flush=True)

    def check(self) -> None:
        """Refuse to go on without so many rows: raises UserError with the first few."""
        if (count := len(self.rows)) > self.limit:
            told = f"{amount(count, 'row')} cannot be used, and --max-bad leaves out {self.limit} at most"
            remedy = "check where the pictures are, mend or remove them, or give a larger --max-bad"
            raise UserError(f"{self._shown()}: {told}; {remedy}")

    def count(self, what: str, split: str, total: int, bad: int) -> None:
        """Count the missing rows of a split, after they were noted; raises UserError as `check_share`."""
        self.total += total
        if bad:
            self.by_split[split] += bad
        self.check_share(what, total, bad)

    def check_share(self, what: str, total: int, bad: int) -> None:
        """Refuse a split of which nothing is left, or less than half and nobody asked for that."""
        if not bad:
            return
        rows = f"{amount(total, 'row')} of {what}"
        if bad == total:
            raise UserError(f"{self._shown()}: none of the {rows} can be used; mend them")
        if self.max_bad is None and 2 * bad > total:
            most = max(bad, len(self.rows))
            told = f"mend them, check where the pictures are, or give --max-bad {most} to go on without them"
            raise UserError(f"{self._shown()}: {bad} of the {rows} cannot be used, more than half; {told}")

    def _shown(self) -> str:
        first = [f"{place}: {reason}" for place, reason in list(self.rows.items())[:_SHOWN]]
        more = len(self.rows) - len(first)
        return "; ".join(first) + (f" (and {more} more)" if more else "")

    def sentence(self, file: Path | str) -> str:
        """How many rows were left out, for the last lines of a command; empty where none was."""
        if not self.rows:
            return ""
        place, reason = next(iter(self.rows.items()))
        return said_left_out(len(self.rows), self.total, f"{place} ({reason})", file)

    def plain(self) -> dict[str, Any]:
        """All of it as plain values, for a run's details."""
        return {
            "max_bad": self.limit,
            "total": self.total,
            "rows": [{"place": place, "error": reason} for place, reason in self.rows.items()],
            "by_split": dict(self.by_split),
            "folders": [{"says": report} for report in self.folders],
        }

    def kept_in(self, folder: Path) -> dict[str, Any]:
        """Write `BAD_FILE` into the folder of a run; all of it as plain values, with the sentence."""
        self.write(folder)
        return {"says": self.sentence(folder / BAD_FILE), **self.plain()}

    def merge(self, plain: Mapping[str, Any]) -> None:
        """Take over what another one's `plain` says."""
        for row in plain["rows"]:
            self.note(row["place"], row["error"])
        self.by_split.update(plain["by_split"])
        self.total += plain["total"]

    def write(self, folder: Path, name: str = BAD_FILE) -> None:
        """Write the rows into a folder, or remove the file of an earlier run where nothing was left out."""
        path, plain = folder / name, self.plain()
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in (*plain["rows"], *plain["folders"])]
        with writing(path, "or choose another folder"):
            if lines:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, "".join(lines))
            else:
                path.unlink(missing_ok=True)


def said_left_out(bad: int, total: int, first: str, file: Path | str) -> str:
    """How many of all rows were left out, with the first of them, and the file where all stand."""
    were = "was" if bad == 1 else "were"
    return f"{bad:,} of {amount(total, 'row')} {were} left out: {printable(first)}; all in {file}"


def left_out_lines(plain: Mapping[str, Any]) -> list[str]:
    """Rows and folders of `SkippedRecords.plain` a line each, for a report."""
    rows = [f"{row['place']}: {row['error']}" for row in plain["rows"]]
    return rows + [folder["says"] for folder in plain["folders"]]
