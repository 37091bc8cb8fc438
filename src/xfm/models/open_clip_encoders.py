"""Encoders that open_clip computes, behind the native protocols: its own vision and text transformers."""

import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.encoders import MAX_DEPTH, OpenClipTextConfig, OpenClipVisionConfig
from xfm.core.errors import UserError, explained, import_extra
from xfm.models.library_encoders import LibraryVision, PooledText

_KNOWN = {"vision_cfg": "VisionTransformer", "text_cfg": "TextTransformer"}


class OpenClipVision(LibraryVision):
    """Vision transformer of open_clip without its projection; slot 0 is its pooled vector."""

    def __init__(self, config: OpenClipVisionConfig) -> None:
        trunk = _create_vision(config)
        super().__init__(config, trunk, trunk.conv1)

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take square images of another size; open_clip resamples the positions."""
        if image_width not in (None, image_size):
            raise ValueError("open_clip takes square pictures")
        old, self.config = self.trunk.state_dict(), replace(self.config, image_size=image_size)
        with torch.device("meta"):
            fresh = _create_vision(self.config)
        state = {f"visual.{name}": tensor for name, tensor in old.items()}
        import_extra("open_clip", "this model", "open-clip").model.resize_pos_embed(
            state, nn.ModuleDict({"visual": fresh})
        )
        positions = state["visual.positional_embedding"]
        self.trunk.positional_embedding = nn.Parameter(positions)
        self.trunk.image_size, self.trunk.grid_size = fresh.image_size, fresh.grid_size

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] normalised pixels and [B, P] bool patch mask -> [B, 1 + P, D]."""
        with self.masking(patch_mask):
            pooled, patches = self.trunk(pixels)
        return torch.cat([pooled[:, None], patches], dim=1)


def _create_vision(config: OpenClipVisionConfig) -> Any:
    trunk = create_tower(config.open_clip, "vision_cfg", config.image_size)
    if trunk.attn_pool is not None:
        raise UserError("this model of open_clip pools by attention and keeps no patches; take another")
    trunk.proj, trunk.output_tokens = None, True
    return trunk


class OpenClipText(PooledText):
    """Text transformer of open_clip without its projection."""

    def __init__(self, config: OpenClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = create_tower(config.open_clip, "text_cfg")
        if self.trunk.cls_emb is not None:
            raise UserError("this model of open_clip adds a class token to texts; take another")
        self.trunk.text_projection, self.trunk.pool_type = None, "none"
        if len(words := self.words.weight) < config.vocab_size:  # a mask token, which it came without
            self.trunk.token_embedding = nn.Embedding(config.vocab_size, words.shape[1])

    @property
    def words(self) -> nn.Embedding:
        """The word matrix [V, D], to which the MLM head is tied."""
        return self.trunk.token_embedding

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and bool mask -> [R, T, D]; states of padding are undefined."""
        embedded, causal = self.trunk._embeds(ids)
        length = ids.shape[1]
        found = self.trunk.transformer(
            embedded, attn_mask=None if causal is None else causal[:length, :length]
        )
        return self.trunk.ln_final(found)


def create_tower(model_cfg: str, part: str, image_size: int | None = None) -> Any:
    """A vision ("vision_cfg") or text ("text_cfg") transformer of open_clip with random weights; a UserError
    for another kind of network."""
    library = import_extra("open_clip", "this model", "open-clip").model
    with explained("open_clip cannot build the model as described", "upgrade it, or take another model"):
        settings = json.loads(model_cfg)
        own = dict(settings[part])
        if isinstance(own.get("layers"), int) and own["layers"] > MAX_DEPTH:
            raise UserError(f"its settings ask for {own['layers']} layers; they are damaged")
        if own.get("hf_model_name"):
            raise UserError(
                "its text encoder is transformers' "
                f"{own['hf_model_name']}: compose a model of both encoders, `xfm init --language hf:NAME`"
            )
        build = library._build_vision_tower if part == "vision_cfg" else library._build_text_tower
        if image_size is not None:
            own["image_size"] = image_size
        tower = build(settings["embed_dim"], own, bool(settings.get("quick_gelu")))
    if type(tower).__name__ != _KNOWN[part]:
        raise UserError(f"its network is a {type(tower).__name__} of open_clip, no transformer; take another")
    return tower
