"""What all trainings of a fine-tuning share: the task's own, and those of its baselines."""

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import task_spec
from xfm.data.left_out import LeftOut
from xfm.errors import UserError
from xfm.finetuning.adapt import merge_lora
from xfm.finetuning.applicable import check_applicable
from xfm.finetuning.baselines.strong import BaselineResult, scored
from xfm.finetuning.plan import fitted, task_settings
from xfm.finetuning.start import LONGEST, fitting_length, head_width, load_base, text_limit
from xfm.finetuning.tuning_run import TuningRun, tune
from xfm.finetuning.usable import usable_rows
from xfm.finetuning.watch import BEST_FOLDER
from xfm.modeling.folder import Pretrained
from xfm.reports.scores import write_json
from xfm.results_folder import digest
from xfm.tasks.base import Blanked, Task
from xfm.tasks.pictures import Pictures
from xfm.tasks.splits import SplitRows
from xfm.training import distributed
from xfm.training.changes import SHOWN
from xfm.training.checkpoint import list_checkpoints

BASELINES_FOLDER, BASELINE_SCORES, BASELINE_ROWS = "baselines", "scores.json", "rows.json"
AnyTask = Task[Any, Any, Any]


@dataclass(frozen=True)
class RowOrigin:
    """Where rows come from.

    Attributes:
        places: file and row that name each picture, for messages.
        sources: what each split was made of, in words, for the report.
        rows: file and row of each typed row, for the report; of equal rows that of the first.
        table, columns, pictures: a table with such rows, what its columns are called and where the paths of
            its pictures start, for the next command.
        hosts: from which pictures were fetched, with commas, for the next command.
        base: the model and its pictures, of which every one was looked through; None loads and looks through.
        left_out: rows that were left out by then.
    """

    places: Mapping[Path, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[Any, str] = field(default_factory=dict)
    table: str = ""
    columns: str = ""
    pictures: Path | None = None
    hosts: str = ""
    base: tuple[Pretrained, Pictures] | None = None
    left_out: LeftOut | None = None

    def place_of(self, row: Any, pictures: Sequence[Path]) -> str:
        """File and row of a typed row, or those that first name its picture; empty where not known."""
        return self.rows.get(row) or next((self.places[one] for one in pictures if one in self.places), "")


@dataclass(frozen=True)
class Session:
    """A model, rows and settings; makes and trains tasks of them.

    Attributes:
        type: the task.
        model: where the model comes from, as it was said.
        pretrained: the model.
        pictures: shared by all trainings, so that each picture is decoded once.
        data: the rows.
        config: fitted.
        out: the run's folder.
        progress: show bars.
        left_out: rows without which it goes, and pictures that get lost on the way.
        fitting: steps that fit the rows, whatever was asked for.
        shown: a digest of what the rows' pictures were when they were looked through; empty without any.
    """

    type: type[AnyTask]
    model: str
    pretrained: Pretrained
    pictures: Pictures
    data: SplitRows[Any]
    config: FinetuneConfig
    out: Path
    progress: bool
    left_out: LeftOut
    fitting: int
    shown: str

    @classmethod
    def begin(
        cls,
        kind: str,
        model: Path | str,
        data: SplitRows[Any],
        config: FinetuneConfig,
        out: Path,
        progress: bool,
        origin: RowOrigin | None = None,
    ) -> "Session":
        """Load the model, leave out rows with unreadable pictures, and fit the configuration to the rest.

        Raises:
            UserError: there is no model or no row, or too many rows would be left out.
        """
        origin = origin or RowOrigin()
        left_out = origin.left_out or LeftOut(config.max_bad)
        if not data.train:
            raise UserError(f"{kind}: there are no training rows")
        spec = task_spec(kind)
        check_applicable(spec, config)
        task = spec.task_class(config.regression)
        if origin.base is None:
            pretrained = load_base(model, config.image_size)
            pictures = Pictures(pretrained.preprocessing)
            data = usable_rows(task, data, pictures, left_out, progress)
        else:
            pretrained, pictures = origin.base
        pictures.lost = left_out  # what goes bad from here on
        epoch, width = task.epoch(data.train), head_width(pretrained, spec)
        fit, fitting = fitted(config, epoch, width), fitted(replace(config, steps=0), epoch, width).steps
        limit = min(config.max_tokens or LONGEST, text_limit(pretrained))
        if not config.max_tokens:
            limit = fitting_length(task, data.train, pretrained.given_tokenizer, limit)
        fit = replace(fit, max_tokens=limit, device=str(distributed.pick_device(config.device)))
        if not data.answers:
            data = replace(data, answers=task.answer_list(data.train, config.max_answers))
        shown = digest(sorted((str(path), mark) for path, mark in pictures.marks.items()))
        shown = shown if pictures.marks else ""
        return cls(task, str(model), pretrained, pictures, data, fit, out, progress, left_out, fitting, shown)

    def summary(self) -> str:
        """What is going to happen."""
        data, config = self.data, self.config
        counts = {"training": data.train, "validation": data.valid, **data.tests}
        rows = ", ".join(f"{len(some):,} {name}" for name, some in counts.items())
        return (
            f"{rows} rows; at most {config.steps:,} steps of {config.batch_size} rows, learning rate "
            f"{config.lr:.2g}, on {config.device}."
        )

    def places(self, origin: RowOrigin) -> Mapping[Path, str]:
        """Every picture, and the row that names it."""
        if origin.places:
            return origin.places
        splits = [self.data.train, self.data.valid, *self.data.tests.values()]
        return {path: "" for rows in splits for row in rows for path in self.type.pictures_of(row)}

    def settings(self, blanked: Blanked) -> dict[str, Any]:
        """What a resumed run must agree with (but for the device), see `xfm.training.loop.train`."""
        data = {"train": self.data.train, "valid": self.data.valid, **self.data.tests}
        return {
            "task": self.type.spec.name,
            "model": self.model,
            "without": blanked.value,
            "seed": self.config.seed,  # before the rows, which it parts: it is what the user sees
            "data": {name: digest(rows) for name, rows in data.items()},
            **({SHOWN: self.shown} if self.shown else {}),
            "labels": list(self.data.labels),
            "finetune": self.config,
        }

    def tuned(self, blanked: Blanked, folder: Path, resume: bool) -> tuple[AnyTask, TuningRun]:
        """A task, trained in a folder; LoRA is merged, so that its module is a plain one."""
        config = self.config
        if blanked is not Blanked.NOTHING and config.baseline_steps:
            every = max(1, config.baseline_steps * config.evaluate_every // config.steps)
            config = replace(config, steps=config.baseline_steps, evaluate_every=every)
        task = self.type(self.pretrained, self.pictures, self.data, task_settings(config, blanked))
        resume = resume and (blanked is Blanked.NOTHING or bool(list_checkpoints(folder)))
        settings = self.settings(blanked)
        tuned = tune(task, config, self.data.valid, folder, settings, resume=resume, progress=self.progress)
        merge_lora(task.module)
        return task, tuned

    def single_modality(self, tests: Mapping[str, Sequence[Any]], resume: bool) -> dict[str, BaselineResult]:
        """The scores of the same training without one modality, by the name of that baseline."""
        found: dict[str, BaselineResult] = {}
        for blanked, name in self.type.single(self.data.train).items() if self.config.baseline else ():
            folder = self.out / BASELINES_FOLDER / name.replace(" ", "-")
            stored = folder / BASELINE_SCORES
            if not (resume and stored.exists()):
                if self.progress:
                    tqdm.write(f"Baseline: {name}", file=sys.stderr)
                began = time.perf_counter()
                task, _ = self.tuned(blanked, folder, resume)
                task.finish()
                made = scored(task, tests, {split: task.predict(rows) for split, rows in tests.items()})
                seconds = time.perf_counter() - began
                rows = {split: None if own is None else own.tolist() for split, own in made.per_row.items()}
                write_json(folder / BASELINE_ROWS, {"seconds": seconds, "rows": rows})
                write_json(stored, made.metrics)
                clear(folder)
            found[name] = _kept(folder)
        return found

    @property
    def tests(self) -> dict[str, Sequence[Any]]:
        """The rows to score by split: the tests, or the validation rows where there are none."""
        found = self.data.tests
        return found or ({"validation": self.data.valid} if self.data.valid else {})


def _kept(folder: Path) -> BaselineResult:
    """The scores of a baseline; those of an older version lack what each row adds to them."""
    metrics = json.loads((folder / BASELINE_SCORES).read_text(encoding="utf-8"))
    path = folder / BASELINE_ROWS
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"seconds": None, "rows": {}}
    rows = {split: None if own is None else np.array(own) for split, own in kept["rows"].items()}
    return BaselineResult(metrics, {}, rows, kept["seconds"])


def clear(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for name in (BEST_FOLDER, "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
