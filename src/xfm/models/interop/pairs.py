"""Pairs of encoders that others have aligned: CLIP, SigLIP and SigLIP 2 of transformers, models of open_clip.

Both encoders, tokenizer, preprocessing, projections and temperature come from one folder or repository.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import normalizers, processors
from torch import Tensor

from xfm.config import encoders
from xfm.config.image import CLIP_MEAN, CLIP_STD, Framing, Interpolation
from xfm.core.errors import UserError, explained, import_extra
from xfm.core.files import read_text
from xfm.data.tokenizer import MASK_TOKEN, Tokenizer
from xfm.data.tokenizer_file import MAX_BYTES, PUNCTUATION, checked_tokenizer
from xfm.models.artifacts import Preprocessing
from xfm.models.encoders import VISION
from xfm.models.interop import sources
from xfm.models.interop.foreign import load_with_transformers, refuse_what_transformers_would_run, timm_config
from xfm.models.open_clip_encoders import OpenClipText, OpenClipVision, create_tower
from xfm.models.transformers_encoders import (
    TransformersText,
    TransformersVision,
    inner_model,
    safe_settings,
)

OPEN_CLIP = "open_clip_config.json"
_OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_POOLING = {"clip": encoders.TextPooling.LAST, "siglip": encoders.TextPooling.FILLED}
_OPEN_CLIP_POOLING = {
    "argmax": encoders.TextPooling.LAST,
    "eos": encoders.TextPooling.LAST,
    "last": encoders.TextPooling.FILLED,
    "first": encoders.TextPooling.FIRST,
}
_RESAMPLING = {2: Interpolation.BILINEAR, 3: Interpolation.BICUBIC}


@dataclass(frozen=True)
class Pair:
    """Two aligned encoders; projections are [E, D] weight and [E] bias, `bias` is SigLIP's."""

    vision: sources.EncoderPart
    language: sources.EncoderPart
    vision_proj: tuple[Tensor, Tensor]
    text_proj: tuple[Tensor, Tensor]
    temperature: float
    bias: float | None


def read_pair(reference: str) -> Pair:
    """The pair of a folder, or of a repository of the hub; a UserError where it is none that is known."""
    patterns = [*sources.SETTING_FILES, *sources.TOKENIZER_FILES, "*.model"]
    folder = sources.fetch_repository(reference, patterns, _OPEN_CLIP_WEIGHTS)
    if not folder.is_dir():
        raise UserError(f"{reference} is a file; give the folder of a whole model, with its config.json")
    settings = sources.read_settings(folder / "config.json")
    refuse_what_transformers_would_run(folder)
    if settings.get("model_type") in _POOLING:
        return _of_transformers(folder, reference, settings)
    if (folder / OPEN_CLIP).is_file():
        return _of_open_clip(folder, reference)
    kind = settings.get("model_type")
    known = "config.json of clip or siglip, or open_clip_config.json"
    if kind == "siglip2":
        known += "; of SigLIP 2, a model of one size of pictures, such as google/siglip2-base-patch16-224"
    raise UserError(f"{reference} is no aligned pair that is known (its kind is {kind}): {known} is needed")


# ---------------------------------------------------------------- transformers
def _of_transformers(folder: Path, reference: str, settings: Mapping[str, Any]) -> Pair:
    transformers = import_extra("transformers", "this model")
    pooling = _POOLING[settings["model_type"]]
    whole = load_with_transformers(folder, reference, settings)
    seen, said = whole.config.vision_config, whole.config.text_config
    tokenizer, fresh = _with_mask(_backend(folder), said.vocab_size, reference)
    shown = _processor(folder, seen.image_size)
    vision_state = inner_model(whole.vision_model, "vision").state_dict()
    text_state = inner_model(whole.text_model, "text").state_dict()
    state = whole.state_dict()
    vision_proj = _taken_projection(state, "visual_projection", seen.hidden_size)
    siglip = pooling is encoders.TextPooling.FILLED
    found = (text_state, "head") if siglip else (state, "text_projection")
    text_proj = _taken_projection(*found, said.hidden_size)
    words = "embeddings.token_embedding.weight"
    text_state[words] = _more_words(text_state[words], fresh)
    said.vocab_size += fresh
    vision_config = encoders.TransformersVisionConfig(
        settings=json.dumps(safe_settings(seen.to_dict()), sort_keys=True),
        image_size=seen.image_size,
        patch_size=seen.patch_size,
        width=seen.hidden_size,
        depth=seen.num_hidden_layers,
        heads=seen.num_attention_heads,
    )
    text_config = encoders.TransformersTextConfig(
        settings=json.dumps(safe_settings(said.to_dict()), sort_keys=True),
        vocab_size=said.vocab_size,
        width=said.hidden_size,
        max_positions=said.max_position_embeddings,
        pad=tokenizer.pad,
        pooling=pooling,
        written=True,
    )
    source = {
        "reference": reference,
        "licence": sources.read_licence(folder),
        "transformers": transformers.__version__,
    }
    vision = _filled(lambda: TransformersVision(vision_config), vision_state, folder)
    language = _filled(lambda: TransformersText(text_config), text_state, folder)
    scales = whole.logit_scale, getattr(whole, "logit_bias", None)
    return _pair((vision, language), source, shown, tokenizer, (vision_proj, text_proj), *scales)


def _pair(
    both: tuple[Any, Any], source: Any, shown: Any, tokenizer: Any, projected: tuple[Any, Any], *scales: Any
) -> Pair:
    seen = sources.EncoderPart(both[0], source, shown, fresh=("mask_vector",))
    said = sources.EncoderPart(both[1], source, tokenizer=tokenizer)
    scale, bias = scales
    temperature = float((-scale.detach()).exp())
    return Pair(seen, said, *projected, temperature, None if bias is None else float(bias.detach()))


def _filled(build: Any, state: Mapping[str, Tensor], folder: Path) -> Any:
    named = {f"trunk.{name}": tensor.detach() for name, tensor in state.items()}
    return sources.filled(build, named, folder, optional=frozenset(["mask_vector"])).eval()


def _more_words(words: Tensor, count: int) -> Tensor:
    """[V, D] words and as many more, their mean: a token that the model was never shown."""
    return torch.cat([words, words.mean(dim=0, keepdim=True).expand(count, -1)])


def _backend(folder: Path) -> tokenizers.Tokenizer:
    transformers = import_extra("transformers", "this model")
    with explained(f"{folder} has no tokenizer that can be read", "copy it again"):
        if (file := folder / "tokenizer.json").is_file():
            checked_tokenizer(read_text(file, MAX_BYTES))  # transformers would build whatever it asks for
        return _padded(transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def _padded(found: Any) -> tokenizers.Tokenizer:
    """What a tokenizer of transformers does, and the token that it pads with."""
    own = getattr(found, "backend_tokenizer", None)
    backend = _of_sentencepiece(found) if own is None else tokenizers.Tokenizer.from_str(own.to_str())
    backend.enable_padding(pad_id=found.pad_token_id, pad_token=found.pad_token)
    return backend


def _of_sentencepiece(found: Any) -> tokenizers.Tokenizer:
    """The first SigLIP's tokenizer, which transformers reads by sentencepiece and Python alone."""
    from transformers.convert_slow_tokenizer import SpmConverter

    backend = SpmConverter(found).converted()
    written = [normalizers.Lowercase(), normalizers.Replace(tokenizers.Regex(PUNCTUATION), "")]
    written += [normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    backend.normalizer = normalizers.Sequence([*written, backend.normalizer])
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {found.eos_token}",
        pair=f"$A {found.eos_token} $B {found.eos_token}",
        special_tokens=[(found.eos_token, found.eos_token_id)],
    )
    return backend


def _with_mask(backend: tokenizers.Tokenizer, vocab_size: int, reference: str) -> tuple[Tokenizer, int]:
    """The tokenizer with a mask token, and how many words the model gets more by it."""
    added = 0
    if "mask" not in {one.content.strip("<>[]|") for one in backend.get_added_tokens_decoder().values()}:
        backend.add_special_tokens([tokenizers.AddedToken(MASK_TOKEN, lstrip=True, special=True)])
        added = max(0, len(backend.get_vocab()) - vocab_size)
    return Tokenizer(backend, reference, written=True), added


def _processor(folder: Path, image_size: int) -> Preprocessing:
    path = folder / "preprocessor_config.json"
    own = sources.read_settings(path)
    if not own and (folder / "processor_config.json").is_file():
        path = folder / "processor_config.json"
        own = sources.read_settings(path).get("image_processor") or {}
    wanted = f"{path} prepares pictures otherwise than is known"
    with explained(wanted, "give a model of its usual processor", KeyError, TypeError, ValueError):
        size, crop = own["size"], own.get("crop_size") if own.get("do_center_crop") else None
        size = size if isinstance(size, dict) else {"shortest_edge" if crop else "height": size}
        crop = crop["height"] if isinstance(crop, dict) else crop
        shortest = size.get("shortest_edge")
        framing = Framing.SQUASH if shortest is None else Framing.SHORTEST
        if (crop or shortest or size["height"]) != image_size or (shortest or image_size) != image_size:
            raise ValueError(
                f"{shortest or size} pixels, {crop} of them cropped, for a model of {image_size}"
            )
        how = _RESAMPLING[own.get("resample", 3)]
        shown = sources.preprocessing(path, image_size, own["image_mean"], own["image_std"])
        return replace(shown, interpolation=how, framing=framing)


# ---------------------------------------------------------------- open_clip
def _of_open_clip(folder: Path, reference: str) -> Pair:
    library = import_extra("open_clip", "this model", "open-clip")
    told = sources.read_settings(folder / OPEN_CLIP)
    path = next((folder / name for name in _OPEN_CLIP_WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise UserError(
            f"{folder} holds no {' or '.join(_OPEN_CLIP_WEIGHTS)}; give the folder of a whole model"
        )
    with explained(f"{folder / OPEN_CLIP} does not describe a model", "copy it again", KeyError, TypeError):
        model, shown = told["model_cfg"], told.get("preprocess_cfg") or {}
        seen, said, width = model["vision_cfg"], model["text_cfg"], int(model["embed_dim"])
        image_size = int(seen.get("image_size", 224))
    cfg = json.dumps(model, sort_keys=True)
    state = library.model.convert_to_custom_text_state_dict(sources.read_weights(path))
    part = {name: _below(state, name) for name in ("visual", "text")}
    with torch.device("meta"):
        text = create_tower(cfg, "text_cfg")
    if text.pool_type not in _OPEN_CLIP_POOLING:
        raise UserError(f"{reference} pools texts by {text.pool_type}; take another model")
    backend = _open_clip_backend(folder, said)
    tokenizer, fresh = _with_mask(backend, text.vocab_size, reference)
    words = "token_embedding.weight"
    part["text"][words] = _more_words(part["text"][words], fresh)
    text_proj = _taken_projection(part["text"], "text_projection", width)
    text_config = encoders.OpenClipTextConfig(
        open_clip=cfg,
        vocab_size=text.vocab_size + fresh,
        width=text.width,
        max_positions=text.context_length,
        pad=tokenizer.pad,
        pooling=_OPEN_CLIP_POOLING[text.pool_type],
        written=True,
    )
    language = _filled(lambda: OpenClipText(text_config), part["text"], path)
    vision, vision_proj = _open_clip_vision(cfg, seen, part["visual"], image_size, width, path)
    framing = {"shortest": Framing.SHORTEST, "squash": Framing.SQUASH}.get(
        shown.get("resize_mode", "shortest")
    )
    if framing is None:
        raise UserError(f"{reference} pads pictures to a square, which is not done here; take another model")
    how = Interpolation(f"pillow-{shown.get('interpolation', 'bicubic')}")
    mean, std = shown.get("mean") or CLIP_MEAN, shown.get("std") or CLIP_STD
    seen_as = replace(sources.preprocessing(path, image_size, mean, std), interpolation=how, framing=framing)
    source = {
        "reference": reference,
        "licence": sources.read_licence(folder),
        "open_clip": library.__version__,
    }
    scales = state["logit_scale"], state.get("logit_bias")
    return _pair((vision, language), source, seen_as, tokenizer, (vision_proj, text_proj), *scales)


def _below(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")}


def _taken_projection(state: dict[str, Tensor], name: str, width: int) -> tuple[Tensor, Tensor]:
    """Weight [E, D] and bias [E] of a projection, which leaves the state: a layer, or a matrix [D, E]."""
    weight = state.pop(f"{name}.weight", None)
    if weight is None:
        matrix = state.pop(name, None)
        weight = torch.eye(width) if matrix is None else matrix.t().contiguous()
    bias = state.pop(f"{name}.bias", None)
    return weight, torch.zeros(len(weight)) if bias is None else bias


def _open_clip_vision(
    cfg: str, seen: Mapping[str, Any], state: dict[str, Tensor], image_size: int, width: int, path: Path
) -> tuple[Any, tuple[Tensor, Tensor]]:
    if architecture := seen.get("timm_model_name"):
        return _timm_vision(architecture, seen.get("timm_pool"), state, image_size, width, path)
    with torch.device("meta"):
        tower = create_tower(cfg, "vision_cfg", image_size)
    projection = _taken_projection(state, "proj", width)
    config = encoders.OpenClipVisionConfig(
        open_clip=cfg,
        image_size=image_size,
        patch_size=tower.patch_size[0],
        width=tower.conv1.out_channels,
        depth=len(tower.transformer.resblocks),
        heads=tower.transformer.resblocks[0].attn.num_heads,
    )
    return _filled(lambda: OpenClipVision(config), state, path), projection


def _timm_vision(
    architecture: str, pool: str | None, state: dict[str, Tensor], image_size: int, width: int, path: Path
) -> tuple[Any, tuple[Tensor, Tensor]]:
    """A network of timm; its projection is what the state has beyond it."""
    timm = import_extra("timm", "this model")
    with torch.device("meta"):
        trunk = timm.create_model(architecture, num_classes=0)
    usual = trunk.global_pool if isinstance(getattr(trunk, "global_pool", None), str) else "avg"
    if pool and pool != usual:
        raise UserError(f"{path} pools pictures by {pool}, not {usual} as {architecture}; take another model")
    config = replace(timm_config(trunk, architecture), image_size=image_size, image_width=None)
    own = trunk.state_dict().keys()
    held = {name.removeprefix("trunk."): tensor for name, tensor in state.items()}
    beyond = sorted(held.keys() - own)
    layers = [name.removesuffix(".weight") for name in beyond if name.endswith(".weight")]
    if len(layers) > 1:
        raise UserError(f"{path} projects pictures by more than one layer ({layers[0]}); take another model")
    projection = _taken_projection(held, layers[0] if layers else "", width)
    return _filled(lambda: VISION[type(config)](config), held, path), projection


def _open_clip_backend(folder: Path, said: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """The folder's own tokenizer, else CLIP's, which open_clip brings along."""
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json")):
        return _backend(folder)
    if named := said.get("hf_tokenizer_name"):
        raise UserError(f"{folder} has no tokenizer; put the files of {named} into it")
    own = import_extra("open_clip", "this model", "open-clip").tokenizer._tokenizer
    transformers = import_extra("transformers", "this model")
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): index for token, index in own.encoder.items()}
    return _padded(transformers.CLIPTokenizer(vocab=vocabulary, merges=[*own.bpe_ranks]))
