"""What is to be answered, in a form that goes to other processes and machines."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.config.plain import to_plain
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.core.results_folder import digest, model_mark
from xfm.data.tables import ColumnMap
from xfm.data.tables.records import stored_size
from xfm.inference.base import Pipeline
from xfm.inference.pipeline import pipeline
from xfm.inference.predict.reading import CutRows, Reading, known_path
from xfm.inference.predict.sources import FolderRows, open_rows
from xfm.models.resolve import find_model


@dataclass(frozen=True)
class RowWork:
    """Rows, a task, and a model that answers them. Machines see files and models under the same paths.

    Attributes:
        task: name of the task.
        model: folder, run, or name of the package or the hub.
        source: a table or a folder of pictures.
        options: of the task.
        columns: what the columns of a table are called.
        keep: columns that are copied to the answers.
        root: folder that paths of pictures start from, if not the table's own.
        device: where models run.
        precision: of their arithmetic; float32 if not given, by torch on every machine.
        batch_size: rows per pass.
        allow_urls: hosts from which pictures may be fetched.
        readers: threads of a process that read pictures ahead.
    """

    task: str
    model: str
    source: Path
    options: Any = None
    columns: str = ""
    keep: tuple[str, ...] = ()
    root: Path | None = None
    device: str = "auto"
    precision: str | None = None
    batch_size: int = 32
    allow_urls: Sequence[str] = field(default_factory=tuple)
    readers: int | None = None

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        return task_spec(self.task)

    @property
    def reading(self) -> Reading:
        """How the rows are read."""
        columns, urls = ColumnMap.parse(self.columns), bool(self.allow_urls)
        return Reading(self.spec.inputs, columns, self.keep, self.root, urls)

    def rows(self, names: Sequence[str] | None = None) -> CutRows:
        """The rows; of a folder those of some names, where these are known.

        Raises:
            UserError: they cannot be read.
        """
        if names is not None:
            return FolderRows(self.source, self.reading, names)
        return open_rows(self.source, self.reading)

    def pipe(self) -> Pipeline[Any, Any]:
        """The model, loaded; raises UserError."""
        return pipeline(
            self.task,
            self.model,
            device=self.device,
            precision=self.precision or "fp32",
            batch_size=self.batch_size,
            allow_urls=[*self.allow_urls],
            readers=self.readers,
        )

    def settings(self) -> dict[str, Any]:
        """What the answers depend on, as plain values, as `predict` keeps it.

        Raises:
            UserError: there is no such model, or the rows cannot be read.
        """
        return {
            "task": self.spec.name,
            "model": model_of(self.model),
            "input": known_path(self.source) | _size(self.source),
            "columns": dict(ColumnMap.parse(self.columns).columns),
            "keep": list(self.keep),
            "options": to_plain(self.options),
            "gallery": None,
            "precision": self.precision or "fp32",
            "batch_size": self.batch_size,
        }


def everywhere(model: str) -> str:
    """A model as processes find it that run in other folders.

    Raises:
        UserError: there is no such model.
    """
    find_model(model)
    place = home_path(model)
    return str(place.absolute()) if place.exists() else model


def settings_mark(settings: dict[str, Any]) -> str:
    """By what settings are known again."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def model_of(model: str) -> str:
    """By what a model is known again: its weights, or, of an exported one, names and sizes of its files."""
    place = find_model(model)
    found = model_mark(place)
    if found or not place.is_dir():
        return found
    return digest((path.name, path.stat().st_size) for path in sorted(place.iterdir()))


def _size(source: Path) -> dict[str, int]:
    """Of a file all of it counts: where its units begin depends on every row."""
    return {} if source.is_dir() else {"bytes": stored_size(source)}


def require_shareable(spec: TaskSpec, source: object, draw: object) -> None:
    """Refuse what several processes cannot share.

    Args:
        spec: the task.
        source: of the rows; a path, where it can be shared.
        draw: the folder of pictures, where these were asked for.

    Raises:
        UserError: names the reason.
    """
    if spec.gallery:
        raise UserError(
            f"{spec.name} searches in a gallery, which every process would encode: leave out --engine, "
            "--array and --processes, or build a collection (`xfm index build`) and search in that"
        )
    if not isinstance(source, Path):
        raise UserError(
            "one input, or standard input, is no work for several processes: leave out --engine, --array and "
            "--processes, or give a table or folder with --input"
        )
    if draw is not None:
        raise UserError("--draw is for one process: leave it out, or --engine, --array and --processes")
