"""Encoders computed by timm and transformers, behind the native protocols."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.encoders import MAX_DEPTH, TimmVisionConfig, TransformersTextConfig
from xfm.core.errors import UserError, first_line, import_extra
from xfm.models.layers import Embeddings


@contextmanager
def explained(what: str, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn an error inside (of `kinds`, by default all) into a UserError: "what (first line); remedy"."""
    caught = kinds or (Exception,)
    try:
        yield
    except caught as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{what} ({first_line(error)}); {remedy}") from error


def _find_layers(trunk: nn.Module) -> list[nn.Module]:
    for child in trunk.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        if len(members) > 1 and len({type(member) for member in members}) == 1:
            return members
    return [layer for child in trunk.children() for layer in _find_layers(child)]


class TimmVision(nn.Module):
    """timm vision transformer; slot 0 is the model's own pooling (cls, mean or attention). Patches are masked
    behind the patch embedding, so positions and registers stay timm's; registers and cls are no patches."""

    def __init__(self, config: TimmVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = _create_timm_trunk(config)
        self.mask_vector = nn.Parameter(torch.zeros(config.width))
        nn.init.trunc_normal_(self.mask_vector, std=0.02)
        self._patch_mask: Tensor | None = None
        self.trunk.patch_embed.register_forward_hook(self._replace_masked)

    def _replace_masked(self, module: nn.Module, inputs: tuple[Tensor, ...], patches: Tensor) -> Tensor:
        if self._patch_mask is None:
            return patches
        masked = self._patch_mask.view(*patches.shape[:-1], 1)
        return torch.where(masked, self.mask_vector.to(patches.dtype), patches)

    @property
    def layers(self) -> nn.ModuleList:
        """timm's blocks."""
        return self.trunk.blocks

    @torch.no_grad()
    def compute_buffers(self) -> None:
        """Compute the buffers that no file of weights holds: position indices or rotations."""
        fresh, stored = _create_timm_trunk(self.config), self.trunk.state_dict().keys()
        for name, buffer in fresh.named_buffers():
            if name not in stored:
                self.trunk.get_buffer(name).copy_(buffer)

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take images of another size; timm resamples positions."""
        config = replace(self.config, image_size=image_size, image_width=image_width)
        self.trunk.set_input_size(img_size=(image_size, image_width or image_size))
        self.config = config

    def set_drop_path(self, rate: float) -> None:
        """Drop-path rate in training, rising linearly over the blocks from 0 to `rate` in [0, 1)."""
        from timm.layers.drop import DropPath

        for place, block in enumerate(self.trunk.blocks):
            own = rate * place / max(1, len(self.trunk.blocks) - 1)
            for name in ("drop_path1", "drop_path2"):
                if hasattr(block, name):  # timm has an identity where a model was built with a rate of 0
                    setattr(block, name, DropPath(own) if own > 0 else nn.Identity())

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] normalised pixels and [B, P] bool patch mask -> [B, 1 + P, D]: pooled vector, then
        normalised patches."""
        self._patch_mask = patch_mask
        try:
            states = self.trunk.forward_features(pixels)  # [B, prefix + P, D]
        finally:
            self._patch_mask = None
        pooled = self.trunk.forward_head(states, pre_logits=True)  # [B, D]
        # A model that normalises after pooling leaves the patches as they are: the same norm fits them.
        patches = self.trunk.fc_norm(states[:, self.trunk.num_prefix_tokens :])
        return torch.cat([pooled[:, None], patches], dim=1)


def _create_timm_trunk(config: TimmVisionConfig) -> Any:
    timm = import_extra("timm", "this model")
    if not timm.is_model(config.architecture):  # names of the hub or of folders would be read from there
        raise UserError(f"timm {timm.__version__} has no {config.architecture}; see timm.list_models()")
    remedy = "take a vision transformer, such as vit_base_patch16_224"
    with explained(f"timm cannot build {config.architecture} as described", remedy):
        trunk = timm.create_model(
            config.architecture,
            pretrained=False,
            num_classes=0,
            img_size=(config.image_size, config.image_width or config.image_size),
            patch_size=config.patch_size,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            drop_path_rate=config.drop_path,
        )
    check_trunk(trunk, config.architecture)
    return trunk


def check_trunk(trunk: Any, name: str) -> None:
    """A UserError for a model that is no plain vision transformer."""
    needed = ("patch_embed", "blocks", "num_prefix_tokens", "fc_norm", "set_input_size", "forward_head")
    if not all(hasattr(trunk, part) for part in needed):
        raise UserError(f"{name} is no plain vision transformer; take one, such as vit_base_patch16_224")


# What would load code or other weights, or belongs to the place where the file came from.
_DROPPED = frozenset({"auto_map", "quantization_config", "dtype", "torch_dtype", "_name_or_path"})


class TransformersText(nn.Module):
    """Text encoder of transformers without its pooler."""

    def __init__(self, config: TransformersTextConfig) -> None:
        super().__init__()
        self.config = config
        transformers = import_extra("transformers", "this model")
        failing = f"transformers {transformers.__version__} cannot build the text encoder"
        with explained(failing, "upgrade transformers, or take another model"):
            settings = checked_config(json.loads(config.settings))
            self.trunk = transformers.AutoModel.from_config(settings, trust_remote_code=False)
            built = self.trunk.config
            if built.is_encoder_decoder or getattr(built, "is_decoder", False):
                raise UserError(
                    f"{built.model_type} is no text encoder; take one, such as answerdotai/ModernBERT-base"
                )
        if getattr(self.trunk, "pooler", None) is not None:
            self.trunk.pooler = None

    @property
    def layers(self) -> list[nn.Module]:
        """The members of the model's list of layers."""
        return _find_layers(self.trunk)

    @property
    def words(self) -> nn.Embedding:
        """The word matrix [V, D], to which the MLM head is tied."""
        return self.trunk.get_input_embeddings()

    def copy_words(self, embeddings: Embeddings) -> None:
        """Overwrite the word matrix with this encoder's; its positions are its own."""
        embeddings.words.load_state_dict(self.words.state_dict())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and bool mask -> [R, T, D]; states of padding are undefined."""
        return self.trunk(input_ids=ids, attention_mask=mask.long()).last_hidden_state


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
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > MAX_DEPTH:
        raise UserError(f"the text encoder's settings ask for {layers} layers; they are damaged")
    return config
