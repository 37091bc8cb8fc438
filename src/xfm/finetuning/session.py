"""What all trainings of a fine-tuning share: the task's own, and those of its baselines."""

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.labels import require_labels
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.core.results_folder import digest
from xfm.data.skipped import SkippedRecords
from xfm.finetuning.baselines.strong import BaselineResult, scored
from xfm.finetuning.data import RowOrigin
from xfm.finetuning.early_stopping import BEST_FOLDER
from xfm.finetuning.interpolation import check_interpolation, interpolate
from xfm.finetuning.presets import check_applicable, decided, decisions, fitted, is_probe, task_settings
from xfm.finetuning.probing import fit_task, probe_settings
from xfm.finetuning.retention import UNCHANGED, cost_of
from xfm.finetuning.start import LONGEST, first_reads, fitting_length, prepared_base
from xfm.finetuning.tuning_run import TuningRun, check_adapter, merge_lora, tune
from xfm.models.folder import Pretrained
from xfm.tasks.base import AnyTask, HiddenInput
from xfm.tasks.class_task import ClassTask
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import SplitRows
from xfm.training import distributed
from xfm.training.checkpoint import list_checkpoints
from xfm.training.collectives import in_turn
from xfm.training.run_folder import SHOWN

BASELINES_FOLDER = "baselines"
ReadRows = Callable[[TaskImages, SkippedRecords], tuple[SplitRows[Any], RowOrigin]]
"""Reads the rows of a fine-tuning without those whose pictures cannot be read."""


@dataclass(frozen=True)
class Session:
    """Model, rows and fitted settings of the trainings of a command. `fitting` are steps that fit the rows,
    `shown` a digest of their pictures, `limit` seconds of each training (0: none), `began` when the command
    did."""

    type: type[AnyTask]
    model: str
    pretrained: Pretrained
    pictures: TaskImages
    data: SplitRows[Any]
    config: FinetuneConfig
    out: Path
    progress: bool
    left_out: SkippedRecords
    origin: RowOrigin
    fitting: int
    shown: str
    decisions: Mapping[str, str] = field(default_factory=dict[str, str])
    began: float = field(default_factory=time.perf_counter)
    limit: float = 0.0

    @classmethod
    def begin(
        cls, kind: str, model: Path | str, config: FinetuneConfig, out: Path, progress: bool, read: ReadRows
    ) -> "Session":
        """Load the model, read the rows, fit the configuration; each process does, the first reads for all.
        The model is there before the rows, which may take minutes."""
        spec, given = task_spec(kind), config
        in_turn(lambda: check_applicable(spec, config))
        task, config = spec.task_class(config.regression), decided(config, spec)
        in_turn(lambda: check_adapter(spec, config, model))
        in_turn(lambda: check_interpolation(spec, config, None))
        pretrained = in_turn(lambda: prepared_base(model, config, spec))
        pictures, left_out = TaskImages(pretrained.preprocessing), SkippedRecords(config.max_bad)
        data, origin, left_out = first_reads(lambda: (*read(pictures, left_out), left_out), pictures)
        in_turn(lambda: check_interpolation(spec, config, data.valid))
        pictures.lost = left_out  # what goes bad from here on
        epoch, sizes = task.epoch(data.train), pretrained.model.config
        width = (sizes.language if spec.has_texts else sizes.vision).width  # of what the head stands on
        fit, fitting = fitted(config, epoch, width), fitted(replace(config, steps=0), epoch, width).steps
        limit = min(config.max_tokens or LONGEST, sizes.language.longest)
        if not config.max_tokens:
            limit = fitting_length(task, data.train, pretrained.given_tokenizer, limit)
        fit = replace(fit, max_tokens=limit, device=str(distributed.pick_device(config.device)))
        in_turn(lambda: _check_parts(fit))
        if issubclass(task, ClassTask):
            in_turn(lambda: require_labels(config.class_weights, data.labels or task.usual))
        if not data.answers:
            data = replace(data, answers=task.answer_list(data.train, config.max_answers))
        shown = digest(sorted((str(path), mark) for path, mark in pictures.marks.items()))
        shown = shown if pictures.marks else ""
        own = task, str(model), pretrained, pictures, data, fit, out, progress, left_out, origin
        return cls(*own, fitting, shown, decisions(given, fit, spec))

    @property
    def probed(self) -> bool:
        """Whether a probe is fitted, and nothing else is trained."""
        return is_probe(self.config, self.type.spec)

    def summary(self) -> str:
        """What is going to happen."""
        data, config = self.data, self.config
        counts = {"training": data.train, "validation": data.valid, **data.tests}
        rows = ", ".join(f"{len(some):,} {name}" for name, some in counts.items())
        if self.probed:
            return f"{rows} rows; frozen encoders and a probe, on {config.device}."
        shared = f" shared by {world} processes" if (world := distributed.world()) > 1 else ""
        return (
            f"{rows} rows; at most {config.steps:,} steps of {config.batch_size} rows{shared}, learning rate "
            f"{config.lr:.2g}, on {config.device}."
        )

    def settings(self, blanked: HiddenInput) -> dict[str, Any]:
        """What a resumed run must agree with (but for the device), see `RunFolder`."""
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

    def tuned(self, blanked: HiddenInput, folder: Path, resume: bool) -> tuple[AnyTask, TuningRun]:
        """A task, trained in a folder; LoRA is merged, so that its module is a plain one. Of a baseline no
        weights are interpolated, and no cost is measured."""
        config = self.config
        if self.probed:
            if list_checkpoints(folder):
                raise UserError(f"{folder} holds a run of another preset; choose another folder")
            began, settings = time.perf_counter(), probe_settings(task_settings(config, blanked))
            task = self.type(self.pretrained, self.pictures, self.data, settings)
            fit = fit_task(task, self.data.valid, config.choose_by)
            return task, TuningRun(0, seconds=time.perf_counter() - began, probe=fit, cost=UNCHANGED)
        if blanked is not HiddenInput.NOTHING:
            config = replace(config, report_to=[])
        if blanked is not HiddenInput.NOTHING and config.baseline_steps:
            every = max(1, config.baseline_steps * config.evaluate_every // config.steps)
            config = replace(config, steps=config.baseline_steps, evaluate_every=every)
        task = self.type(self.pretrained, self.pictures, self.data, task_settings(config, blanked))
        begun = distributed.on_first(lambda: bool(list_checkpoints(folder)))
        resume = resume and (blanked is HiddenInput.NOTHING or begun)
        settings = self.settings(blanked)
        told = {"resume": resume, "progress": self.progress, "limit": self.limit}
        tuned = tune(task, config, self.data.valid, folder, settings, **told)
        tuned, valid = replace(tuned, additions=merge_lora(task.module)), self.data.valid
        if blanked is HiddenInput.NOTHING:
            if config.interpolate:
                tuned = interpolate(task, self.pretrained.model.state_dict(), tuned, valid, config)
            cost, kept = distributed.on_first(lambda: cost_of(self.pretrained, task))
            tuned = replace(tuned, cost=cost, kept=kept)
        task.settle(valid)
        return task, tuned

    def single_modality(self, tests: Mapping[str, Sequence[Any]], resume: bool) -> dict[str, BaselineResult]:
        """The scores of the same training without one modality, by the name of that baseline."""
        found: dict[str, BaselineResult] = {}
        for blanked, name in self.type.single(self.data.train).items() if self.config.baseline else ():
            if self.progress:
                tqdm.write(f"Baseline: {name}", file=sys.stderr)
            began = time.perf_counter()
            task, _ = self.tuned(blanked, self.out / BASELINES_FOLDER / name.replace(" ", "-"), resume)
            task.finish()
            predictions = {split: task.predict(rows) for split, rows in tests.items()}
            seconds = time.perf_counter() - began
            made = distributed.on_first(partial(scored, task, tests, predictions, seconds))
            found[name] = replace(made, predictions={})
        return found

    @property
    def tests(self) -> dict[str, Sequence[Any]]:
        """The rows to score by split: the tests, or the validation rows where there are none."""
        found = self.data.tests
        return found or ({"validation": self.data.valid} if self.data.valid else {})


def _check_parts(config: FinetuneConfig) -> None:
    """Refuse batches that some process would get nothing of."""
    parts = config.gradient_accumulation_steps * distributed.world()
    if config.batch_size < parts:
        raise UserError(
            f"batch_size is {config.batch_size}, which is divided among {distributed.world()} processes "
            f"with {config.gradient_accumulation_steps} parts each "
            f"(gradient_accumulation_steps): give --batch-size {parts} at least, or fewer "
            "processes or parts"
        )


def clear(out: Path) -> None:
    """Remove what only an unfinished run needs, of trainings without a modality, too."""
    for folder in (out, *out.glob(f"{BASELINES_FOLDER}/*")):
        for name in (BEST_FOLDER, "checkpoints"):
            shutil.rmtree(folder / name, ignore_errors=True)
