"""RoBERTa, XLM-R, BERT, BEiT and BEiT-2 weights for the native encoders, by the published names.

Text encoders lie in folders in transformers' layout. BEiTs have the layout of their published files, which is
timm's, too; one relative-position table that all blocks share is copied to every block.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.encoders import MAX_DEPTH, LanguageConfig, TextPooling, VisionConfig
from xfm.config.plain import to_plain
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, explained
from xfm.models.artifacts import Preprocessing, check_vocabulary
from xfm.models.interop import sources
from xfm.models.interop.published.names import Entry, text_entries, token_head_entries, vision_entries
from xfm.models.language import LanguageEncoder
from xfm.models.vision import VisionEncoder

_ROBERTA = frozenset({"roberta", "xlm-roberta", "camembert"})
_HEAD = frozenset({"dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias"})
_OLD = (
    (r"^(?:roberta|bert|xlm_roberta|camembert)\.", ""),
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),  # as the first BERTs were written
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
    (r"^cls\.predictions\.transform\.dense\.", "lm_head.dense."),
    (r"^cls\.predictions\.transform\.LayerNorm\.", "lm_head.layer_norm."),
    (r"^cls\.predictions\.bias$", "lm_head.bias"),
)
_TABLE = "attn.relative_position_bias_table"
_SHARED = "rel_pos_bias.relative_position_bias_table"
_UNFIT = (ValueError, TypeError, ArithmeticError)
"""Kinds of errors of a configuration with values that do not fit."""


def _native(
    entries: Sequence[Entry], stored: Mapping[str, Tensor], file: Path
) -> tuple[dict[str, Tensor], set[str]]:
    """Tensors of the entries that a file has whole, by their names in the encoder, and the names used."""
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for entry in entries:
        parts = [stored[name] for name in entry.published if name in stored]
        if len(parts) < len(entry.published):
            continue
        shown = f"{entry.published[0]} have shape {list(parts[0].shape)}, which does not fit the others"
        remedy = "the file is damaged or of another architecture"
        with explained(f"{file}: the weights of {shown}", remedy, RuntimeError):
            found[entry.native.partition(".")[2]] = entry.to_native(parts)
        used.update(entry.published)
    return found, used


# ---------------------------------------------------------------- text encoders
def read_bert(folder: Path, reference: str) -> sources.EncoderPart:
    """A RoBERTa, XLM-R or BERT folder with its tokenizer and, where present, MLM head; a UserError for
    other kinds."""
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; give the folder with config.json, weights and tokenizer")
    described = folder / "config.json"
    settings = sources.read_settings(described)
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in _ROBERTA | {"bert"}:
        raise UserError(f"{described}: model_type is {kind}, which has no native encoder; take hf:NAME")
    for key, wanted in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if settings.get(key, wanted) != wanted:
            raise UserError(f"{described}: {key} is {settings[key]}, not {wanted}; take hf:NAME")
    tokenizer = sources.read_tokenizer(folder)
    config = _text_config(settings, tokenizer.eos, folder)
    check_vocabulary(tokenizer, config, folder)
    file = sources.weights_file(folder)
    state, head, ignored = _text_tensors(sources.read_weights(file), config, file)
    encoder = sources.filled(lambda: LanguageEncoder(config), state, file)
    source = {"reference": reference, "licence": sources.read_licence(folder)}
    head = head if head.keys() == _HEAD else {}
    return sources.EncoderPart(encoder.eval(), source, tokenizer=tokenizer, head=head, ignored=ignored)


def _text_tensors(
    stored: Mapping[str, Tensor], config: LanguageConfig, file: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[str, ...]]:
    """Tensors of `LanguageEncoder` and of `TokenHead`, and the names that neither has."""
    names = {}
    for name in stored:
        bare = name
        for pattern, new in _OLD:
            bare = re.sub(pattern, new, bare)
        names[f"text.{bare}"] = name
    state = {name: stored[old] for name, old in names.items()}
    types = "text.embeddings.token_type_embeddings.weight"
    entries = text_entries("language", "text", config.depth, cross=False)
    if config.segments > 1:
        entries = [replace(one, leading=0) if one.published == (types,) else one for one in entries]
    elif types in state:
        state[types] = state[types][:1]
    found, used = _native(entries, state, file)
    head, of_head = _native(token_head_entries("head", "text"), state, file)
    return found, head, tuple(old for name, old in names.items() if name not in used | of_head)


def _text_config(settings: Mapping[str, Any], separator: int, folder: Path) -> LanguageConfig:
    roberta = settings["model_type"] in _ROBERTA
    pad = settings.get("pad_token_id", 1 if roberta else 0)
    # A folder of sentence-transformers may say so.
    by_mean = sources.read_settings(folder / "1_Pooling" / "config.json").get("pooling_mode_mean_tokens")
    with explained(f"{folder / 'config.json'} describes no text encoder", "copy it again", *_UNFIT):
        config = LanguageConfig(
            vocab_size=settings.get("vocab_size", 50265 if roberta else 30522),
            width=settings.get("hidden_size", 768),
            depth=settings.get("num_hidden_layers", 12),
            heads=settings.get("num_attention_heads", 12),
            mlp_width=settings.get("intermediate_size", 3072),
            max_positions=settings.get("max_position_embeddings", 512),
            dropout=settings.get("hidden_dropout_prob", 0.1),
            norm_eps=settings.get("layer_norm_eps", 1e-12),
            pad=pad,
            first_position=pad + 1 if roberta else 0,
            # RoBERTa never gives another type than the first.
            segments=1 if roberta else min(2, settings.get("type_vocab_size", 2)),
            separator=separator,
            pooling=TextPooling.MEAN if by_mean is True else TextPooling.FIRST,
        )
        # Through the reader of our own files: numbers of other types are refused there.
        return from_plain(LanguageConfig, to_plain(config), folder / "config.json")


# ---------------------------------------------------------------- BEiT
def read_beit(path: Path, reference: str) -> sources.EncoderPart:
    """A BEiT from a file of weights, or a folder of timm; a UserError without relative positions."""
    file = sources.weights_file(path)
    stored = sources.read_weights(file)
    folder = path if path.is_dir() else None
    settings = sources.read_settings(folder / "config.json") if folder else {}
    state, ignored = _vision_tensors(stored, file)
    config = _vision_config(state, settings, file)
    encoder = sources.filled(lambda: VisionEncoder(config), state, file, optional=frozenset({"mask_vector"}))
    source = {"reference": reference, "licence": sources.read_licence(folder) if folder else None}
    timm = settings.get("pretrained_cfg", settings)
    if isinstance(timm, Mapping) and "mean" in timm and "std" in timm:
        shown = sources.preprocessing(folder, encoder.config.image_size, timm["mean"], timm["std"])
    else:
        shown = Preprocessing(encoder.config.image_size)
    fresh = () if "mask_vector" in state else ("mask_vector",)
    return sources.EncoderPart(encoder.eval(), source, shown, fresh=fresh, ignored=ignored)


def _vision_tensors(stored: Mapping[str, Tensor], file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors of `VisionEncoder`, and the names that it has no place for."""
    if "pos_embed" in stored:
        raise UserError(f"{file} has absolute positions; take the model through timm:NAME")
    state = dict(stored)
    for kind in ("weight", "bias"):  # a fine-tuned model normalises what it pools, others every token
        if f"fc_norm.{kind}" not in state and f"norm.{kind}" in state:
            state[f"fc_norm.{kind}"] = state[f"norm.{kind}"]
    depth = 1 + max(
        (int(found[1]) for name in state if (found := re.match(r"blocks\.(\d+)\.", name))), default=-1
    )
    if depth > MAX_DEPTH:
        raise UserError(f"{file} counts {depth} blocks; it is damaged or no BEiT")
    for block in (f"blocks.{number}." for number in range(depth)):
        if block + _TABLE not in state and _SHARED not in state:
            raise UserError(f"{file} has no table of relative positions for {block[:-1]}: take timm:NAME")
        state.setdefault(block + _TABLE, state.get(_SHARED, torch.empty(0)))
        for gamma in ("gamma_1", "gamma_2"):  # no LayerScale is one of ones
            if (norm := state.get(f"{block}norm1.weight")) is not None:
                state.setdefault(block + gamma, torch.ones_like(norm))
    placed = {f"vision_encoder.{name}": tensor for name, tensor in state.items()}
    found, used = _native(vision_entries(depth), placed, file)
    known = {_SHARED, "norm.weight", "norm.bias"}
    return found, tuple(name for name in stored if f"vision_encoder.{name}" not in used and name not in known)


def _vision_config(state: Mapping[str, Tensor], settings: Mapping[str, Any], file: Path) -> VisionConfig:
    needed = ("patch_embed.weight", "blocks.0.fc1.weight", "blocks.0.attention.relative_position_table")
    if missing := [name for name in needed if name not in state]:
        raise UserError(f"{file} lacks the weights of {missing[0]}: it is no BEiT in timm's layout")
    kernel, hidden, table = (state[name] for name in needed)
    offsets = len(table) - 3
    if kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3] or isqrt(max(0, offsets)) ** 2 != offsets:
        raise UserError(f"{file}: patches or their grid are not square; take a BEiT of square pictures")
    width, patch = kernel.shape[0], kernel.shape[2]
    with explained(f"{file} is no BEiT that can be loaded", "take another one", *_UNFIT):
        return VisionConfig(
            image_size=patch * (isqrt(offsets) + 1) // 2,
            patch_size=patch,
            width=width,
            depth=len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
            heads=table.shape[1],
            mlp_ratio=hidden.shape[0] / width,
            # The published code and timm have 1e-6.
            norm_eps=float(settings.get("layer_norm_eps", 1e-6)),
        )
