"""BEiT and BEiT-2 weights for the native vision encoder: the published layout, timm's and transformers'.

The published files and timm's share their names; transformers has had two sets. One relative-position table
that all blocks share is copied to every block, where the native encoder, as fine-tuned BEiTs, has one each.
"""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.encoders import MAX_DEPTH, VisionConfig
from xfm.core.errors import UserError
from xfm.models.folder import Preprocessing
from xfm.models.interop.sources import (
    VisionPart,
    filled,
    preprocessing,
    read_licence,
    read_settings,
    read_weights,
    renamed,
    weights_file,
)
from xfm.models.vision import VisionEncoder

_PREFIX = re.compile(r"^(?:beit|data2vec_vision)\.")
_BLOCK = r"(?:blocks|encoder\.layer|layers)\.(\d+)\."
_KIND = r"\.(weight|bias)"
_RENAMED = [
    (r"(?:embeddings\.)?cls_token", "cls"),
    (r"(?:embeddings\.)?mask_token", "mask_vector"),
    (r"(?:patch_embed\.proj|embeddings\.patch_embeddings\.projection)" + _KIND, r"patch_embed.\1"),
    (_BLOCK + r"(?:norm1|layernorm_before)" + _KIND, r"blocks.\1.norm1.\2"),
    (_BLOCK + r"(?:norm2|layernorm_after)" + _KIND, r"blocks.\1.norm2.\2"),
    (_BLOCK + r"(?:gamma|lambda)_([12])", r"blocks.\1.gamma\2"),
    (_BLOCK + r"attn\.(q_bias|v_bias|qkv\.weight)", r"blocks.\1.attention.\2"),
    (_BLOCK + r"attention\.(?:attention\.)?(query|key|value)\.weight", r"blocks.\1.attention.\2"),
    (_BLOCK + r"attention\.(?:attention\.)?(q|v)(?:uery|alue)\.bias", r"blocks.\1.attention.\2_bias"),
    (_BLOCK + r"attention\.q_proj\.weight", r"blocks.\1.attention.query"),
    (_BLOCK + r"attention\.k_proj\.weight", r"blocks.\1.attention.key"),
    (_BLOCK + r"attention\.v_proj\.weight", r"blocks.\1.attention.value"),
    (_BLOCK + r"attention\.(q|v)_proj\.bias", r"blocks.\1.attention.\2_bias"),
    (
        _BLOCK + r"(?:attn\.proj|attention\.output\.dense|attention\.o_proj)" + _KIND,
        r"blocks.\1.attention.out.\2",
    ),
    (
        _BLOCK + r"(?:attn\.|attention\.attention\.relative_position_bias\.|relative_position_bias\.)"
        r"relative_position_bias_table",
        r"blocks.\1.attention.relative_position_table",
    ),
    (_BLOCK + r"(?:mlp\.fc1|intermediate\.dense)" + _KIND, r"blocks.\1.fc1.\2"),
    (_BLOCK + r"(?:mlp\.fc2|output\.dense)" + _KIND, r"blocks.\1.fc2.\2"),
    (
        r"(?:rel_pos_bias|encoder\.relative_position_bias|shared_position_bias)\.relative_position_bias_table",
        "shared_table",
    ),
    (r"(?:fc_norm|pooler\.layernorm)" + _KIND, r"pooled_norm.\1"),
    (r"(?:norm|layernorm)" + _KIND, r"norm.\1"),
]
_ABSOLUTE = ("pos_embed", "embeddings.position_embeddings")


def read_beit(path: Path, reference: str) -> VisionPart:
    """A BEiT from a file of weights, or a folder of timm or transformers; a UserError without relative
    positions."""
    file = weights_file(path)
    stored = read_weights(file)
    folder = path if path.is_dir() else None
    settings = read_settings(folder / "config.json") if folder else {}
    state, ignored = native_names(stored, file)
    config = _config(state, settings, file)
    encoder = filled(lambda: VisionEncoder(config), state, file, optional=frozenset({"mask_vector"}))
    source = {"reference": reference, "licence": read_licence(folder) if folder else None}
    return VisionPart(
        encoder.eval(),
        _preprocessing(folder, settings, encoder.config.image_size),
        source,
        fresh=() if "mask_vector" in state else ("mask_vector",),
        ignored=ignored,
    )


def native_names(stored: Mapping[str, Tensor], file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors by the names of `VisionEncoder`, and the names without place; a UserError for absolute
    positions."""
    if any(_PREFIX.sub("", name) in _ABSOLUTE for name in stored):
        raise UserError(f"{file} has absolute positions; take the model through timm:NAME")
    found, ignored = renamed(stored, _RENAMED, lambda name: _PREFIX.sub("", name))
    for vector in ("cls", "mask_vector"):
        if vector in found:
            found[vector] = found[vector].flatten()
    for kind in ("weight", "bias"):  # of a fine-tuned model, whose other norm does nothing
        if (norm := found.pop(f"pooled_norm.{kind}", None)) is not None:
            found[f"norm.{kind}"] = norm
    shared = found.pop("shared_table", None)
    if _depth(found) > MAX_DEPTH:
        raise UserError(f"{file} counts {_depth(found)} blocks; it is damaged or no BEiT")
    for block in range(_depth(found)):
        _complete_block(found, f"blocks.{block}.", shared, file)
    return found, ignored


def _depth(state: Mapping[str, Tensor]) -> int:
    return 1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=-1)


def _complete_block(state: dict[str, Tensor], block: str, shared: Tensor | None, file: Path) -> None:
    parts = [state.pop(f"{block}attention.{part}", None) for part in ("query", "key", "value")]
    if all(part is not None for part in parts):
        state[f"{block}attention.qkv.weight"] = torch.cat([part for part in parts if part is not None])
    table = state.get(f"{block}attention.relative_position_table", shared)
    if table is None:
        raise UserError(
            f"{file} has no table of relative positions for {block[:-1]}: it is no BEiT; "
            "take other vision transformers through timm:NAME"
        )
    state[f"{block}attention.relative_position_table"] = table
    norm = state.get(f"{block}norm1.weight")
    for gamma in ("gamma1", "gamma2"):
        if norm is not None and f"{block}{gamma}" not in state:
            state[f"{block}{gamma}"] = torch.ones_like(norm)


def _config(state: Mapping[str, Tensor], settings: Mapping[str, Any], file: Path) -> VisionConfig:
    needed = ("patch_embed.weight", "blocks.0.fc1.weight", "blocks.0.attention.relative_position_table")
    if missing := [name for name in needed if name not in state]:
        raise UserError(f"{file} lacks the weights of {missing[0]}: it is no BEiT")
    kernel, hidden, table = (state[name] for name in needed)
    offsets = len(table) - 3
    if kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3] or isqrt(max(0, offsets)) ** 2 != offsets:
        raise UserError(f"{file}: patches or their grid are not square; take a BEiT of square pictures")
    width, patch = kernel.shape[0], kernel.shape[2]
    try:
        return VisionConfig(
            image_size=patch * (isqrt(offsets) + 1) // 2,
            patch_size=patch,
            width=width,
            depth=_depth(state),
            heads=table.shape[1],
            mlp_ratio=hidden.shape[0] / width,
            # transformers writes its epsilon down; the published code and timm have 1e-6.
            norm_eps=float(settings.get("layer_norm_eps", 1e-6)),
        )
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{file} is no BEiT that can be loaded ({error})") from error


def _preprocessing(folder: Path | None, settings: Mapping[str, Any], image_size: int) -> Preprocessing:
    timm = settings.get("pretrained_cfg", settings)
    if isinstance(timm, Mapping) and "mean" in timm and "std" in timm:
        return preprocessing(folder, image_size, timm["mean"], timm["std"])
    values = read_settings(folder / "preprocessor_config.json") if folder else {}
    if "image_mean" in values and "image_std" in values:
        return preprocessing(folder, image_size, values["image_mean"], values["image_std"])
    return Preprocessing(image_size)
