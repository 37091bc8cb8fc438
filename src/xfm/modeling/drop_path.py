"""Drop path set anew for a fine-tuning."""

from torch import nn

from xfm.modeling.timm_vision import TimmVision
from xfm.modeling.vision import VisionBlock, VisionEncoder


def set_drop_path(vision: VisionEncoder | TimmVision, rate: float) -> None:
    """Let the drop-path rate rise linearly over the blocks of a vision encoder, from 0 to `rate`.

    Args:
        vision: changed in place; only training is.
        rate: of the last block, in [0, 1).
    """
    blocks = list(vision.blocks if isinstance(vision, VisionEncoder) else vision.trunk.blocks)
    for place, block in enumerate(blocks):
        share = rate * place / max(1, len(blocks) - 1)
        if isinstance(block, VisionBlock):
            block.drop_path.rate = share
        else:
            _set_timm(block, share)


def _set_timm(block: nn.Module, rate: float) -> None:
    """timm has an identity where a model was built with a rate of 0."""
    from timm.layers.drop import DropPath

    for name in ("drop_path1", "drop_path2"):
        if hasattr(block, name):
            setattr(block, name, DropPath(rate) if rate > 0 else nn.Identity())
