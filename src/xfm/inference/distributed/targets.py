"""Where the parts of units end: one file of answers, or a folder of vectors."""

import contextlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfm.errors import UserError
from xfm.executors.sharded_map import AGAIN, ShardedMap, whole_file
from xfm.files import clear_leftovers, drafting, read_json_or_nothing, replace_folder, write_text, writing
from xfm.inference.distributed.part_files import PartForm
from xfm.inference.distributed.row_units import RowMark
from xfm.inference.predict.output import bad_file, earlier_settings, is_of_answers, settings_file
from xfm.results_folder import free_name

VECTORS = "_vectors.json"
BAD = "_bad.jsonl"
"""Readers of folders of Parquet files pass over names that begin so."""


@dataclass(frozen=True)
class RowTotals:
    """What became of all rows.

    Attributes:
        rows: of the input.
        answered: rows with an answer.
        skipped: rows without.
        partial: rows that were answered by a part of a picture.
        first_bad: the first row without an answer, and why.
    """

    rows: int
    answered: int
    skipped: int
    partial: int
    first_bad: str = ""


class PartsTarget(ABC):
    """What the parts are put together to.

    Attributes:
        path: of it.
        form: of the parts.
    """

    form: PartForm

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def work(self) -> Path:
        """The folder of what is not finished, beside the target: hidden, of one name for all processes."""
        return self.path.with_name(f".{self.path.name}.working")

    @property
    @abstractmethod
    def bad(self) -> Path:
        """The file of rows that could not be answered."""

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """What is said of the target that is there: `mark` and `totals`; empty where nothing is."""

    def finished(self, mark: str) -> RowTotals | None:
        """What became of the rows, where the target is there and of these settings."""
        found = self.told()
        with contextlib.suppress(TypeError, KeyError):  # somebody has changed it
            return RowTotals(**found["totals"]) if found.get("mark") == mark else None
        return None

    @abstractmethod
    def require_free(self, restart: bool) -> None:
        """Refuse a target that would be lost; with `restart`, remove one that may be.

        Raises:
            UserError: it holds something else, or nobody wants to replace it.
        """

    @abstractmethod
    def finish(
        self, units: ShardedMap[RowMark], logged: list[str], rows: list[int], told: dict[str, Any]
    ) -> None:
        """Put the parts in place.

        Args:
            units: all of them done.
            logged: a line of JSON for each row that could not be answered.
            rows: answered in each unit.
            told: settings, `mark` and `totals`.
        """


class AnswersFile(PartsTarget):
    """A file of lines, as one process writes it, with its settings and its log beside it."""

    form = PartForm.LINES

    @property
    def bad(self) -> Path:
        """See `PartsTarget.bad`."""
        return bad_file(self.path)

    def told(self) -> dict[str, Any]:
        """See `PartsTarget.told`."""
        return earlier_settings(self.path).get("units", {}) if self.path.exists() else {}

    def require_free(self, restart: bool) -> None:
        """See `PartsTarget.require_free`."""
        if not os.path.lexists(self.path):
            return
        if self.path.is_symlink() or not self.path.is_file():  # the file is renamed to, and would replace it
            raise UserError(f"{self.path} is a folder, a link or a pipe: choose a file for the answers")
        if self.path.stat().st_size and not (earlier_settings(self.path) and is_of_answers(self.path)):
            raise UserError(
                f"{self.path} holds something, but {settings_file(self.path).name} beside it does not say "
                f"that `predict` made it; name another file, such as {free_name(self.path)}"
            )
        if not restart:
            raise UserError(
                f"{self.path} holds answers of other settings, or of a run without units: name another file, "
                "or begin again with --restart"
            )
        with writing(self.path, AGAIN):
            for path in (self.path, settings_file(self.path), self.bad):
                path.unlink(missing_ok=True)

    def finish(
        self, units: ShardedMap[RowMark], logged: list[str], rows: list[int], told: dict[str, Any]
    ) -> None:
        """See `PartsTarget.finish`."""
        with writing(self.path, AGAIN), whole_file(self.path) as draft:
            with draft.open("wb") as out:
                for number in range(units.count):
                    with units.file(number, ".part.jsonl").open("rb") as part:
                        shutil.copyfileobj(part, out, 1 << 20)
            if logged:
                write_text(self.bad, "".join(f"{line}\n" for line in logged))
            write_text(settings_file(self.path), _told(told))


class VectorsFolder(PartsTarget):
    """A folder of part files, `_vectors.json` about them, and `_bad.jsonl` where rows were left out.

    Args:
        path: of the folder.
        form: of the files.
    """

    def __init__(self, path: Path, form: PartForm) -> None:
        super().__init__(path)
        self.form = form

    @property
    def bad(self) -> Path:
        """See `PartsTarget.bad`."""
        return self.path / BAD

    def told(self) -> dict[str, Any]:
        """See `PartsTarget.told`."""
        return read_json_or_nothing(self.path / VECTORS).get("units", {})

    def require_free(self, restart: bool) -> None:
        """See `PartsTarget.require_free`."""
        if self.path.parent.is_dir():
            clear_leftovers(self.path.parent, self.path.name)
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file: choose a folder for the vectors")
        names = {path.name for path in self.path.iterdir()} if self.path.exists() else set[str]()
        if not names:
            return
        own = {VECTORS, BAD, *read_json_or_nothing(self.path / VECTORS).get("files", {})}
        if VECTORS not in names or names - own:
            other = min(names - own) if names - own else min(names)
            raise UserError(
                f"{self.path} holds {other}, which is none of `xfm embed`'s files: choose another folder, "
                f"such as {free_name(self.path)}"
            )
        if not restart:
            raise UserError(
                f"{self.path} holds vectors of other settings: choose another folder, or begin again with "
                "--restart"
            )
        with writing(self.path, AGAIN):
            shutil.rmtree(self.path)

    def finish(
        self, units: ShardedMap[RowMark], logged: list[str], rows: list[int], told: dict[str, Any]
    ) -> None:
        """See `PartsTarget.finish`."""
        with writing(self.path, AGAIN), drafting(self.path) as draft:
            files: dict[str, int] = {}
            for number, count in enumerate(rows):
                for suffix in self.form.suffixes:
                    name = f"{number:06d}{suffix}"
                    shutil.copyfile(units.file(number, f".part{suffix}"), draft / name)
                    files[name] = count
            if logged:
                write_text(draft / BAD, "".join(f"{line}\n" for line in logged))
            write_text(draft / VECTORS, _told({"files": files, **told}))
            replace_folder(draft, self.path)


def _told(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"
