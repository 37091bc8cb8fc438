"""easy-VQA: a model fine-tuned on its official split in the time that there is, beside the question alone."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.plain import yaml_value
from xfm.config.tasks import VQA
from xfm.data.left_out import LeftOut
from xfm.errors import UserError
from xfm.files import read_text
from xfm.finetuning.finished import FinetuneResult
from xfm.finetuning.from_rows import check_folder, finetune_rows
from xfm.finetuning.plan import task_settings
from xfm.finetuning.start import load_base
from xfm.finetuning.tuning_run import tune
from xfm.locks import holds
from xfm.reproduce.read.easy_vqa import read_easy_vqa
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Question
from xfm.tasks.splits import SplitRows
from xfm.tasks.vqa import VqaTask
from xfm.training.distributed import pick_device
from xfm.training.memory import prepare_process
from xfm.training.run_folder import CONFIG_FILE

HELD_OUT = 60  # pictures of the training split that choose between the looks
LOOKS = 6
BASELINE_SHARE = 8  # the question alone is learned in an eighth of the steps
SETTINGS = FinetuneConfig(
    batch_size=128,
    rows_per_picture=1,  # the vision encoder has shapes to learn: it must see many pictures
    lr=3e-4,
    muon_lr=1e-3,
    new_lr_multiplier=2.0,
    warmup=0.05,
    patience=0,
    max_tokens=24,
)
FEWEST, MOST = 50, 20_000
ROOM = 0.92  # share of the time that is planned: the report takes some, and a machine is not always as fast


@dataclass(frozen=True)
class Speed:
    """Seconds of a training step, and of an answered question."""

    step: float
    question: float


@holds("out")
def run_easy_vqa(
    model: Path | str,
    out: Path,
    minutes: float = 14.0,
    data: Path | None = None,
    *,
    steps: int = 0,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    max_bad: int | None = None,
) -> FinetuneResult:
    """Fine-tune a model on easy-VQA, and score it on all of its test questions.

    Args:
        model: folder of a pre-trained model.
        out: run folder; gets `model/`, `metrics.json` and `report.html`.
        minutes: for everything; the steps that fit are measured first.
        data: folder of the files; the installed package's if not given.
        steps: optimiser steps instead of those that fit.
        resume: continue the run in `out` exactly; it has its own steps.
        device: auto takes the GPU where there is one.
        progress: show bars.
        max_bad: rows with an unreadable picture that may be left out (see `xfm.data.left_out`).

    Raises:
        UserError: no model, no minutes, easy-VQA is not installed, or `out` holds a run, or none to continue.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    if not (0 < minutes < math.inf and steps >= 0):
        raise UserError(f"minutes is {minutes} and steps is {steps}: choose minutes above 0, and steps or 0")
    check_folder(out, resume)
    began = time.perf_counter()
    prepare_process()
    splits = read_easy_vqa(data)
    train, valid = hold_out(splits["train"])
    if resume:
        steps = stored_steps(out)
    elif not steps:
        speed = measure(model, train, valid, str(pick_device(device)))
        left = ROOM * 60 * minutes - (time.perf_counter() - began)
        steps = fitting_steps(speed, left, len(valid), len(splits["test"]))
        if progress:
            tqdm.write(f"{1 / speed.step:.1f} steps a second: {steps} steps in {minutes:g} minutes")
    config = replace(
        SETTINGS,
        steps=steps,
        evaluate_every=max(1, steps // LOOKS),
        baseline_steps=max(1, steps // BASELINE_SHARE),
        device=device,
        max_bad=max_bad,
    )
    rows = SplitRows(train, valid, splits["test"])
    return finetune_rows(VQA.name, model, rows, config, out, resume=resume, progress=progress)


def stored_steps(out: Path) -> int:
    """The steps of the run in a folder.

    Raises:
        UserError: there is no run.
    """
    try:
        return int(yaml_value(read_text(out / CONFIG_FILE))["finetune"]["steps"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{out} holds no run to resume; run without --resume, or name its folder") from error


def hold_out(rows: Sequence[Question], pictures: int = HELD_OUT) -> tuple[list[Question], list[Question]]:
    """Training rows, and those of the last pictures for validation."""
    images = list(dict.fromkeys(row.image for row in rows))
    held = set(images[max(1, len(images) - pictures) :])
    return [row for row in rows if row.image not in held], [row for row in rows if row.image in held]


def measure(
    model: Path | str, train: Sequence[Question], valid: Sequence[Question], device: str, steps: int = 24
) -> Speed:
    """The speed of a fine-tuning that is thrown away."""
    pretrained = load_base(str(model), 0)
    config = replace(SETTINGS, steps=steps, device=device)
    pictures = Pictures(pretrained.preprocessing)
    pictures.lost = LeftOut(len(train) + len(valid))  # it is the speed that is looked at
    task = VqaTask(pretrained, pictures, SplitRows(train), task_settings(config))
    tune(task, config)  # the first steps of a process are slow
    seconds = tune(task, config).seconds
    task.predict(valid)
    began = time.perf_counter()
    task.predict(valid)
    return Speed(seconds / steps, (time.perf_counter() - began) / max(1, len(valid)))


def fitting_steps(speed: Speed, seconds: float, valid: int, test: int) -> int:
    """Steps that fit: of the training, of the baseline's share, and all questions that both answer."""
    answers = (test + LOOKS * valid) * 2 * speed.question
    steps = (seconds - answers) / (speed.step * (1 + 1 / BASELINE_SHARE))
    return int(min(MOST, max(FEWEST, steps)))
