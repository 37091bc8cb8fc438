"""What of a model learns: every encoder whole, not at all, or by low-rank additions (LoRA)."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from xfm.config.finetune import FinetuneConfig, Tuning, TuningConfig
from xfm.config.task_spec import TaskSpec
from xfm.core.errors import UserError
from xfm.models.adapters import require_base
from xfm.models.lora import LowRank

if TYPE_CHECKING:
    from peft.tuners.tuners_utils import BaseTunerLayer

ENCODERS = ("language", "vision", "fusion")


def adapt(module: nn.Module, config: TuningConfig) -> None:
    """Freeze encoders of a task model, or add LoRA to their linear layers, in place; UserError without
    peft."""
    holder = getattr(module, "model", module)
    for name in ENCODERS:
        encoder, tuning = getattr(holder, name, None), getattr(config, name)
        if encoder is None or tuning in (None, Tuning.FULL):
            continue
        encoder.requires_grad_(False)
        if tuning is Tuning.LORA:
            _add_lora(encoder, config)


def is_low_rank(name: str) -> bool:
    """Whether the parameter of that name is one of LoRA's, which are new and learn at the larger rate."""
    return ".lora_" in name


def merge_lora(module: nn.Module) -> dict[str, LowRank]:
    """Merge LoRA into the matrices, in place; gives what was added by the names of the layers, empty without
    LoRA."""
    found: dict[str, LowRank] = {}
    for name, layer in _lora_layers(module):
        down, up = (_matrix(getattr(layer, part)) for part in ("lora_A", "lora_B"))
        found[name.removeprefix("model.")] = LowRank(down, up)
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, layer.get_base_layer())
    module.requires_grad_(True)
    return found


def _matrix(of_peft: Any) -> Tensor:
    (part,) = of_peft.values()
    return part.weight.detach().float().cpu().clone()


def check_adapter(spec: TaskSpec, config: FinetuneConfig, model: Path | str) -> None:
    """Refuse an adapter where an encoder learns as a whole, or the model is no folder."""
    if not config.tune.save_adapter_only:
        return
    if whole := [name for name in spec.encoders if getattr(config.tune, name) is Tuning.FULL]:
        raise UserError(
            f"tune.save_adapter_only keeps small additions, and the {whole[0]} encoder learns whole: give "
            f"--tune.{whole[0]} lora, or freeze"
        )
    require_base(model)


def _add_lora(encoder: nn.Module, config: TuningConfig) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError("tuning with lora needs peft; install it with pip install 'xfm[lora]'") from None
    matrices = [name for name, part in encoder.named_modules() if isinstance(part, nn.Linear)]
    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=matrices
    )
    inject_adapter_in_model(lora, encoder)


def _lora_layers(module: nn.Module) -> "list[tuple[str, BaseTunerLayer]]":
    if "peft" not in sys.modules:  # then nothing has been added; its import takes seconds
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, part) for name, part in module.named_modules() if isinstance(part, BaseTunerLayer)]
