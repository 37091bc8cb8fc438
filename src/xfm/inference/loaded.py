"""The model of a pipeline or a server, and who computes it: torch, or the runtime of its graphs."""

from dataclasses import dataclass
from pathlib import Path

import torch

from xfm.config.task_spec import TaskSpec
from xfm.config.training import Precision
from xfm.errors import UserError
from xfm.modeling.folder import Pretrained, load_model
from xfm.modeling.named import find_model
from xfm.modeling.precision import resolve
from xfm.modeling.task_models import Answerer, Captioner
from xfm.runtimes.opening import is_exported, open_exported
from xfm.runtimes.parts import RuntimeModel


@dataclass(frozen=True)
class ToRun:
    """A model that was read to be run.

    Attributes:
        pretrained: the model.
        name: for messages.
        precision: arithmetic of torch's passes; of a runtime float32, it has its own.
    """

    pretrained: Pretrained
    name: str
    precision: Precision


def read_to_run(
    model: Path | str, device: str | torch.device | None = None, precision: Precision | None = None
) -> ToRun:
    """Read a model, or an exported one.

    Args:
        model: a folder, a run, the name of a model of the package, or of a repository of the hub.
        device: where it is to run.
        precision: that was asked for; float32 if not given.

    Raises:
        UserError: there is no such model, or it is not what it was when it was saved.
    """
    folder = find_model(model)
    asked = precision or Precision.FP32
    on_cpu = (device in (None, "auto") and not torch.cuda.is_available()) or str(device) == "cpu"
    if is_exported(folder):
        if not on_cpu and device not in (None, "auto"):
            raise UserError(f"{model} is an exported model, which runs on the CPU; leave --device out")
        half = resolve(asked, "cpu") is Precision.BF16
        return ToRun(open_exported(folder, half), str(model), Precision.FP32)
    return ToRun(load_model(folder), str(model), asked)


def check_runs(spec: TaskSpec, loaded: Pretrained, name: str) -> None:
    """Refuse a task of a decoder, which is computed step by step by torch, of an exported model.

    Raises:
        UserError: it is such a task.
    """
    decodes = bool(spec.head) and issubclass(spec.head_class(), Answerer | Captioner)
    if decodes and isinstance(loaded.model, RuntimeModel):
        raise UserError(
            f"{spec.name} answers by a decoder, which torch computes: take the model folder that {name} was "
            "exported from"
        )
