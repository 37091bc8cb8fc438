"""Early stopping: looks at the validation rows, keeps the best model, says when it is enough."""

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError
from xfm.core.files import read_log, write_text, writing
from xfm.models.model_files import WEIGHTS
from xfm.models.weights import write_tensors
from xfm.tasks.base import AnyTask
from xfm.training import distributed
from xfm.training.atomic_folder import saved_before, write_folder
from xfm.training.checkpoint import load_weights, unique_state

LOOKS_FILE, BEST_FOLDER = "validation.jsonl", "best"


def require_metric(task: AnyTask, name: str, found: Collection[str]) -> None:
    """Refuse a metric that a task does not have."""
    if name not in found:
        raise UserError(f"choose_by: {task.spec.name} has no {name}; choose by {', '.join(found)}")


class ValidationMonitor:
    """Scores validation rows while a task is trained: each look in `validation.jsonl`, the best weights in
    `best/`. All processes look at a part of the rows; the first writes. `looks` are metrics by step, `metric`
    is the one that chooses the model."""

    def __init__(
        self, task: AnyTask, rows: Sequence[Any], config: FinetuneConfig, folder: Path | None, progress: bool
    ) -> None:
        if rows and folder is None:
            raise ValueError("validation rows need a folder that keeps the best model")
        self.task, self.rows, self.config, self.progress = task, rows, config, progress
        self.folder = folder or Path()
        self.looks: dict[int, dict[str, float]] = {}
        self.metric = config.choose_by or task.primary

    def begin(self, resume: bool) -> None:
        """Read the looks of a run that is continued (torn lines are left out); of a new one refuse a metric
        that the task does not have."""
        if not resume:
            if self.rows and self.config.choose_by:
                require_metric(self.task, self.metric, self._metrics())
            return
        for look in distributed.on_first(lambda: read_log(self.folder / LOOKS_FILE)):
            if {"step", self.metric} <= look.keys():
                self.looks[look.pop("step")] = look

    def finished(self, done: int) -> bool:
        """Look if it is time to, and say whether there has been no better model for too long."""
        if self.rows and done % self.config.evaluate_every == 0:
            self.look(done)
        return self.enough

    @property
    def enough(self) -> bool:
        """Whether the last `patience` looks were no better than one before; never in the first half."""
        best, patience = self.best, self.config.patience
        if best is None or not patience:
            return False
        if max(self.looks) < self.config.steps / 2:
            return False
        top = self.looks[best][self.metric]
        first = min(step for step, look in self.looks.items() if look[self.metric] == top)
        return sum(step > first for step in self.looks) >= patience

    @property
    def best(self) -> int | None:
        """The step with the largest chosen metric; of equal ones the last, which was trained longest."""
        return max(self.looks, key=lambda step: (self.looks[step][self.metric], step), default=None)

    def look(self, done: int) -> None:
        """Score the validation rows, and keep the weights if they are the best so far."""
        if not self.rows:
            return
        look, before, name = self._metrics(), self.best, self.metric
        better = before is None or look[name] >= self.looks[before][name] or before == done
        self.looks[done] = look
        distributed.on_first(lambda: self._save(better))
        if self.progress:
            mark = ", the best so far" if better else ""
            tqdm.write(f"step {done}: validation {name} {look[name]:.3f}{mark}", file=sys.stderr)

    def restore(self) -> None:
        """Give the task the weights of the best look."""
        if self.best is not None:
            load_weights(self.folder / BEST_FOLDER / WEIGHTS, self.task.module)

    def _metrics(self) -> dict[str, float]:
        return self.task.validation_metrics(self.rows, self.task.predict(self.rows))

    def _save(self, better: bool) -> None:
        if better:
            state = unique_state(self.task.module)
            write_folder(self.folder / BEST_FOLDER, lambda draft: write_tensors(draft / WEIGHTS, state))
        lines = [json.dumps({"step": step, **self.looks[step]}) + "\n" for step in sorted(self.looks)]
        with writing(self.folder, lambda: saved_before(self.folder)):
            write_text(self.folder / LOOKS_FILE, "".join(lines))
