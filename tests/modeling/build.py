"""Tiny models and random batches for tests."""

from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.encoders import FusionConfig, LanguageConfig, Positions, TextPositions, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.training import LossConfig
from xfm.data.schema import Batch, ImageBatch, MaskedTokens, PairBatch, RegionBatch, TextBatch, Tokens
from xfm.models.gradients import PRETRAINING, GradientPolicy
from xfm.models.xfm import XFM
from xfm.objectives.step import Losses, pretraining_losses

VOCAB = 50
DEFAULT_WEIGHTS = LossConfig()


def tiny_config(
    vision_width: int = 24,
    positions: Positions = Positions.NONE,
    order: TextPositions = TextPositions.NONE,
) -> ModelConfig:
    """Widths of vision and language differ on purpose."""
    return ModelConfig(
        vision=VisionConfig(32, 8, vision_width, 2, 4, drop_path=0.0, layer_scale=0.5, positions=positions),
        language=LanguageConfig(VOCAB, 32, 2, 4, 48, 24, dropout=0.0),
        fusion=FusionConfig(2, 2, 48, dropout=0.0, positions=order),
        projection=12,
    )


def tiny_model(**kwargs: object) -> XFM:
    torch.manual_seed(1)
    return XFM(tiny_config(**kwargs))  # type: ignore[arg-type]


def spread(model: nn.Module, scale: float = 0.1) -> None:
    """Add noise to every parameter, so that inputs and layers make a difference."""
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * scale)


def roberta_config(words: LanguageConfig, stack: LanguageConfig | FusionConfig, **more: Any) -> Any:
    """The configuration of transformers' RoBERTa with our embeddings and as many layers as a stack has."""
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=words.vocab_size, hidden_size=words.width, max_position_embeddings=words.max_positions,
        num_hidden_layers=stack.depth, num_attention_heads=stack.heads, intermediate_size=stack.mlp_width,
        type_vocab_size=1, layer_norm_eps=1e-5, bos_token_id=0, pad_token_id=1, eos_token_id=2, **more,
    )  # fmt: skip


def fuse(model: XFM, tokens: Tokens, pixels: Tensor) -> Tensor:
    """Fused states of texts with a picture each."""
    text = model.encode_text(tokens.ids, tokens.mask)
    return model.fuse(text, tokens.mask, model.encode_image(pixels))


def losses_of(
    model: XFM,
    batch: Batch,
    policy: GradientPolicy = PRETRAINING,
    weights: LossConfig = DEFAULT_WEIGHTS,
) -> Losses:
    return pretraining_losses(model, batch, policy, weights, torch.Generator(model.device).manual_seed(0))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def memories(count: int, length: int = 5, width: int = 32) -> tuple[Tensor, Tensor]:
    """What a decoder attends to, of random lengths, and the mask of what is there."""
    mask = torch.arange(length) < torch.randint(1, length + 1, (count, 1))
    return torch.randn(count, length, width), mask


def random_tokens(rows: int, length: int = 7) -> tuple[Tokens, MaskedTokens]:
    lengths = torch.randint(4, length + 1, (rows,))
    mask = torch.arange(length) < lengths[:, None]
    ids = torch.randint(4, VOCAB - 1, (rows, length)).masked_fill(~mask, 1)
    ids[:, 0] = 0
    positions = torch.ones(rows, 2, dtype=torch.int64)
    positions[:, 1] = 2
    labels = ids.gather(1, positions)
    labels[::2, 1] = -100
    masked = ids.clone()
    masked[:, 1] = VOCAB - 1
    return Tokens(ids, mask), MaskedTokens(masked, positions, labels)


def random_batch(pairs: int = 4, pictures: int = 3, rows: int = 6) -> Batch:
    tokens, masked = random_tokens(pairs)
    own = torch.arange(pairs)
    pair = PairBatch(torch.randn(pairs, 3, 32, 32), tokens, masked, own, own, torch.rand(pairs, 16) < 0.4)
    tokens, masked = random_tokens(rows)
    visible = torch.rand(rows, 16) < 0.3
    visible[:, 0] = True
    region = RegionBatch(
        pixels=torch.randn(pictures, 3, 32, 32),
        image_index=torch.arange(rows) % pictures,
        visible=visible,
        boxes=torch.rand(rows, 4) * 0.4 + 0.2,
        is_image=torch.arange(rows) < 1,
        tokens=tokens,
        masked=masked,
        image_identity=torch.arange(rows),
        text_identity=torch.arange(rows),
    )
    image = ImageBatch(torch.randn(2, 3, 32, 32), torch.rand(2, 16) < 0.4)
    return Batch(step=0, text=TextBatch(*random_tokens(3, 9)), image=image, pair=pair, region=region)
