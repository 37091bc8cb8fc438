"""Encoders that other libraries compute: vision transformers of timm, text encoders of transformers."""

import json
from pathlib import Path
from typing import Any

from xfm.config.model import TimmVisionConfig, TransformersTextConfig
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError
from xfm.interop.parts import LanguagePart, VisionPart
from xfm.interop.sources import (
    SETTING_FILES,
    TOKENIZER_FILES,
    fetch,
    fill,
    read_licence,
    read_settings,
)
from xfm.interop.vocabularies import read_tokenizer
from xfm.modeling.folder import Preprocessing
from xfm.modeling.timm_vision import TimmVision, check_trunk, import_timm
from xfm.modeling.transformers_text import (
    TransformersText,
    first_line,
    import_transformers,
    safe_settings,
)


def read_timm(name: str, reference: str) -> VisionPart:
    """A vision transformer of timm with its weights.

    Args:
        name: timm's name, such as `vit_base_patch16_dinov3` (with a tag or without), or a folder that timm's
            `save_for_hf` wrote.
        reference: what the user called it.

    Raises:
        UserError: timm is not installed, has no such model, cannot get the weights, or it is no plain vision
            transformer.
    """
    timm = import_timm()
    source = f"local-dir:{name}" if Path(name).is_dir() else name
    if source is name and not timm.is_model(name):
        raise UserError(
            f"timm {timm.__version__} has no model {name}; see timm.list_models(), or upgrade timm"
        )
    try:
        if source is name:  # before anything is downloaded
            check_trunk(timm.create_model(name, pretrained=False), name)
        trunk = timm.create_model(source, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
        raise UserError(
            f"timm cannot load {name} ({first_line(error)}); check the name and the connection, or give a "
            "folder with its config.json and model.safetensors"
        ) from error
    check_trunk(trunk, name)
    cfg = trunk.pretrained_cfg
    encoder = TimmVision(_timm_config(trunk, cfg["architecture"]))
    own, wanted = trunk.state_dict(), encoder.trunk.state_dict()
    for key, tensor in wanted.items():
        if key not in own or own[key].shape != tensor.shape:
            raise UserError(f"{name} is no plain {cfg['architecture']}: {key} differs; take a standard model")
    encoder.trunk.load_state_dict(own)
    preprocessing = Preprocessing(encoder.config.image_size, tuple(cfg["mean"]), tuple(cfg["std"]))
    provenance = {"reference": reference, "licence": cfg.get("license"), "timm": timm.__version__}
    return VisionPart(encoder.eval(), preprocessing, provenance, fresh=("mask_vector",))


def _timm_config(trunk: Any, architecture: str) -> TimmVisionConfig:
    height, width = trunk.patch_embed.img_size
    return TimmVisionConfig(
        architecture=architecture,
        image_size=height,
        image_width=None if width == height else width,
        patch_size=trunk.patch_embed.patch_size[0],
        width=trunk.embed_dim,
        depth=len(trunk.blocks),
        heads=trunk.blocks[0].attn.num_heads,
    )


def read_transformers(name: str, reference: str) -> LanguagePart:
    """A text encoder of transformers with its weights and tokenizer.

    Args:
        name: a folder, or a name of the hub, such as `answerdotai/ModernBERT-base`.
        reference: what the user called it.

    Raises:
        UserError: transformers is not installed, does not know the model without running its own code, or it
            is no text encoder.
    """
    transformers = import_transformers()
    folder = fetch(name, [*SETTING_FILES, *TOKENIZER_FILES])
    try:
        settings = safe_settings(read_settings(folder / "config.json"))
        trunk, loaded = transformers.AutoModel.from_pretrained(
            folder,
            config=transformers.AutoConfig.for_model(**settings),
            trust_remote_code=False,
            dtype="float32",
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise UserError(
            f"transformers cannot load {name} ({first_line(error)}); check the folder, or upgrade it"
        ) from error
    if missing := sorted(name for name in loaded["missing_keys"] if not name.startswith("pooler.")):
        raise UserError(f"{name} lacks the weights of {missing[0]}; give the folder of a whole encoder")
    tokenizer = _tokenizer(folder, transformers)
    config = TransformersTextConfig(
        settings=json.dumps(safe_settings(trunk.config.to_dict()), sort_keys=True),
        vocab_size=trunk.get_input_embeddings().num_embeddings,
        width=trunk.config.hidden_size,
        max_positions=_longest(trunk),
        pad=tokenizer.pad,
    )
    encoder = TransformersText(config)
    own = trunk.state_dict()
    state = {key: own[key] for key in encoder.trunk.state_dict() if key in own}
    fill(encoder.trunk, state, folder)
    provenance = {
        "reference": reference,
        "licence": read_licence(folder),
        "transformers": transformers.__version__,
    }
    return LanguagePart(encoder.eval(), tokenizer, provenance)


def _longest(trunk: Any) -> int:
    """Longest text in tokens; RoBERTa's position tables begin with rows that no token takes."""
    table = getattr(getattr(trunk, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return trunk.config.max_position_embeddings - (0 if padding is None else padding + 1)


def _tokenizer(folder: Path, transformers: Any) -> Tokenizer:
    """As for native encoders; where the folder has no `tokenizer.json`, transformers builds it."""
    if (folder / "tokenizer.json").is_file():
        return read_tokenizer(folder)
    try:
        backend = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        ).backend_tokenizer
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise UserError(f"{folder}: transformers finds no fast tokenizer ({first_line(error)})") from error
    return Tokenizer(backend, str(folder))
