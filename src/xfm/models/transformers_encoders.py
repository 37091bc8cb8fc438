"""Encoders that transformers computes, behind the native protocols."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.encoders import MAX_DEPTH, TextPooling, TransformersTextConfig, TransformersVisionConfig
from xfm.core.errors import UserError, explained, import_extra
from xfm.models.library_encoders import LibraryVision, PooledText, refill_buffers

# What would load code or other weights, or belongs to the place where the file came from.
_DROPPED = frozenset({"auto_map", "quantization_config", "dtype", "torch_dtype", "_name_or_path"})


class TransformersText(PooledText):
    """Text encoder of transformers without its pooler."""

    def __init__(self, config: TransformersTextConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = _create(config.settings, "text")
        built = self.trunk.config
        if built.is_encoder_decoder or getattr(built, "is_decoder", False):
            raise UserError(
                f"{built.model_type} is no text encoder; take one, such as answerdotai/ModernBERT-base"
            )
        if getattr(self.trunk, "pooler", None) is not None:
            self.trunk.pooler = None
        if isinstance(getattr(self.trunk, "head", None), nn.Linear):
            self.trunk.head = nn.Identity()  # SigLIP's projection, which is the model's

    @property
    def words(self) -> nn.Embedding:
        """The word matrix [V, D], to which the MLM head is tied."""
        embeddings = getattr(self.trunk, "embeddings", None)
        found = getattr(embeddings, "token_embedding", None)
        return self.trunk.get_input_embeddings() if found is None else found

    def compute_buffers(self) -> None:
        """Compute the buffers that no file of weights holds: indices of positions."""
        refill_buffers(self.trunk, _create(self.config.settings, "text"))

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and bool mask -> [R, T, D]; states of padding are undefined."""
        filled = self.config.pooling is TextPooling.FILLED
        return self.trunk(input_ids=ids, attention_mask=None if filled else mask.long()).last_hidden_state


class TransformersVision(LibraryVision):
    """Vision encoder of a CLIP or SigLIP of transformers; slot 0 is its pooled vector."""

    def __init__(self, config: TransformersVisionConfig) -> None:
        trunk = _create(config.settings, "vision")
        super().__init__(config, trunk, trunk.embeddings.patch_embedding)

    def compute_buffers(self) -> None:
        """Compute the buffers that no file of weights holds: indices of positions."""
        refill_buffers(self.trunk, _create(self.config.settings, "vision"))

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take images of another size; positions are resampled in every pass, as transformers does."""
        self.config = replace(self.config, image_size=image_size, image_width=image_width)

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] normalised pixels and [B, P] bool patch mask -> [B, 1 + P, D]: pooled vector, then
        normalised patches."""
        other = self.config.grid != (self.trunk.config.image_size // self.config.patch_size,) * 2
        with self.masking(patch_mask):
            found = self.trunk(pixel_values=pixels, interpolate_pos_encoding=other)
        states = found.last_hidden_state
        if states.shape[1] > self.config.patches:  # CLIP pools its class token, whose norm fits the patches
            return self.trunk.post_layernorm(states)
        return torch.cat([found.pooler_output[:, None], states], dim=1)


def _create(settings: str, part: str) -> Any:
    transformers = import_extra("transformers", "this model")
    failing = f"transformers {transformers.__version__} cannot build the {part} encoder"
    with explained(failing, "upgrade transformers, or take another model"):
        config = checked_config(json.loads(settings))
        if type(config) in transformers.MODEL_MAPPING:
            return inner_model(transformers.AutoModel.from_config(config, trust_remote_code=False), part)
        kind = getattr(transformers, type(config).__name__.removesuffix("Config") + "Model")
        return inner_model(kind._from_config(config), part)


def inner_model(model: nn.Module, part: str) -> Any:
    """The transformer of a CLIP's or SigLIP's encoder, which some versions of transformers wrap; of other
    models the model."""
    return getattr(model, f"{part}_model", model)


def safe_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Content of a `config.json` without settings that ask for remote code, such as attention kernels;
    nested settings likewise."""
    return {
        key: safe_settings(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if not isinstance(key, str) or (key not in _DROPPED and "_implementation" not in key)
    }


def checked_config(values: Mapping[str, Any]) -> Any:
    """transformers' configuration of the content of a `config.json`; a UserError for more layers than any
    model has. transformers' own errors may be of any kind."""
    config = import_extra("transformers", "this model").AutoConfig.for_model(**safe_settings(values))
    for part in (config, getattr(config, "text_config", None), getattr(config, "vision_config", None)):
        layers = getattr(part, "num_hidden_layers", None)
        if isinstance(layers, int) and layers > MAX_DEPTH:
            raise UserError(f"the encoder's settings ask for {layers} layers; they are damaged")
    return config
