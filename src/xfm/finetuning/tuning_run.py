"""The training of one task, in a run folder (resumable, watched) or without any file; and its saved model."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig, TuningConfig, TuningMode
from xfm.config.task_spec import TaskSpec
from xfm.config.training import Change, Precision
from xfm.core.errors import UserError, import_extra
from xfm.finetuning.early_stopping import ValidationMonitor
from xfm.finetuning.presets import TUNED, training_config
from xfm.finetuning.probing import LinearFit
from xfm.models.adapters import LowRank, require_base, save_adapter
from xfm.models.artifacts import FRESH
from xfm.models.folder import Artifacts, Pretrained, save_model
from xfm.models.precision import resolve
from xfm.models.resolve import hub_names
from xfm.models.task_models import ADDED
from xfm.objectives.losses import Losses, StepLoss
from xfm.reports.scores import Score
from xfm.tasks.base import AnyTask, seeded
from xfm.tasks.images import Portion
from xfm.training import distributed
from xfm.training.callbacks import Checkpoints, EarlyStopping
from xfm.training.clock import SCHEDULE, TrainingClock, read_schedule
from xfm.training.logging import RunLog
from xfm.training.run_folder import RunFolder
from xfm.training.trainer import Trainer


def adapt(module: nn.Module, config: TuningConfig) -> None:
    """Freeze encoders of a task model, or add LoRA to their linear layers, in place; UserError without
    peft."""
    holder = getattr(module, "model", module)
    for name in TUNED:
        encoder, tuning = getattr(holder, name, None), getattr(config, name)
        if encoder is None or tuning in (None, TuningMode.FULL):
            continue
        encoder.requires_grad_(False)
        if tuning is not TuningMode.LORA:
            continue
        peft = import_extra("peft", "tuning with lora", "lora")
        lora = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=[name for name, part in encoder.named_modules() if isinstance(part, nn.Linear)],
        )
        peft.inject_adapter_in_model(lora, encoder)


def is_new(name: str) -> bool:
    """Whether the parameter of that name was not pre-trained (as LoRA's were not) and learns at the larger
    rate."""
    return name.startswith(ADDED) or ".lora_" in name


def merge_lora(module: nn.Module) -> dict[str, LowRank]:
    """Merge LoRA into the matrices, in place; gives what was added by the names of the layers, empty without
    LoRA."""
    found: dict[str, LowRank] = {}
    layers: list[tuple[str, Any]] = []
    if "peft" in sys.modules:  # else nothing has been added; its import takes seconds
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [(name, part) for name, part in module.named_modules() if isinstance(part, BaseTunerLayer)]
    for name, layer in layers:
        parts = (next(iter(getattr(layer, part).values())) for part in ("lora_A", "lora_B"))
        down, up = (part.weight.detach().float().cpu().clone() for part in parts)
        found[name.removeprefix("model.")] = down, up
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, layer.get_base_layer())
    module.requires_grad_(True)
    return found


def check_adapter(spec: TaskSpec, config: FinetuneConfig, model: Path | str) -> None:
    """Refuse an adapter where an encoder learns as a whole, or the model is no folder."""
    if not config.tune.save_adapter_only:
        return
    if whole := [name for name in spec.encoders if getattr(config.tune, name) is TuningMode.FULL]:
        raise UserError(
            f"tune.save_adapter_only keeps small additions, and the {whole[0]} encoder learns whole: give "
            f"--tune.{whole[0]} lora, or freeze"
        )
    require_base(model)


@dataclass(frozen=True)
class TuningRun:
    """Result of a training: last and best step, validation metrics by step, losses of a run without folder,
    seconds, probe, whether the clock ended it, precision, LoRA's additions by layer, its `cost` and what is
    `kept` (`cost_of`); of interpolated weights the share of the way to the last ones that was chosen, the
    validation metric by share, and both in words."""

    step: int
    best: int | None = None
    looks: Mapping[int, dict[str, float]] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    seconds: float = 0.0
    probe: LinearFit | None = None
    limited: bool = False
    precision: Precision | None = None
    additions: Mapping[str, LowRank] = field(default_factory=dict)
    cost: str = ""
    kept: Mapping[str, Score] = field(default_factory=dict)
    share: float = 1.0
    curve: Mapping[float, float] = field(default_factory=dict)
    weights: str = ""


def tune(
    task: AnyTask,
    config: FinetuneConfig,
    valid: Sequence[Any] = (),
    folder: Path | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    resume: bool = False,
    progress: bool = False,
    minutes: float = 0.0,
    limit: float = 0.0,
) -> TuningRun:
    """Train a task in place to the weights of the best look, or the last. `config` is fitted; with `minutes`
    time decides in place of the steps; `limit` seconds may end it early."""
    with seeded(task.settings.seed):  # LoRA's additions begin with draws
        adapt(task.module, config.tune)
    clock = TrainingClock(config.steps, limit) if limit else None
    watch = ValidationMonitor(task, valid, config, folder, progress)
    if clock and resume and folder:
        clock.begin(kept=read_schedule(folder / SCHEDULE))
    watch.begin(resume)
    step, seconds, limited, precision = max(watch.looks, default=0), 0.0, False, None
    totals: list[tuple[float, Tensor]] = []
    if not (resume and watch.enough):
        allowed = frozenset({Change.PROCESSES})
        trainer = Trainer(
            task.module,
            TaskLoss(task, None if folder else totals),
            lambda start, stop: task.portions(start, stop, config.gradient_accumulation_steps),
            training_config(config, task.settings, minutes),
            RunFolder(folder, settings, allowed=allowed) if folder else None,
            clock=clock,
            is_new=is_new,
            callbacks=[RunLog(progress), EarlyStopping(watch.finished), Checkpoints()],
            device=task.settings.device,
        ).fit(resume)
        step, seconds, precision = trainer.step, trainer.seconds, trainer.precision
        limited = limit > 0 and step < config.steps and not watch.enough
        if progress and step < config.steps and (limited or not minutes):
            enough = f"enough, {config.patience} looks brought no better model"
            said = "the time for the training is over" if limited else enough
            tqdm.write(f"step {step}: {said}", file=sys.stderr)
        if trainer.ema is not None:
            trainer.ema.give()
        if step not in watch.looks:
            watch.look(step)
    distributed.barrier()  # the first process has written what all of them read
    watch.restore()
    task.module.eval()
    looks = dict(sorted(watch.looks.items()))
    losses = _step_losses(totals, config.gradient_accumulation_steps)
    return TuningRun(step, watch.best, looks, losses, seconds, limited=limited, precision=precision)


class TaskLoss(StepLoss[Portion[Any]]):
    """Losses of a task, as means over what its portions count; `totals` receives count and loss of each, on
    the device."""

    def __init__(self, task: AnyTask, totals: list[tuple[float, Tensor]] | None) -> None:
        self.task, self.totals = task, totals

    def __call__(self, model: nn.Module, part: Portion[Any], generator: torch.Generator) -> Losses:
        """Losses of a portion."""
        found = self.task.loss(part.batch, generator)
        if self.totals is not None:
            self.totals.append((part.count, found.total.detach().float()))
        return found

    def count(self, batch: Portion[Any]) -> float:
        """What the task's losses are means of."""
        return batch.count

    def origins(self, batch: Portion[Any]) -> range:
        """One number a row."""
        return range(batch.rows)


def _step_losses(totals: Sequence[tuple[float, Tensor]], accumulation: int) -> tuple[float, ...]:
    if not totals:
        return ()
    losses = torch.stack([total for _, total in totals]).view(-1, accumulation).cpu()
    counts = torch.tensor([float(count) for count, _ in totals]).view(-1, accumulation)
    return tuple((losses * (counts / counts.sum(1, keepdim=True))).sum(1).tolist())


def save_tuned(
    folder: Path,
    task: AnyTask,
    pretrained: Pretrained,
    began_from: str,
    run: TuningRun,
    valid: int = 0,
    adapter: TuningConfig | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Write the model of a fine-tuning, whole or not at all, with its provenance, or with `adapter` what was
    learned alone."""
    before = pretrained.provenance
    trained_on = bool(task.spec.uses)  # what only stands beside the new head stays as it began
    fresh = None if trained_on else before.get(FRESH)
    provenance = {
        "task": task.spec.name,
        "fine_tuned_from": began_from,
        "base_model": hub_names(began_from),
        "steps": run.step,
        "best_step": run.best,
        **({"interpolated": run.share} if run.curve else {}),
        "precision": (run.precision or resolve(task.settings.precision, task.settings.device)).value,
        "seed": task.settings.seed,
        "rows": {"train": len(task.train_rows), "valid": valid},
        "licences": before.get("licences", {}),
        "versions": {"xfm": version("xfm"), "torch": torch.__version__},
        **settings,
        **({FRESH: fresh} if fresh else {}),
        "began_with": {key: value for key, value in before.items() if key not in ("settings", "scores")},
    }
    model, tokenizer = pretrained.model, pretrained.given_tokenizer
    if adapter is None:
        save_model(folder, model, tokenizer, pretrained.preprocessing, provenance, task.module)
        return provenance
    own = Artifacts(tokenizer, pretrained.preprocessing, provenance, task.module)
    scale = adapter.rank, adapter.alpha
    save_adapter(folder, began_from, model.state_dict(), model.config, own, run.additions, scale)
    return provenance
