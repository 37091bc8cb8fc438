"""RoBERTa, XLM-R and BERT weights for the native language encoder, from folders in transformers' layout."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.encoders import LanguageConfig
from xfm.config.plain import to_plain
from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.models.interop.sources import (
    LanguagePart,
    filled,
    read_licence,
    read_settings,
    read_tokenizer,
    read_weights,
    renamed,
    weights_file,
)
from xfm.models.language import LanguageEncoder

_PREFIX = re.compile(r"^(?:roberta|bert|xlm_roberta|camembert)\.")
_LAYER = r"encoder\.layer\.(\d+)\."
_KIND = r"\.(weight|bias)"
_RENAMED = [
    (r"embeddings\.word_embeddings\.weight", "embeddings.words.weight"),
    (r"embeddings\.position_embeddings\.weight", "embeddings.positions.weight"),
    (r"embeddings\.token_type_embeddings\.weight", "embeddings.token_type"),
    (r"embeddings\.LayerNorm" + _KIND, r"embeddings.norm.\1"),
    (_LAYER + r"attention\.self\.(query|key|value)" + _KIND, r"layers.\1.attention.\2.\3"),
    (_LAYER + r"attention\.output\.dense" + _KIND, r"layers.\1.attention.out.\2"),
    (_LAYER + r"attention\.output\.LayerNorm" + _KIND, r"layers.\1.attention.norm.\2"),
    (_LAYER + r"intermediate\.dense" + _KIND, r"layers.\1.feed_forward.fc1.\2"),
    (_LAYER + r"output\.dense" + _KIND, r"layers.\1.feed_forward.fc2.\2"),
    (_LAYER + r"output\.LayerNorm" + _KIND, r"layers.\1.feed_forward.norm.\2"),
    (r"(?:lm_head\.dense|cls\.predictions\.transform\.dense)" + _KIND, r"head.dense.\1"),
    (r"(?:lm_head\.layer_norm|cls\.predictions\.transform\.LayerNorm)" + _KIND, r"head.norm.\1"),
    (r"(?:lm_head|cls\.predictions)\.bias", "head.bias"),
]
_ROBERTA = frozenset({"roberta", "xlm-roberta", "camembert"})
_HEAD = frozenset({"dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias"})


def read_bert(folder: Path, reference: str) -> LanguagePart:
    """A RoBERTa, XLM-R or BERT folder with its tokenizer and, where present, MLM head; a UserError for
    other kinds."""
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; give the folder with config.json, weights and tokenizer")
    settings = read_settings(folder / "config.json")
    _check_kind(settings, folder)
    tokenizer = read_tokenizer(folder)
    config = _config(settings, tokenizer.eos, folder)
    if tokenizer.pad != config.pad or tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens and pads with {tokenizer.pad}, but "
            f"config.json says {config.vocab_size} and {config.pad}; copy the folder again"
        )
    file = weights_file(folder)
    state, head, ignored = native_names(read_weights(file), config)
    encoder = filled(lambda: LanguageEncoder(config), state, file)
    return LanguagePart(
        encoder.eval(),
        tokenizer,
        {"reference": reference, "licence": read_licence(folder)},
        head if head.keys() == _HEAD else {},
        ignored,
    )


def native_names(
    stored: Mapping[str, Tensor], config: LanguageConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[str, ...]]:
    """Tensors by the names of `LanguageEncoder` and of `TokenHead`, and the names without place."""
    found, ignored = renamed(stored, _RENAMED, _bare)
    types = found.get("embeddings.token_type")
    if types is not None and config.segments == 1:
        found["embeddings.token_type"] = types[0]
    for layer in range(config.depth):
        for kind in ("weight", "bias"):
            names = [f"layers.{layer}.attention.{part}.{kind}" for part in ("query", "key", "value")]
            if all(name in found for name in names):
                found[f"layers.{layer}.attention.qkv.{kind}"] = torch.cat([found.pop(name) for name in names])
    head = {name[5:]: found.pop(name) for name in list(found) if name.startswith("head.")}
    return found, head, ignored


def _bare(name: str) -> str:
    bare = _PREFIX.sub("", name).replace("LayerNorm.gamma", "LayerNorm.weight")
    return bare.replace("LayerNorm.beta", "LayerNorm.bias")  # as the first BERTs were written


def _check_kind(settings: Mapping[str, Any], folder: Path) -> None:
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in _ROBERTA | {"bert"}:
        raise UserError(
            f"{folder / 'config.json'}: model_type is {kind}, which has no native encoder; "
            "take the model through hf:NAME"
        )
    for key, wanted in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if settings.get(key, wanted) != wanted:
            raise UserError(
                f"{folder / 'config.json'}: {key} is {settings[key]}, the native encoder has {wanted}; "
                "take the model through hf:NAME"
            )


def _config(settings: Mapping[str, Any], separator: int, folder: Path) -> LanguageConfig:
    roberta = settings["model_type"] in _ROBERTA
    pad = settings.get("pad_token_id", 1 if roberta else 0)
    try:
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
        )
        # Through the reader of our own files: numbers of other types are refused there.
        return from_plain(LanguageConfig, to_plain(config), folder / "config.json")
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{folder / 'config.json'} describes no text encoder ({error})") from error
