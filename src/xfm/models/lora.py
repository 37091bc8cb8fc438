"""Low-rank additions (LoRA) as tensors, in files as peft writes them; settings of peft are never read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from xfm.config.artifacts import AdapterConfig
from xfm.core.errors import UserError
from xfm.models.safetensors_header import tensor_shapes
from xfm.models.weights import read_tensors, require_finite, write_tensors

LOW_RANK, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class LowRank:
    """LoRA's addition to a linear layer: scale * up [O, r] @ down [r, I], float32."""

    down: Tensor
    up: Tensor


def write_low_rank(folder: Path, additions: Mapping[str, LowRank], about: AdapterConfig) -> None:
    """Write additions by their layers' names in `Backbone`, as peft reads them."""
    tensors = {f"{_PREFIX}{name}{_DOWN}": one.down for name, one in additions.items()}
    tensors |= {f"{_PREFIX}{name}{_UP}": one.up for name, one in additions.items()}
    write_tensors(folder / LOW_RANK, tensors)
    of_peft = {
        "peft_type": "LORA",
        "base_model_name_or_path": about.base,
        "r": about.rank,
        "lora_alpha": about.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(additions),
        "task_type": None,
    }
    (folder / PEFT_CONFIG).write_text(json.dumps(of_peft, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def add_low_rank(folder: Path, model: nn.Module, about: AdapterConfig) -> None:
    """Add a folder's LoRA tensors, if any, to a model's matrices in place; a UserError for tensors of
    other layers or shapes."""
    path = folder / LOW_RANK
    if not path.exists():
        return
    layers = _checked_layers(path, model, about.rank)
    tensors = read_tensors(path)
    require_finite(path, tensors)
    for name, layer in layers.items():
        down, up = (tensors[f"{_PREFIX}{name}{end}"].float() for end in (_DOWN, _UP))
        layer.weight.add_((up @ down * about.scale).to(layer.weight))


def _checked_layers(path: Path, model: nn.Module, rank: int) -> dict[str, nn.Linear]:
    shapes, linear = tensor_shapes(path), {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    found: dict[str, nn.Linear] = {}
    for key in shapes:
        end = next((end for end in (_DOWN, _UP) if key.endswith(end)), "")
        name = key.removeprefix(_PREFIX).removesuffix(end)
        if not end or not key.startswith(_PREFIX) or name not in linear:
            raise UserError(f"{path}: {key} is of no linear layer of the model; use the files of one save")
        found[name] = linear[name]
    for name, layer in found.items():
        wanted = {_DOWN: [rank, layer.in_features], _UP: [layer.out_features, rank]}
        for end, shape in wanted.items():
            key = f"{_PREFIX}{name}{end}"
            if shapes.get(key) != shape:
                raise UserError(
                    f"{path}: {key} {f'has shape {shapes[key]}' if key in shapes else 'is missing'}, where "
                    f"{shape} fits the model; use the files of one save"
                )
    return found
