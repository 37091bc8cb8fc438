"""The model of a pipeline or a server, and who computes it: torch, a runtime, or what was chosen."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xfm.config.task_spec import TaskSpec
from xfm.config.training import Precision
from xfm.errors import UserError
from xfm.modeling.folder import Pretrained
from xfm.modeling.model_reading import read_calibration, read_provenance
from xfm.modeling.precision import resolve
from xfm.modeling.resolve import find_model
from xfm.modeling.task_models import Answerer, Captioner
from xfm.runtimes.choice import WAYS, Way, chosen, kept_for
from xfm.runtimes.opening import is_exported, open_exported, open_model
from xfm.runtimes.parts import RuntimeModel


@dataclass(frozen=True)
class ToRun:
    """A model that was read to be run.

    Attributes:
        pretrained: the model.
        name: for messages.
        precision: arithmetic of torch's passes; of a runtime float32, it has its own.
        way: what was chosen for this machine, None where nobody asked for a choice.
    """

    pretrained: Pretrained
    name: str
    precision: Precision
    way: Way | None = None


def read_to_run(
    model: Path | str, device: str | torch.device | None = None, precision: Precision | None = None
) -> ToRun:
    """Read a model, an exported one, or the one that `xfm evaluate --backends` wrote for this machine.

    Args:
        model: a folder, a run, the name of a model of the package, or of a repository of the hub.
        device: where it is to run.
        precision: that was asked for. Without one it is float32, or what was chosen.

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
    way = chosen(folder) if precision is None and on_cpu else None
    if way is None or way is WAYS["torch"]:
        return ToRun(open_model(folder), str(model), asked, way)
    warnings.warn(
        f"{model} runs on {way.name}, which xfm evaluate --backends chose for this machine; --precision fp32 "
        "keeps to torch",
        stacklevel=4,
    )
    if way.form is None:
        return ToRun(open_model(folder), str(model), Precision.BF16, way)
    exported = open_exported(kept_for(folder) / way.form.value, way.half, name=f"{model} on {way.name}")
    # It may have been calibrated since.
    current = replace(exported, calibration=read_calibration(folder), provenance=read_provenance(folder))
    return ToRun(current, str(model), Precision.FP32, way)


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
