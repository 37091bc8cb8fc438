"""Heads of fine-tuned folders for transformers' classes: taken with their labels, begun anew, or refused."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils.hub import cached_file

from xfm.config.task import HeadKind, ImageHead, TaskConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.models.interop.sources import read_settings
from xfm.models.model_files import TASK, TASK_WEIGHTS
from xfm.models.weights import read_tensors, require_same

HEAD = "head."
OF_THE_HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
"""Arguments that say where a repository is read."""
_REPORTS = ("transformers.modeling_utils", "transformers.utils.loading_report")


def find(name: str | Path | None, file: str, place: dict[str, Any]) -> Path | None:
    """A file of a folder or repository, None where missing; `place` are the hub's arguments."""
    if name is None:
        return None
    quiet = ("missing_entries", "connection_errors", "gated_repo")
    path = cached_file(str(name), file, **place, **{f"_raise_exceptions_for_{what}": False for what in quiet})
    return None if path is None else Path(path)


def read_task(name: str | Path | None, place: dict[str, Any]) -> TaskConfig | None:
    """Task of a fine-tuned folder."""
    path = find(name, TASK, place)
    return None if path is None else from_plain(TaskConfig, read_settings(path), path)


@contextmanager
def report_held() -> Iterator[list[logging.LogRecord]]:
    """Hold transformers' report of a newly initialised head until that is known."""
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        if "LOAD REPORT" not in record.getMessage():
            return True
        held.append(record)
        return False

    loggers = [logging.getLogger(name) for name in _REPORTS]
    for logger in loggers:
        logger.addFilter(hold)
    try:
        yield held
    finally:
        for logger in loggers:
            logger.removeFilter(hold)


def fill_head(
    model: PreTrainedModel, kind: str, report: dict[str, Any], name: str | Path | None, place: dict[str, Any]
) -> None:
    """Fill a head that is missing from a fine-tuned folder; a UserError where none fits and no
    `num_labels` asked for a new one."""
    missing = {key for key in report["missing_keys"] if key.startswith(HEAD)}
    if not missing:
        return
    task = read_task(name, place)
    own = (kind, ImageHead.LINEAR, HeadKind.OWN)
    mine = task is not None and (task.kind, task.image_head, task.head) == own
    weights = find(name, TASK_WEIGHTS, place) if mine else None
    config: Any = model.config
    if task is not None and weights is not None and task.classes == config.num_labels:
        require_same(weights, {key: model.state_dict()[key] for key in missing}, TASK)
        model.load_state_dict(read_tensors(weights), strict=False)
        report["missing_keys"] = type(report["missing_keys"])(set(report["missing_keys"]) - missing)
    elif not config.chosen_labels:
        raise UserError(_refusal(name, kind, task))
    elif task is not None and task.kind != kind and config.id2label == dict(enumerate(task.names)):
        config.forget_labels()


def _refusal(name: str | Path | None, kind: str, task: TaskConfig | None) -> str:
    anew = "or give num_labels to train a new one"
    if task is not None and task.kind == kind:
        if task.head is HeadKind.PROBE:
            return (
                f"{name} has a probe of frozen features, as --preset fast makes it, which transformers' "
                f"class does not have; use xfm.pipeline, fine-tune with --preset good, {anew}"
            )
        if task.image_head is not ImageHead.LINEAR:
            return (
                f"{name} has the published head of {kind}, which transformers' class does not have; use "
                f"xfm.pipeline, fine-tune with the linear head, {anew}"
            )
        return (
            f"{name} does not name the {task.classes} classes of its head in config.json; save it again by "
            f"xfm.XFM.from_pretrained and save_pretrained, or give num_labels={task.classes}"
        )
    was = "was not fine-tuned" if task is None else f"was fine-tuned for {task.kind}"
    return (
        f"{name} {was}, and has no head for {kind}; make one with `xfm finetune {kind} --model {name} "
        f"--train FILE --out OUT`, {anew}"
    )
