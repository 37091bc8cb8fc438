"""What a published file holds beside the tensors that are used: copies, constants and heads without a use."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from xfm.config.model import ModelConfig
from xfm.config.task import TaskConfig
from xfm.config.tasks import VQA
from xfm.interop.published.names import native_parts
from xfm.modeling.vision import relative_position_index


@dataclass(frozen=True)
class Spare:
    """Tensors of a published file that are left out when it is read.

    Attributes:
        copies: tied tensors, and the tensor that each is a copy of; rebuilt when a file is written.
        constants: integer buffers and their values; rebuilt when a file is written.
        unused: names of the caption heads, which the published code never uses.
    """

    copies: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()


def spare(config: ModelConfig, task: TaskConfig | None = None) -> Spare:
    """The spare tensors of a pre-training file or, with a task, of a fine-tuned one."""
    vision, language = native_parts(config)
    index = relative_position_index(vision.grid)
    positions = torch.arange(language.max_positions)[None]
    constants = {
        f"vision_encoder.blocks.{block}.attn.relative_position_index": index for block in range(vision.depth)
    }
    text = "text_encoder.roberta" if task is None else "text_encoder"
    stacks = {"fusion_encoder": "fusion_encoder.roberta"}  # those with a token head, and their layers
    if task is None:
        stacks["text_encoder"] = text
    elif task.kind == VQA.name:
        stacks["text_decoder"] = "text_decoder.roberta"
    copies: dict[str, str] = {}
    unused: set[str] = set()
    for stack, layers in stacks.items():
        copies[f"{stack}.lm_head.decoder.weight"] = f"{layers}.embeddings.word_embeddings.weight"
        copies[f"{stack}.lm_head.decoder.bias"] = f"{stack}.lm_head.bias"
        if stack == "text_decoder":
            continue  # it has no caption head
        head = f"{stack}.lm_cap_head"
        unused |= {f"{head}.{part}.{kind}" for part in ("dense", "layer_norm") for kind in ("weight", "bias")}
        unused |= {f"{head}.bias", f"{head}.decoder.weight", f"{head}.decoder.bias"}
    for layers in {text, *stacks.values()}:
        constants[f"{layers}.embeddings.position_ids"] = positions
    return Spare(copies, constants, frozenset(unused))
