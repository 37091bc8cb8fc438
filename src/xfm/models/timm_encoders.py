"""Vision encoders that timm computes, behind the native protocol: transformers and convolutional networks."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfm.config.encoders import TimmConvConfig, TimmVisionConfig
from xfm.core.errors import UserError, explained, import_extra
from xfm.models.library_encoders import LibraryVision, refill_buffers
from xfm.models.precision import at_least_float32
from xfm.models.vision import sine_positions


class TimmVision(LibraryVision):
    """timm vision transformer; slot 0 is the model's own pooling (cls, mean or attention). Registers and cls
    are no patches."""

    def __init__(self, config: TimmVisionConfig) -> None:
        trunk = _create_transformer(config)
        super().__init__(config, trunk, trunk.patch_embed, axis=-1)

    @property
    def layers(self) -> list[nn.Module]:
        """timm's blocks."""
        return [*self.trunk.blocks]

    def compute_buffers(self) -> None:
        """Compute the buffers that no file of weights holds: position indices or rotations."""
        refill_buffers(self.trunk, _create_transformer(self.config))

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take images of another size; timm resamples positions."""
        config = replace(self.config, image_size=image_size, image_width=image_width)
        self.trunk.set_input_size(img_size=(image_size, image_width or image_size))
        self.config = config

    def set_drop_path(self, rate: float) -> None:
        """Drop-path rate in training, rising linearly over the blocks from 0 to `rate` in [0, 1)."""
        _set_drop_paths([*self.trunk.blocks], ("drop_path1", "drop_path2"), rate)

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] normalised pixels and [B, P] bool patch mask -> [B, 1 + P, D]: pooled vector, then
        normalised patches."""
        with self.masking(patch_mask):
            states = self.trunk.forward_features(pixels)  # [B, prefix + P, D]
        pooled = self.trunk.forward_head(states, pre_logits=True)  # [B, D]
        # A model that normalises after pooling leaves the patches as they are: the same norm fits them.
        patches = self.trunk.fc_norm(states[:, self.trunk.num_prefix_tokens :])
        return torch.cat([pooled[:, None], patches], dim=1)


PLACE_WIDTH = 16
_STAGES = ("stages", "blocks")
"""Names of the stages in convolutional networks of timm."""


class TimmConv(nn.Module):
    """Convolutional network of timm. The cells of its last feature map are the patches, each behind the
    network's own head, as its pooled map is; that is slot 0. A convolution looks past a patch's border, so
    that masked patches are replaced in the picture, before the network, by a colour that is learned.

    With `classes` the upper stages are there twice: `judge` stays as it came, with its classifier, whose
    probabilities follow the features of `upper` and a cell's place in every state. The names of classes are
    words that the network knows, and training on other pictures does not take them from it."""

    judge: Any
    upper: Any

    def __init__(self, config: TimmConvConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = create_conv(config)
        self.judge = self.upper = None
        if config.classes:
            self.trunk, self.judge = _parted(self.trunk, config.frozen_stages)
            self.upper = copy.deepcopy(self.judge)
            self.upper.reset_classifier(0)
            self.judge.requires_grad_(False)
        self.mask_vector = nn.Parameter(torch.zeros(3))
        if config.frozen_stages:
            first = next(self.layers[config.frozen_stages].parameters())
            for parameter in takewhile(lambda one: one is not first, self.trunk.parameters()):
                parameter.requires_grad_(False)
        _quicken(self, in_order=config.classes > 0)

    @property
    def layers(self) -> list[nn.Module]:
        """The stages of the network."""
        stages = zip(conv_stages(self.trunk), conv_stages(self.upper or self.trunk), strict=True)
        return [above if isinstance(below, nn.Identity) else below for below, above in stages]

    def train(self, mode: bool = True) -> "TimmConv":
        """As of every module, but batch norms stay in evaluation mode unless the configuration says
        otherwise."""
        super().train(mode)
        if not self.config.train_batch_norm:
            for part in self.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take images of another size; a ValueError where the stride does not divide it."""
        self.config = replace(self.config, image_size=image_size, image_width=image_width)

    def set_drop_path(self, rate: float) -> None:
        """As of `TimmVision`; a network without residual branches has nothing to drop."""
        trained = self.upper or self.trunk
        found = [part for part in trained.modules() if hasattr(part, "drop_path")]
        _set_drop_paths(found, ("drop_path",), rate)

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] normalised pixels and [B, P] bool patch mask -> [B, 1 + P, D]."""
        if patch_mask is not None:
            side = self.config.patch_size
            masked = patch_mask.view(-1, 1, *self.config.grid)
            masked = masked.repeat_interleave(side, 2).repeat_interleave(side, 3)
            pixels = torch.where(masked, self.mask_vector.view(3, 1, 1).to(pixels.dtype), pixels)
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # takes half as long on a CPU
        cells = self.trunk.forward_features(pixels)  # [B, C, h, w]
        if self.judge is None:
            return _states(cells, lambda maps: self.trunk.forward_head(maps, pre_logits=True))
        features = _states(
            self.upper.forward_features(cells), lambda maps: self.upper.forward_head(maps, pre_logits=True)
        )
        logits = _states(self.judge.forward_features(cells), self.judge.forward_head)
        places = _places(*self.config.grid).to(features).expand(features.shape[0], -1, -1)
        return torch.cat([features, places, at_least_float32(logits).softmax(-1).to(features)], dim=-1)


def _places(height: int, width: int) -> Tensor:
    """[1 + P, PLACE_WIDTH]: 0 of slot 0, then sines of each cell's row and column, which a convolution does
    not tell."""
    return F.pad(sine_positions((height, width), PLACE_WIDTH, 2.0), (0, 0, 1, 0))


def _states(cells: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Maps [B, C, h, w] -> [B, 1 + P, D]: what a head makes of the whole, then of each cell alone."""
    pooled = head(cells)  # [B, D]
    singles = cells.permute(0, 2, 3, 1).flatten(0, 2)[:, :, None, None]  # [B x P, C, 1, 1]
    return torch.cat([pooled[:, None], head(singles).view(cells.shape[0], -1, pooled.shape[1])], dim=1)


def _parted(network: Any, stage: int) -> tuple[Any, Any]:
    below, above = copy.deepcopy(network), copy.deepcopy(network)
    names = [name for name, _ in network.named_children()]
    place = next(number for number, name in enumerate(names) if name in _STAGES)
    for part, others in ((above, names[:place]), (below, names[place + 1 :])):
        for name in others:
            setattr(part, name, nn.Identity())
    for number in range(len(conv_stages(network))):
        getattr(below if number >= stage else above, names[place])[number] = nn.Identity()
    return below, above


def _quicken(network: nn.Module, in_order: bool) -> None:
    """Leave depthwise convolutions that are trained in float32: in bfloat16 their backward pass is slow
    on a CPU. With modules in the order of the computation, let every convolution do the work of
    the batch norm behind it, while that keeps its statistics: a pass over the maps less."""
    convolution: Any = None
    for part in [*network.modules()]:
        if isinstance(part, nn.Conv2d):
            convolution, part.__class__ = part, _quick_convolution(type(part))
            part.__dict__["norm"] = None  # no child: names of tensors stay as they are
        elif isinstance(part, nn.BatchNorm2d) and in_order and convolution is not None:
            convolution.__dict__["norm"], part.__class__ = part, _folded_norm(type(part))
            convolution = None


@cache
def _quick_convolution(kind: type[nn.Conv2d]) -> Any:
    from timm.layers.padding import pad_same

    def forward(self: Any, pixels: Tensor) -> Tensor:
        norm, weight, bias = self.norm, self.weight, self.bias
        if norm is not None and not norm.training:
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            weight, bias = weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
        if kind.__name__ == "Conv2dSame":
            pixels = pad_same(pixels, self.kernel_size, self.stride, self.dilation)
        if self.groups == 1 or not self.weight.requires_grad:
            return self._conv_forward(pixels, weight, bias)
        with torch.autocast(pixels.device.type, enabled=False):
            return self._conv_forward(pixels.to(weight.dtype), weight, bias)

    return type(kind.__name__, (kind,), {"forward": forward})


@cache
def _folded_norm(kind: Any) -> Any:
    def forward(self: Any, maps: Tensor) -> Tensor:
        return kind.forward(self, maps) if self.training else self.act(self.drop(maps))

    return type(kind.__name__, (kind,), {"forward": forward})


def conv_stages(trunk: Any) -> list[nn.Module]:
    """The stages of a convolutional network of timm; none where they have no name that is known."""
    return [*next((getattr(trunk, name) for name in _STAGES if hasattr(trunk, name)), ())]


def _set_drop_paths(blocks: list[nn.Module], names: tuple[str, ...], rate: float) -> None:
    from timm.layers.drop import DropPath

    for place, block in enumerate(blocks):
        own = rate * place / max(1, len(blocks) - 1)
        for name in names:
            if hasattr(block, name):  # timm has an identity where a model was built with a rate of 0
                setattr(block, name, DropPath(own) if own > 0 else nn.Identity())


def _create_transformer(config: TimmVisionConfig) -> Any:
    trunk = _create(
        config,
        "take a vision transformer, such as vit_base_patch16_224",
        img_size=(config.image_size, config.image_width or config.image_size),
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        drop_path_rate=config.drop_path,
        num_classes=0,
    )
    if not is_transformer(trunk):
        raise UserError(
            f"{config.architecture} is no plain vision transformer; take one, such as vit_base_patch16_224"
        )
    return trunk


def create_conv(config: TimmConvConfig) -> Any:
    """The convolutional network of a configuration, with random weights."""
    rate = {"drop_path_rate": config.drop_path} if config.drop_path else {}
    remedy = "take a convolutional network, such as efficientnet_lite0"
    return _create(config, remedy, num_classes=config.classes, **rate)


def _create(config: TimmVisionConfig, remedy: str, **settings: Any) -> Any:
    timm = import_extra("timm", "this model")
    if not timm.is_model(config.architecture):  # names of the hub or of folders would be read from there
        raise UserError(f"timm {timm.__version__} has no {config.architecture}; see timm.list_models()")
    with explained(f"timm cannot build {config.architecture} as described", remedy):
        return timm.create_model(config.architecture, pretrained=False, **settings)


def is_transformer(trunk: Any) -> bool:
    """Whether a model of timm is a plain vision transformer."""
    needed = ("patch_embed", "blocks", "num_prefix_tokens", "fc_norm", "set_input_size", "forward_head")
    return all(hasattr(trunk, part) for part in needed)
