"""`finetune`: from typed rows to a model folder, scores and a report."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.plain import to_plain
from xfm.config.task import TaskKind
from xfm.errors import UserError
from xfm.evaluation.context import PartResult
from xfm.evaluation.scores import Score, write_json, write_scores
from xfm.evaluation.stored import DETAILS, METRICS
from xfm.finetuning.adapt import merge
from xfm.finetuning.base import LONGEST, fitting_length, head_width, load_base, text_limit
from xfm.finetuning.data import check_pictures, digest
from xfm.finetuning.plan import fitted
from xfm.finetuning.report import write_report
from xfm.finetuning.scores import add_scores
from xfm.finetuning.tune import Tuned, tune
from xfm.finetuning.watch import BEST_FOLDER
from xfm.modeling.folder import FRESH, Pretrained, save_model
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.own import OwnTask
from xfm.tasks.pictures import Pictures
from xfm.tasks.registry import task_class
from xfm.tasks.splits import SplitRows
from xfm.training import distributed
from xfm.training.checkpoint import list_checkpoints
from xfm.training.pretrain import MODEL_FOLDER

BASELINES_FOLDER, BASELINE_SCORES = "baselines", "scores.json"
AnyTask = OwnTask[Any, Any, Any]


@dataclass(frozen=True)
class Finetuned:
    """A finished fine-tuning.

    Attributes:
        model: the model's folder.
        scores: by key, as in `metrics.json`.
        task: with the fine-tuned model in evaluation mode.
        predictions: by test split, one for each row; `validation` where there is no test split.
        tuned: how the training went.
    """

    model: Path
    scores: dict[str, Score]
    task: AnyTask
    predictions: dict[str, list[Any]]
    tuned: Tuned


@dataclass(frozen=True)
class Origin:
    """Where rows come from.

    Attributes:
        places: file and row that name each picture, for messages.
        sources: what each split was made of, in words, for the report.
    """

    places: Mapping[Path, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def finetune(
    kind: TaskKind,
    model: Path | str,
    data: SplitRows[Any],
    config: FinetuneConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    origin: Origin | None = None,
) -> Finetuned:
    """Fine-tune a model on typed rows; `xfm.finetune` is the same for tables.

    Args:
        kind: the task.
        model: folder of the model to begin with, or a published file.
        data: rows of the task (see `xfm.tasks.rows`) by split, with the names of the classes.
        config: what is 0 is fitted to the rows.
        out: run folder; gets `model/`, `metrics.json`, `details.json`, `report.html` and the logs.
        resume: continue the folder's run exactly.
        progress: show bars and looks at the validation rows.
        origin: where the rows come from.

    Returns:
        The model's folder, scores and predictions.

    Raises:
        UserError: no model, pictures that cannot be read, a folder that holds another run.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    origin = origin or Origin()
    if (out / METRICS).exists():
        raise UserError(f"{out} holds a finished run; choose another --out, or remove the folder")
    run = _Run.begin(kind, model, data, config, out, progress)
    check_pictures(run.pictures, run.places(origin), progress)
    began = time.perf_counter()
    task, tuned = run.tuned(Blanked.NOTHING, out, resume)
    task.finish()
    tests = run.tests
    predictions = {name: task.predict(rows) for name, rows in tests.items()}
    seconds = {"training": time.perf_counter() - began}
    began = time.perf_counter()
    single = run.single_modality(tests, resume)
    seconds["baselines"] = time.perf_counter() - began
    result = PartResult()
    for name, rows in tests.items():
        metrics = {baseline: found[name] for baseline, found in single.items()}
        add_scores(result, task, name, rows, predictions[name], metrics)
    found = Finetuned(out / MODEL_FOLDER, result.scores, task, predictions, tuned)
    run.save(found, result, origin, seconds)
    return found


@dataclass(frozen=True)
class _Run:
    """What all trainings of a fine-tuning share: the task's own, and those of its baselines."""

    type: type[AnyTask]
    model: str
    pretrained: Pretrained
    pictures: Pictures
    data: SplitRows[Any]
    config: FinetuneConfig
    out: Path
    progress: bool

    @classmethod
    def begin(
        cls,
        kind: TaskKind,
        model: Path | str,
        data: SplitRows[Any],
        config: FinetuneConfig,
        out: Path,
        progress: bool,
    ) -> "_Run":
        """Load the model and fit the configuration to it and the rows."""
        if not data.train:
            raise UserError(f"{kind}: there are no training rows")
        task, pretrained = task_class(kind, config.regression), load_base(model, config.image_size)
        fit = fitted(config, len(data.train), head_width(pretrained, kind))
        limit = min(config.max_tokens or LONGEST, text_limit(pretrained))
        if not config.max_tokens:
            limit = fitting_length(task, data.train, pretrained.given_tokenizer, limit)
        fit = replace(fit, max_tokens=limit, device=str(distributed.pick_device(config.device)))
        pictures = Pictures(pretrained.preprocessing)
        return cls(task, str(model), pretrained, pictures, data, fit, out, progress)

    def places(self, origin: Origin) -> Mapping[Path, str]:
        """Every picture, and the row that names it."""
        if origin.places:
            return origin.places
        splits = [self.data.train, self.data.valid, *self.data.tests.values()]
        return {path: "" for rows in splits for row in rows for path in self.type.pictures_of(row)}

    def settings(self, blanked: Blanked) -> dict[str, Any]:
        """What a resumed run must agree with."""
        data = {"train": self.data.train, "valid": self.data.valid, **self.data.tests}
        return {
            "task": self.type.kind.value,
            "model": self.model,
            "without": blanked.value,
            "data": {name: digest(rows) for name, rows in data.items()},
            "labels": list(self.data.labels),
            "finetune": {**to_plain(self.config), "device": None},
        }

    def tuned(self, blanked: Blanked, folder: Path, resume: bool) -> tuple[AnyTask, Tuned]:
        """A task, trained in a folder; LoRA is merged, so that its module is a plain one."""
        config = self.config
        settings = TaskSettings(
            blanked=blanked,
            batch_size=config.batch_size,
            max_tokens=config.max_tokens,
            label_smoothing=config.label_smoothing,
            seed=config.seed,
            precision=config.precision,
            device=config.device,
        )
        task = self.type.build(self.pretrained, self.pictures, self.data, settings)
        resume = resume and (blanked is Blanked.NOTHING or bool(list_checkpoints(folder)))
        tuned = tune(
            task,
            self.data.valid,
            config,
            folder,
            self.settings(blanked),
            resume=resume,
            progress=self.progress,
        )
        merge(task.module)
        return task, tuned

    def single_modality(
        self, tests: Mapping[str, Sequence[Any]], resume: bool
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Metrics by split of the same training without one modality, by the name of that baseline."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for blanked, name in self.type.single(self.data.train).items() if self.config.baseline else ():
            folder = self.out / BASELINES_FOLDER / name.replace(" ", "-")
            stored = folder / BASELINE_SCORES
            if not (resume and stored.exists()):
                if self.progress:
                    tqdm.write(f"Baseline: {name}")
                task, _ = self.tuned(blanked, folder, resume)
                task.finish()
                scores = {split: task.metrics(rows, task.predict(rows)) for split, rows in tests.items()}
                write_json(stored, scores)
                _clear(folder)
            found[name] = json.loads(stored.read_text(encoding="utf-8"))
        return found

    @property
    def trains_everything(self) -> bool:
        """Whether the task adds nothing, so that the heads it uses are trained on."""
        return self.type.kind in (TaskKind.RETRIEVAL, TaskKind.GROUNDING)

    def provenance(self, tuned: Tuned) -> dict[str, Any]:
        """Where the fine-tuned model comes from."""
        before = self.pretrained.provenance
        return {
            "task": self.type.kind.value,
            "fine_tuned_from": self.model,
            "steps": tuned.step,
            "best_step": tuned.best.step if tuned.best else None,
            "seed": self.config.seed,
            "rows": {"train": len(self.data.train), "valid": len(self.data.valid)},
            "licences": before.get("licences", {}),
            "versions": {"xfm": version("xfm"), "torch": torch.__version__},
            "settings": self.settings(Blanked.NOTHING),
            **({FRESH: before[FRESH]} if before.get(FRESH) and not self.trains_everything else {}),
            "began_with": {key: value for key, value in before.items() if key != "settings"},
        }

    def save(
        self, found: Finetuned, result: PartResult, origin: Origin, seconds: Mapping[str, float]
    ) -> None:
        """Write model, details, report and, when all of that is there, the scores."""
        provenance, pretrained = self.provenance(found.tuned), self.pretrained
        save_model(
            found.model,
            pretrained.model,
            pretrained.given_tokenizer,
            pretrained.preprocessing,
            provenance,
            found.task.module,
        )
        counts = {name: len(rows) for name, rows in self.data.tests.items()}
        details = {
            "provenance": provenance,
            "rows": {"train": len(self.data.train), "validation": len(self.data.valid), **counts},
            "sources": dict(origin.sources),
            "config": to_plain(self.config),
            "tokens": found.task.module.task.max_tokens,
            "baselines": result.baselines,
            "seconds": dict(seconds),
        }
        write_json(self.out / DETAILS, details)
        self._report(found, details)
        write_scores(self.out / METRICS, found.scores)
        _clear(self.out)

    def _report(self, found: Finetuned, details: Mapping[str, Any]) -> None:
        tests = {name: self.tests[name] for name in found.predictions}
        try:
            write_report(self.out, found.task, tests, found.predictions, found.scores, found.tuned, details)
        except ImportError as error:
            tqdm.write(f"Note: no report, because {error.name} is not installed: pip install 'xfm[report]'.")

    @property
    def tests(self) -> dict[str, Sequence[Any]]:
        """The rows to score by split: the tests, or the validation rows where there are none."""
        found = self.data.tests
        return found or ({"validation": self.data.valid} if self.data.valid else {})


def _clear(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for name in (BEST_FOLDER, "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
