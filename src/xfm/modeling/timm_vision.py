"""A vision transformer of timm behind the protocol of the vision encoder."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.encoders import TimmVisionConfig
from xfm.errors import UserError, import_extra
from xfm.modeling.libraries import explained, last_norms


class TimmVision(nn.Module):
    """Pictures to patch vectors; slot 0 is what the model itself pools (cls, mean or attention pooling).

    Patches of the input are masked behind the patch embedding, so that positions (absolute, relative or
    rotary), registers and everything else stay timm's. Registers and the cls token are no patches.
    """

    def __init__(self, config: TimmVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = create_trunk(config)
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

    @property
    def last_norms(self) -> list[nn.Module]:
        """Those before and after the pooling."""
        return last_norms(self.trunk, self.layers)

    @torch.no_grad()
    def compute_buffers(self) -> None:
        """Compute what no file of weights holds: indices of positions, or rotations."""
        fresh, stored = create_trunk(self.config), self.trunk.state_dict().keys()
        for name, buffer in fresh.named_buffers():
            if name not in stored:
                self.trunk.get_buffer(name).copy_(buffer)

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take pictures of another size from now on; timm resamples what depends on it."""
        config = replace(self.config, image_size=image_size, image_width=image_width)
        self.trunk.set_input_size(img_size=(image_size, image_width or image_size))
        self.config = config

    def set_drop_path(self, rate: float) -> None:
        """Let the drop-path rate in training rise linearly over the blocks, from 0 to `rate` in [0, 1)."""
        from timm.layers.drop import DropPath

        for place, block in enumerate(self.trunk.blocks):
            own = rate * place / max(1, len(self.trunk.blocks) - 1)
            for name in ("drop_path1", "drop_path2"):
                if hasattr(block, name):  # timm has an identity where a model was built with a rate of 0
                    setattr(block, name, DropPath(own) if own > 0 else nn.Identity())

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Encode pictures.

        Args:
            pixels: [B, 3, H, W] float, normalised.
            patch_mask: [B, P] bool, True where the patch is replaced by the mask vector.

        Returns:
            [B, 1 + P, D]: the pooled vector, then the normalised patch vectors.
        """
        self._patch_mask = patch_mask
        try:
            states = self.trunk.forward_features(pixels)  # [B, prefix + P, D]
        finally:
            self._patch_mask = None
        pooled = self.trunk.forward_head(states, pre_logits=True)  # [B, D]
        # A model that normalises after pooling leaves the patches as they are: the same norm fits them.
        patches = self.trunk.fc_norm(states[:, self.trunk.num_prefix_tokens :])
        return torch.cat([pooled[:, None], patches], dim=1)


def create_trunk(config: TimmVisionConfig) -> Any:
    """The model of a configuration without a classifier, randomly initialised.

    Raises:
        UserError: timm is not installed, does not have the architecture, or cannot build it like that.
    """
    timm = import_extra("timm", "this model")
    if not timm.is_model(config.architecture):  # names of the hub or of folders would be read from there
        raise UserError(
            f"timm {timm.__version__} has no model {config.architecture}; "
            "see timm.list_models(), or upgrade it"
        )
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
    """Refuse what is no plain vision transformer.

    Raises:
        UserError: the model lacks what the adapter needs.
    """
    needed = ("patch_embed", "blocks", "num_prefix_tokens", "fc_norm", "set_input_size", "forward_head")
    if missing := [part for part in needed if not hasattr(trunk, part)]:
        raise UserError(
            f"{name} is no plain vision transformer (it has no {missing[0]}); "
            "take one, such as vit_base_patch16_224"
        )
