"""The self-check of a folder: computed of what is stored, read, and compared with a model where it runs."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from xfm.config.model import ModelConfig
from xfm.config.self_check import Arithmetic, CheckValues, SelfCheck
from xfm.config.typed import from_plain
from xfm.files import read_json_object
from xfm.modeling.belongings import Belongings
from xfm.modeling.composition import Backbone
from xfm.modeling.self_check import measure, prepare, record, verify
from xfm.modeling.task_models import build_task_model
from xfm.modeling.weights import without_weights


def check_of(
    config: ModelConfig, own: Belongings, state: Mapping[str, Tensor], half: bool
) -> SelfCheck | None:
    """The self-check of what is saved, computed on the CPU by a model that shares these tensors.

    None, with a warning, of a model that its configuration does not build, as one with parts of one's own;
    and of one that cannot read what its tokenizer gives.
    """
    try:
        return _check_of(config, own, state, half)
    except (RuntimeError, IndexError) as error:  # of torch: names, shapes, a vocabulary that is too small
        told = f"saved without a self-check, which cannot be computed: {str(error).splitlines()[0]}"
        warnings.warn(told, stacklevel=3)
        return None


def _check_of(
    config: ModelConfig, own: Belongings, state: Mapping[str, Tensor], half: bool
) -> SelfCheck | None:
    stored = {name: t.detach().cpu() for name, t in state.items()}
    if half:
        stored = {n: t.half().float() if t.dtype is torch.float32 else t for n, t in stored.items()}
    with without_weights():
        model = Backbone(config)
        task = build_task_model(own.task.task, model) if own.task else None
    model.load_state_dict(stored, assign=True)
    if task is not None and own.task is not None:
        added = {name: t.detach().cpu() for name, t in own.task.added_state().items()}
        task.load_state_dict({**task.state_dict(), **added}, assign=True)
        task.eval()
    return record(model.eval(), task, own.given_tokenizer, own.preprocessing, config.language.longest)


def read_check(path: Path) -> SelfCheck | None:
    """The self-check of a folder; older ones have none."""
    return from_plain(SelfCheck, read_json_object(path), path) if path.exists() else None


def verify_here(
    name: object, model: Backbone, own: Belongings, arithmetic: Arithmetic = Arithmetic.FLOAT32
) -> None:
    """Compare a model with its self-check, where and as it runs now.

    Args:
        name: of the model, for the message.
        model: in evaluation mode.
        own: what belongs to it, the self-check and the task among them.
        arithmetic: of the context of the call.

    Raises:
        UserError: it is not what it was when it was saved.
    """
    longest = model.config.language.longest

    def measured(check: SelfCheck) -> CheckValues:
        return measure(model, own.task, prepare(check, own.given_tokenizer, own.preprocessing, longest))

    verify(name, own.check, measured, arithmetic)
