"""Tiny models of every kind and their published files, for tests."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.modeling.build import tiny_config
from xfm.config.model import ModelConfig
from xfm.config.task import ImageHead, TaskConfig
from xfm.config.tasks import task_spec, task_specs
from xfm.models.folder import Preprocessing, Pretrained
from xfm.models.interop.published.file import export
from xfm.models.task_models import build_task_model
from xfm.models.xfm import XFM

UNPUBLISHED = {
    "captioning": "cannot write captions",
    "sentence-similarity": "compares no texts with each other",
}
"""Tasks that the published code does not have, and how an export of one is refused."""
KINDS: list[str | None] = [
    None,
    *(spec.name for spec in task_specs(tunable=True) if spec.name not in UNPUBLISHED),
]
"""What published files hold."""


def task_config(kind: str | None) -> TaskConfig | None:
    if kind is None:
        return None
    head = ImageHead.PUBLISHED if kind == "image-classification" else ImageHead.LINEAR
    if not task_spec(kind).classes:
        return TaskConfig(kind)
    return TaskConfig(kind, 3, head, labels=("bad", "fair", "good"), max_tokens=40)


def tiny(kind: str | None = None, config: ModelConfig | None = None, seed: int = 1) -> Pretrained:
    """A model whose tensors are all random, biases and scales too."""
    config = config or tiny_config()
    torch.manual_seed(seed)
    model, task = XFM(config), task_config(kind)
    module = None if task is None else build_task_model(task, model)
    for parameter in [*model.parameters(), *(module.parameters() if module else ())]:
        torch.nn.init.normal_(parameter, std=0.1)
    model.clamp_temperature()
    shown = Preprocessing(config.vision.image_size, (0.1, 0.25, 1 / 3), (1.0, 0.7, 0.2))
    return Pretrained(None, shown, {}, module, model=model.eval())


def tiny_file(path: Path, kind: str | None = None) -> dict[str, Tensor]:
    """Write a published file without our own settings; returns its tensors."""
    path.unlink(missing_ok=True)  # an export replaces no file
    export(tiny(kind), path)
    content = torch.load(path, weights_only=True)
    write(path, content["model"])
    return content["model"]


def write(path: Path, state: dict[str, Tensor], config: Any = None, **options: Any) -> None:
    torch.save({"model": state, "config": {} if config is None else config}, path, **options)


def choices(
    kind: str | None = None, heads: int | None = None, ignore: tuple[str, ...] = ()
) -> tuple[Any, ...]:
    """Of `convert`, for the tiny models: heads and projection are the recipe's."""
    return tiny_config(), kind, heads, ignore


def native_state(pretrained: Pretrained) -> dict[str, Tensor]:
    """Everything by its native name, what the task adds with `task.` in front."""
    state, task = pretrained.model.state_dict(), pretrained.task
    return state | ({f"task.{name}": t for name, t in task.added_state().items()} if task else {})


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
