"""Sizes and tasks of a model from the shapes of its published tensors."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from xfm.config import tasks
from xfm.config.encoders import Grid
from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.task import ImageHead, TaskConfig
from xfm.core.errors import UserError, explained
from xfm.models.interop.published.file import read_published
from xfm.models.interop.published.names import canonical, native_parts, part_of

State = Mapping[str, Tensor]
MOST_PATCHES = 64
"""Along a side: what attention over all pairs of patches can still hold."""


def _shape(source: str, state: State, name: str, rank: int) -> tuple[int, ...]:
    tensor = state.get(name)
    if tensor is None:
        raise UserError(f"{source} has no tensor {name}, so it is no published X-FM checkpoint")
    if tensor.ndim != rank or 0 in tensor.shape:
        raise UserError(f"{source}: {name} has shape {list(tensor.shape)}, not {rank} axes; it is damaged")
    return tuple(tensor.shape)


def _depth(state: State, layers: str) -> int:
    pattern = re.compile(re.escape(layers) + r"\.(\d+)\.")
    return len({match[1] for name in state if (match := pattern.match(name))})


def model_config(source: str, state: State, like: ModelConfig, heads: int | None) -> ModelConfig:
    """Configuration of a published state under canonical names; `like` gives dropout, drop-path, a non-square
    grid with as many positions, and the heads of text and fusion where widths agree, else `heads`."""
    if heads is not None and heads < 1:
        raise UserError(f"{source}: it cannot have {heads} attention heads; give at least 1 as --heads")
    shape = partial(_shape, source, state)
    width, _, patch, _ = shape("vision_encoder.patch_embed.proj.weight", 4)
    rows, vision_heads = shape("vision_encoder.blocks.0.attn.relative_position_bias_table", 2)
    like_vision, like_language = native_parts(like)
    grid = _grid(source, rows, like_vision.grid)
    hidden, _ = shape("vision_encoder.blocks.0.mlp.fc1.weight", 2)
    vocab, text_width = shape("text_encoder.embeddings.word_embeddings.weight", 2)
    positions, _ = shape("text_encoder.embeddings.position_embeddings.weight", 2)
    text_hidden, _ = shape("text_encoder.encoder.layer.0.intermediate.dense.weight", 2)
    fusion_hidden, _ = shape("fusion_encoder.encoder.layer.0.intermediate.dense.weight", 2)
    if heads is None and text_width != like_language.width:
        raise UserError(
            f"{source}: the tensors do not tell the number of attention heads, and a text width of "
            f"{text_width} is not that of the recipe; give it with --heads (in Python, heads=)"
        )
    ratio = like_vision.mlp_ratio
    if int(width * ratio) != hidden:
        ratio = hidden / width
        ratio = ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)
    projection = shape("vision_proj.weight", 2)[0] if "vision_proj.weight" in state else like.projection
    with explained(f"{source} does not describe a model", "is it of X-FM?", ValueError, ArithmeticError):
        return replace(
            like,
            vision=replace(
                like_vision,
                image_size=grid[0] * patch,
                image_width=None if grid[0] == grid[1] else grid[1] * patch,
                patch_size=patch,
                width=width,
                depth=_depth(state, "vision_encoder.blocks"),
                heads=vision_heads,
                mlp_ratio=ratio,
            ),
            language=replace(
                like_language,
                vocab_size=vocab,
                width=text_width,
                depth=_depth(state, "text_encoder.encoder.layer"),
                heads=heads or like_language.heads,
                mlp_width=text_hidden,
                max_positions=positions,
            ),
            fusion=replace(
                like.fusion,
                depth=_depth(state, "fusion_encoder.encoder.layer"),
                heads=heads or like.fusion.heads,
                mlp_width=fusion_hidden,
            ),
            projection=projection,
        )


def _grid(source: str, rows: int, like: Grid) -> Grid:
    if rows == (2 * like[0] - 1) * (2 * like[1] - 1) + 3:
        return like
    side = math.isqrt(max(rows - 3, 0))
    if side**2 + 3 != rows or side % 2 == 0 or side > 2 * MOST_PATCHES:
        belongs = f"belongs to no square grid of at most {MOST_PATCHES} patches a side"
        raise UserError(f"{source}: a relative-position table of {rows} rows {belongs}; it is damaged")
    return (side + 1) // 2, (side + 1) // 2


def task_candidates(source: str, state: State, config: ModelConfig) -> list[TaskConfig | None]:
    """Possible tasks of a file by its heads; None for pre-training."""
    if any(name.startswith("text_decoder.") for name in state):
        return [TaskConfig(tasks.VQA.name)]
    if any(name.startswith("cls_head.") for name in state):
        shape = partial(_shape, source, state)
        if "cls_head.12.weight" in state:
            classes = shape("cls_head.12.weight", 2)[0]
            return [TaskConfig(tasks.IMAGE_CLASSIFICATION.name, classes, ImageHead.PUBLISHED)]
        classes, taken = shape("cls_head.3.weight", 2)[0], shape("cls_head.0.weight", 2)[1]
        if taken == 2 * config.language.width:
            return [TaskConfig(tasks.REASONING.name, classes)]
        kinds = (tasks.TEXT_CLASSIFICATION, tasks.IMAGE_TEXT_CLASSIFICATION)
        return [TaskConfig(kind.name, classes) for kind in kinds]
    heads = {"text_encoder.lm_head.": None, "itm_head.": tasks.RETRIEVAL, "bbox_head.": tasks.GROUNDING}
    for head, spec in heads.items():
        if any(name.startswith(head) for name in state):
            return [spec and TaskConfig(spec.name)]
    raise UserError(f"{source} has encoders but no head of X-FM, neither of pre-training nor of a task")


def heads_in(config: Any) -> int | None:
    """Attention heads that a pickled config names, where it names one number."""
    found: set[int] = set()
    values = [config]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if type(heads := value.get("num_attention_heads")) is int:
                found.add(heads)
            values += value.values()
        elif isinstance(value, list):
            values += value
    return found.pop() if len(found) == 1 else None


def choose_task(
    path: Path, candidates: Sequence[TaskConfig | None], kind: str | None, own: TaskConfig | None
) -> TaskConfig | None:
    """The task among candidates: our own export's, or of `kind`; a UserError where none or several fit."""
    names = " or ".join("pre-training" if task is None else str(task.kind) for task in candidates)
    bare = own and replace(own, labels=(), answers=(), max_tokens=0, texts=0)  # what tensors can show
    if bare in candidates and kind in (None, bare and bare.kind):
        return own
    fitting = [task for task in candidates if kind is None or (task is not None and task.kind == kind)]
    if not fitting:
        raise UserError(f"{path} holds the tensors of {names}, not of {kind}; leave --task out or change it")
    if len(fitting) > 1:
        raise UserError(f"{path} holds the tensors of {names}, which are alike; say which with --task")
    return fitting[0]


def describe_published(path: Path) -> dict[str, Any]:
    """Layout, numbers by part, sizes and settings of a published file."""
    stored, settings = read_published(path)
    state = {canonical(name): tensor for name, tensor in stored.items()}
    # One attention head fits every width: no tensor shows how many there are.
    config = model_config(str(path), state, ModelConfig(), heads=1)
    counts = Counter[str]()
    for name, tensor in state.items():
        counts[part_of(name)] += tensor.numel()
    sizes = {
        "vision": ("image_size", "image_width", "patch_size", "width", "depth", "heads"),
        "language": ("vocab_size", "width", "depth", "mlp_width", "max_positions"),
        "fusion": ("depth", "mlp_width"),
    }
    plain = to_plain(config)
    return {
        "layout": " or ".join(
            "pre-training" if task is None else str(task.kind)
            for task in task_candidates(str(path), state, config)
        ),
        "values": {**counts, "total": sum(counts.values())},
        "sizes": {part: {name: plain[part][name] for name in names} for part, names in sizes.items()},
        "config": settings,
    }
