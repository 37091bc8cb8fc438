"""Key names of the published checkpoints, in both directions.

A native tensor is one published tensor up to shape, or the concatenation of several (packed queries, keys,
values): linear and exact, so gradients translate, too. A task's tensors have the prefix `task.`. Pre-training
files name the text encoder `text_encoder.roberta.*`, fine-tuned ones `text_encoder.*`; fusion encoder and
decoder keep `roberta.` in both.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.config.encoders import LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.task import ImageHead, TaskConfig
from xfm.config.tasks import CAPTIONING, GROUNDING, IMAGE_CLASSIFICATION, RETRIEVAL, SENTENCE_SIMILARITY, VQA
from xfm.core.errors import UserError
from xfm.models.vision import relative_position_index

TASK_PREFIX = "task."
_NORM = ("weight", "bias")
_FOREIGN = "the {} encoder is one of {}, and the published format has names for X-FM's own encoders only"


@dataclass(frozen=True)
class Entry:
    """A native tensor as the published tensors that it concatenates on axis 0, with `leading` axes of
    length one in the published shape (negative: in the native one)."""

    native: str
    published: tuple[str, ...]
    leading: int = 0

    def to_native(self, parts: list[Tensor]) -> Tensor:
        """The native tensor of the published ones."""
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        shape = (1, *whole.shape) if self.leading < 0 else whole.shape[self.leading :]
        return whole.reshape(shape)

    def to_published(self, whole: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Published names and tensors of the native one."""
        if self.leading < 0:
            return iter([(self.published[0], whole.reshape(whole.shape[1:]))])
        parts = whole.reshape(*[1] * self.leading, *whole.shape).chunk(len(self.published))
        return zip(self.published, parts, strict=True)


def layout(config: ModelConfig, task: TaskConfig | None = None) -> list[Entry]:
    """Every used tensor of a pre-training file or, with a task, a fine-tuned one; a UserError for encoders
    or tasks without published names."""
    vision, language = native_parts(config)
    text = "text_encoder.roberta" if task is None else "text_encoder"
    entries = vision_entries(vision.depth)
    entries += text_entries("language", text, language.depth, cross=False)
    entries += text_entries("fusion", "fusion_encoder.roberta", config.fusion.depth, cross=True)
    entries += token_head_entries("fusion_head", "fusion_encoder")
    if task is None:
        heads = _mlp("itm_head") + _mlp("bbox_head") + token_head_entries("language_head", "text_encoder")
        return entries + _contrast() + heads
    if task.spec.classes:
        parts = (0, 1, 3)
        if task.kind == IMAGE_CLASSIFICATION.name:
            if task.image_head is not ImageHead.PUBLISHED:
                raise ValueError("a linear head of image classification has no published names")
            parts = (0, 1, 3, 4, 6, 7, 9, 10, 12)
        return entries + _mlp(f"{TASK_PREFIX}head", "cls_head", parts)
    if task.kind == RETRIEVAL.name:
        return entries + _contrast() + _mlp("itm_head")
    if task.kind == GROUNDING.name:
        return entries + _mlp("bbox_head")
    if task.kind == CAPTIONING.name:
        raise UserError("the published code cannot write captions, so it has no names for such a decoder")
    if task.kind == SENTENCE_SIMILARITY.name:
        raise UserError("the published code compares no texts with each other, so it has no such files")
    decoder = text_entries(f"{TASK_PREFIX}decoder", "text_decoder.roberta", config.fusion.depth, cross=True)
    return entries + decoder + token_head_entries(f"{TASK_PREFIX}decoder.head", "text_decoder")


def native_parts(config: ModelConfig) -> tuple[VisionConfig, LanguageConfig]:
    """Configurations of both encoders; a UserError for another library's or a BERT."""
    vision, language = config.vision, config.language
    if not isinstance(vision, VisionConfig):
        raise UserError(_FOREIGN.format("vision", "timm"))
    if vision.stem:
        raise UserError("the vision encoder has a stem (vision.stem), and the published one has none")
    if not isinstance(language, LanguageConfig):
        raise UserError(_FOREIGN.format("language", "transformers"))
    if (language.segments, language.first_position, language.pad) != (1, 2, 1):
        raise UserError("the language encoder is a BERT, and the published format is RoBERTa's")
    return vision, language


def to_published(
    state: Mapping[str, Tensor], config: ModelConfig, task: TaskConfig | None = None
) -> dict[str, Tensor]:
    """Published tensors (or gradients) of the native ones in `state`."""
    return {
        name: part
        for entry in layout(config, task)
        if entry.native in state
        for name, part in entry.to_published(state[entry.native])
    }


def _contrast() -> list[Entry]:
    entries = [Entry("temperature", ("temp",), leading=-1)]
    return entries + _same("vision_proj", "vision_proj") + _same("text_proj", "text_proj")


def _mlp(native: str, published: str = "", parts: tuple[int, ...] = (0, 1, 3)) -> list[Entry]:
    return [one for part in parts for one in _same(f"{native}.{part}", f"{published or native}.{part}")]


def _same(native: str, *published: str) -> list[Entry]:
    return [Entry(f"{native}.{kind}", tuple(f"{name}.{kind}" for name in published)) for kind in _NORM]


def vision_entries(depth: int) -> list[Entry]:
    """Entries of the vision encoder."""
    entries = [
        Entry("vision.cls", ("vision_encoder.cls_token",), leading=2),
        Entry("vision.mask_vector", ("vision_encoder.mask_token",), leading=2),
        *_same("vision.patch_embed", "vision_encoder.patch_embed.proj"),
        *_same("vision.norm", "vision_encoder.fc_norm"),
    ]
    for i in range(depth):
        ours, theirs = f"vision.blocks.{i}", f"vision_encoder.blocks.{i}"
        attention = {
            "q_bias": "q_bias",
            "v_bias": "v_bias",
            "relative_position_table": "relative_position_bias_table",
            "qkv.weight": "qkv.weight",
        }
        entries += [Entry(f"{ours}.attention.{a}", (f"{theirs}.attn.{b}",)) for a, b in attention.items()]
        entries += [Entry(f"{ours}.gamma{n}", (f"{theirs}.gamma_{n}",)) for n in (1, 2)]
        entries += _same(f"{ours}.attention.out", f"{theirs}.attn.proj")
        for part, name in {"norm1": "norm1", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}.items():
            entries += _same(f"{ours}.{part}", f"{theirs}.{name}")
    return entries


def text_entries(native: str, published: str, depth: int, cross: bool) -> list[Entry]:
    """Entries of a text encoder, or with cross-attention of fusion encoder or decoder."""
    ours, theirs = f"{native}.embeddings", f"{published}.embeddings"
    entries = [
        Entry(f"{ours}.words.weight", (f"{theirs}.word_embeddings.weight",)),
        Entry(f"{ours}.positions.weight", (f"{theirs}.position_embeddings.weight",)),
        Entry(f"{ours}.token_type", (f"{theirs}.token_type_embeddings.weight",), leading=1),
        *_same(f"{ours}.norm", f"{theirs}.LayerNorm"),
    ]
    for i in range(depth):
        ours, theirs = f"{native}.layers.{i}", f"{published}.encoder.layer.{i}"
        inner = [f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")]
        entries += _same(f"{ours}.attention.qkv", *inner)
        entries += _same(f"{ours}.attention.out", f"{theirs}.attention.output.dense")
        entries += _same(f"{ours}.attention.norm", f"{theirs}.attention.output.LayerNorm")
        if cross:
            entries += _same(f"{ours}.cross_attention.query", f"{theirs}.crossattention.self.query")
            inner = [f"{theirs}.crossattention.self.{part}" for part in ("key", "value")]
            entries += _same(f"{ours}.cross_attention.key_value", *inner)
            entries += _same(f"{ours}.cross_attention.out", f"{theirs}.crossattention.output.dense")
            entries += _same(f"{ours}.cross_attention.norm", f"{theirs}.crossattention.output.LayerNorm")
        entries += _same(f"{ours}.feed_forward.fc1", f"{theirs}.intermediate.dense")
        entries += _same(f"{ours}.feed_forward.fc2", f"{theirs}.output.dense")
        entries += _same(f"{ours}.feed_forward.norm", f"{theirs}.output.LayerNorm")
    return entries


def token_head_entries(native: str, published: str) -> list[Entry]:
    """Entries of a token head."""
    return [
        Entry(f"{native}.bias", (f"{published}.lm_head.bias",)),
        *_same(f"{native}.dense", f"{published}.lm_head.dense"),
        *_same(f"{native}.norm", f"{published}.lm_head.layer_norm"),
    ]


LeftOutTensors = tuple[dict[str, str], dict[str, Tensor], frozenset[str]]
"""Tensors left out when a file is read: tied copies and their source, integer constants, unused caption
heads."""


def spare(config: ModelConfig, task: TaskConfig | None = None) -> LeftOutTensors:
    """Spare tensors of a pre-training or fine-tuned file."""
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
    return copies, constants, frozenset(unused)


def canonical(name: str) -> str:
    """One name for all variants of a key: without `module.` and the `roberta.` level, `visual_encoder` as
    `vision_encoder`."""
    name = re.sub(r"^(module\.)+", "", name)
    name = re.sub(r"^visual_encoder\.", "vision_encoder.", name)
    return re.sub(r"^(text_encoder|fusion_encoder|text_decoder)\.roberta\.", r"\1.", name)


def part_of(name: str) -> str:
    """Part of the model of a tensor: an encoder, its head, or a head."""
    first, _, rest = name.partition(".")
    head = re.match(r"(lm_head|lm_cap_head)\.", rest)
    return f"{first}.{head[1]}" if head else first
