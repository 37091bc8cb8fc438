"""The pair step of the published pre-training, composed of transformers' layers, with our weights.

What the published code computes, the way it computes it: texts padded to 30 tokens, a pass of the language
encoder for clear and one for masked captions, fusion of matched pairs, of both halves of hard negatives and
of masked captions, each with a copy of its picture's states, eager attention, all positions of every layer.
Boxes and plain text are no part of a pair's step; their heads are there, so that both models have the same
parameters.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BeitConfig, BeitModel, RobertaConfig, RobertaModel
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings, RobertaLayer, RobertaLMHead

from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.data.schema import PairBatch
from xfm.models.composition import TEMPERATURE_RANGE
from xfm.models.heads import mlp_head
from xfm.models.vision import VisionBlock
from xfm.models.xfm import XFM

FLOOR = 1e-5
"""Added to the probability of every negative."""


class PublishedModel(nn.Module):
    """X-FM of transformers' BEiT and RoBERTa layers.

    Args:
        config: native encoders of one width, without absolute positions of patches.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision, language, fusion = config.vision, config.language, config.fusion
        assert isinstance(vision, VisionConfig)
        assert isinstance(language, LanguageConfig)
        assert vision.width == language.width
        self.vision = BeitModel(beit_config(vision), add_pooling_layer=False)
        self.language = RobertaModel(roberta_config(language, language), add_pooling_layer=False)
        crossed = roberta_config(language, fusion, is_decoder=True, add_cross_attention=True)
        self.embeddings = RobertaEmbeddings(crossed)
        self.fusion = nn.ModuleList(RobertaLayer(crossed) for _ in range(fusion.depth))
        self.vision_proj = nn.Linear(vision.width, config.projection)
        self.text_proj = nn.Linear(language.width, config.projection)
        self.temperature = nn.Parameter(torch.tensor([config.temperature]))
        self.itm_head, self.bbox_head = mlp_head(language.width, 2), mlp_head(language.width, 4)
        self.language_head = tied(RobertaLMHead(crossed), self.language.embeddings.word_embeddings)
        self.fusion_head = tied(RobertaLMHead(crossed), self.embeddings.word_embeddings)

    def see(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] (and [B, P] bool masked patches) -> [B, 1 + P, D]."""
        patches = self.vision(pixels, bool_masked_pos=patch_mask).last_hidden_state[:, 1:]
        return torch.cat([patches.mean(1, keepdim=True), patches], dim=1)

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, T] ids and mask -> [B, T, D]."""
        return self.language(ids, attention_mask=mask.long()).last_hidden_state

    def fuse(self, text: Tensor, mask: Tensor, image: Tensor) -> Tensor:
        """[Q, T, D] texts with [Q, 1 + P, D] pictures -> [Q, T, D]."""
        bias = (~mask[:, None, None]).to(text.dtype) * torch.finfo(text.dtype).min  # [Q, 1, 1, T]
        for layer in self.fusion:
            text = layer(text, bias, image)
        return text

    def losses(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of pairs, by the names that `pretraining_losses` gives them.

        Args:
            batch: pairs, no two of which show the same picture or have the same text.
            generator: draws the hard negatives.
        """
        with torch.no_grad():
            self.temperature.clamp_(*TEMPERATURE_RANGE)
        mask = batch.tokens.mask
        image, text = self.see(batch.pixels), self.read(batch.tokens.ids, mask)
        similarity = self.similarity(image, text)
        own = torch.arange(len(text))
        itc = (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.t(), own)) / 2
        text = text.detach()
        itm = self.matching(image, text, mask, similarity.detach(), generator)
        imlm = self.filling(batch, image)
        assert batch.patch_mask is not None
        mim = masked_error(self.see(batch.pixels, batch.patch_mask), image.detach(), batch.patch_mask)
        return {"pair/itc": itc, "pair/itm": itm, "pair/imlm": imlm, "pair/mim": mim}

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """[B, B] cosines of pictures with texts over the temperature."""
        images = F.normalize(self.vision_proj(image[:, 0]).float(), dim=-1)
        texts = F.normalize(self.text_proj(text[:, 0]).float(), dim=-1)
        with torch.autocast("cpu", enabled=False):
            return images @ texts.t() / self.temperature

    def matching(
        self, image: Tensor, text: Tensor, mask: Tensor, similarity: Tensor, generator: torch.Generator
    ) -> Tensor:
        """ITM: a pass for the matched pairs, one for both halves of the negatives."""
        images, texts = (drawn(scores, generator) for scores in (similarity.t(), similarity))
        matched = self.fuse(text, mask, image)[:, 0]
        unmatched = self.fuse(
            torch.cat([text, text[texts]]), torch.cat([mask, mask[texts]]), torch.cat([image[images], image])
        )[:, 0]
        logits = self.itm_head(torch.cat([matched, unmatched])).float()
        target = torch.zeros(len(logits), dtype=torch.int64)
        target[: len(matched)] = 1
        return F.cross_entropy(logits, target)

    def filling(self, batch: PairBatch, image: Tensor) -> Tensor:
        """IMLM: masked captions through the language encoder, whose states are detached, and fusion."""
        mask, masked = batch.tokens.mask, batch.masked
        fused = self.fuse(self.read(masked.ids, mask).detach(), mask, image)
        asked = fused.gather(1, masked.positions[..., None].expand(-1, -1, fused.shape[-1]))
        return F.cross_entropy(self.fusion_head(asked).float().flatten(0, 1), masked.labels.flatten())


def drawn(scores: Tensor, generator: torch.Generator) -> Tensor:
    """[B] int64 the hard negative of each row of [B, B] scores."""
    return torch.multinomial((scores.softmax(1) + FLOOR).fill_diagonal_(0), 1, generator=generator)[:, 0]


def masked_error(predicted: Tensor, target: Tensor, patch_mask: Tensor) -> Tensor:
    """MIM: mean squared error of the masked patches, and of slot 0."""
    return F.mse_loss(predicted[:, 1:][patch_mask].float(), target[:, 1:][patch_mask].float()) + F.mse_loss(
        predicted[:, 0].float(), target[:, 0].float()
    )


def tied(head: RobertaLMHead, words: nn.Embedding) -> RobertaLMHead:
    """The head with these words as its last matrix, as transformers ties them."""
    head.decoder.weight, head.decoder.bias = words.weight, head.bias
    return head


def beit_config(config: VisionConfig) -> BeitConfig:
    """BEiT of the same shape."""
    return BeitConfig(
        hidden_size=config.width,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        intermediate_size=int(config.width * config.mlp_ratio),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=config.norm_eps,
        image_size=config.image_size,
        patch_size=config.patch_size,
        use_mask_token=True,
        use_relative_position_bias=True,
        use_mean_pooling=False,
        layer_scale_init_value=config.layer_scale,
        drop_path_rate=config.drop_path,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]  # transformers takes it undeclared
    )


def roberta_config(words: LanguageConfig, stack: LanguageConfig | FusionConfig, **more: Any) -> RobertaConfig:
    """RoBERTa with as many layers as the stack has."""
    return RobertaConfig(
        vocab_size=words.vocab_size,
        hidden_size=words.width,
        max_position_embeddings=words.max_positions,
        num_hidden_layers=stack.depth,
        num_attention_heads=stack.heads,
        intermediate_size=stack.mlp_width,
        hidden_dropout_prob=stack.dropout,
        attention_probs_dropout_prob=stack.dropout,
        type_vocab_size=1,
        layer_norm_eps=words.norm_eps,
        pad_token_id=words.pad,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]  # transformers takes it undeclared
        **more,
    )


Shared = tuple[Tensor, Tensor]
"""A tensor of the peer, and the one of ours that it stands for, of as many numbers."""


def shared(theirs: PublishedModel, ours: Any) -> Iterator[Shared]:
    """All parameters of both: the peer's, and those of our `XFM` or a part of one."""
    vision: Any = theirs.vision
    language: Any = theirs.language
    yield vision.embeddings.cls_token, ours.vision.cls
    yield vision.embeddings.mask_token, ours.vision.mask_vector
    yield from alike(vision.embeddings.patch_embeddings.projection, ours.vision.patch_embed)
    yield from alike(vision.layernorm, ours.vision.norm)
    for layer, block in zip(vision.layers, ours.vision.blocks, strict=True):
        assert isinstance(block, VisionBlock)
        yield from vision_layer(layer, block)
    for found, own in (
        (language.embeddings, ours.language.embeddings),
        (theirs.embeddings, ours.fusion.embeddings),
    ):
        yield found.word_embeddings.weight, own.words.weight
        yield found.position_embeddings.weight, own.positions.weight
        yield found.token_type_embeddings.weight, own.token_type
        yield from alike(found.LayerNorm, own.norm)
    for layer, own in zip(
        [*language.encoder.layer, *theirs.fusion], [*ours.language.layers, *ours.fusion.layers], strict=True
    ):
        yield from text_layer(layer, own)
    for head, own in ((theirs.language_head, ours.language_head), (theirs.fusion_head, ours.fusion_head)):
        yield from alike(head.dense, own.dense)
        yield from alike(head.layer_norm, own.norm)
        yield head.bias, own.bias
    yield theirs.temperature, ours.temperature
    for name in ("vision_proj", "text_proj", "itm_head", "bbox_head"):
        yield from alike(getattr(theirs, name), getattr(ours, name))


def alike(theirs: nn.Module, ours: nn.Module) -> Iterator[Shared]:
    """Parameters of modules that have the same ones in the same order."""
    yield from zip(theirs.parameters(), ours.parameters(), strict=True)


def vision_layer(theirs: Any, ours: VisionBlock) -> Iterator[Shared]:
    """Of one block."""
    attention, own = theirs.attention, ours.attention
    for part, weight in zip(
        (attention.q_proj, attention.k_proj, attention.v_proj), own.qkv.weight.chunk(3), strict=True
    ):
        yield part.weight, weight
    yield attention.q_proj.bias, own.q_bias
    yield attention.v_proj.bias, own.v_bias
    yield theirs.relative_position_bias.relative_position_bias_table, own.relative_position_table
    yield theirs.lambda_1, ours.gamma1
    yield theirs.lambda_2, ours.gamma2
    yield from alike(attention.o_proj, own.out)
    yield from alike(theirs.layernorm_before, ours.norm1)
    yield from alike(theirs.layernorm_after, ours.norm2)
    yield from alike(theirs.mlp.fc1, ours.fc1)
    yield from alike(theirs.mlp.fc2, ours.fc2)


def text_layer(theirs: Any, ours: Any) -> Iterator[Shared]:
    """Of one layer of language or fusion."""
    found, own = theirs.attention, ours.attention
    yield from packed((found.self.query, found.self.key, found.self.value), own.qkv)
    yield from alike(found.output.dense, own.out)
    yield from alike(found.output.LayerNorm, own.norm)
    if hasattr(ours, "cross_attention"):
        found, own = theirs.crossattention, ours.cross_attention
        yield from alike(found.self.query, own.query)
        yield from packed((found.self.key, found.self.value), own.key_value)
        yield from alike(found.output.dense, own.out)
        yield from alike(found.output.LayerNorm, own.norm)
    yield from alike(theirs.intermediate.dense, ours.feed_forward.fc1)
    yield from alike(theirs.output.dense, ours.feed_forward.fc2)
    yield from alike(theirs.output.LayerNorm, ours.feed_forward.norm)


def packed(theirs: tuple[nn.Linear, ...], ours: nn.Linear) -> Iterator[Shared]:
    """Of layers that are one of ours, one after the other."""
    count = len(theirs)
    for part, weight, bias in zip(theirs, ours.weight.chunk(count), ours.bias.chunk(count), strict=True):
        yield part.weight, weight
        yield part.bias, bias


def published_model(ours: XFM) -> PublishedModel:
    """The peer on the very weights of ours, with gradients of its own."""
    theirs = PublishedModel(ours.config)
    for found, own in shared(theirs, ours):
        assert isinstance(found, nn.Parameter)
        found.data = own.detach().view_as(found)
    return theirs.train(ours.training)
