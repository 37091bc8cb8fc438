"""The model that a fine-tuning starts from, and what its size means for the plan."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.config.task_spec import TaskSpec
from xfm.core.errors import UserError
from xfm.data.shapes import round_up
from xfm.data.tokenizer import Tokenizer
from xfm.models.folder import Pretrained
from xfm.models.interop.loading import load
from xfm.models.resolve import model_folder
from xfm.models.shipped import boxed_names
from xfm.tasks.base import Task

LONGEST, STEP = 512, 8
"""Texts are cut there unless more is asked for; lengths are multiples of the step."""
SAMPLED = 20_000
"""Training rows whose texts are measured."""


def load_base(model: Path | str, image_size: int = 0) -> Pretrained:
    """The model of a folder, of a run's folder, or of a published file.

    Args:
        model: folder or file.
        image_size: side of the pictures that it is to take; 0 keeps its own.

    Raises:
        UserError: there is no model, or it cannot take pictures of that size.
    """
    path = local_model(model)
    return replace(load(path, image_size=image_size), task=None) if image_size else load(path)


def prepared_base(model: Path | str, config: FinetuneConfig, spec: TaskSpec) -> Pretrained:
    """The model that a fine-tuning starts from, which sees pictures as the settings say.

    Raises:
        UserError: see `load_base`; or the model lacks parts of the task.
    """
    found = load_base(model, config.image_size)
    spec.check_model(found.model.config, model)
    seen = found.preprocessing.seen_as(config.framing, config.colours)
    seen = replace(seen, grey=config.grey or seen.grey)
    return found if seen == found.preprocessing else replace(found, preprocessing=seen)


def local_model(model: Path | str) -> Path:
    """The folder or file of a model; that of a run stands for the model in it.

    Raises:
        UserError: it does not exist, or the run is not finished.
    """
    path = model_folder(model)
    if not path.exists():
        packaged = ", ".join(boxed_names())
        raise UserError(
            f"{path} does not exist; give --model the folder of a model, one of the package ({packaged}), or "
            "one of the hub (owner/name)"
        )
    return path


def head_width(pretrained: Pretrained, spec: TaskSpec) -> int:
    """Width of the encoder that the task's head stands on."""
    config = pretrained.model.config
    return config.language.width if spec.has_texts else config.seeing.width


def text_limit(pretrained: Pretrained) -> int:
    """Most tokens that the language encoder reads."""
    return pretrained.model.config.language.longest


def fitting_length(
    task: type[Task[Any, Any, Any]], rows: Sequence[Any], tokenizer: Tokenizer | None, limit: int
) -> int:
    """Tokens that hold the longest text of the rows, a multiple of `STEP`; `LONGEST` or the limit at most."""
    seen = [task.texts_of(row) for row in rows[:SAMPLED]]
    texts = (
        [" ".join(own) for own in seen if own] if task.spec.paired else [text for own in seen for text in own]
    )
    if not texts or tokenizer is None:
        return min(limit, LONGEST)
    longest = max(len(ids) for ids, _ in tokenizer.encode_lists(texts, LONGEST))
    return min(limit, LONGEST, round_up(longest + 2, STEP))
