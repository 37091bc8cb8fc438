"""Encoders that other libraries compute: vision transformers of timm, text encoders of transformers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xfm.config.encoders import MAX_DEPTH, TimmConvConfig, TimmVisionConfig, TransformersTextConfig
from xfm.core.errors import UserError, explained, import_extra
from xfm.models.encoders import VISION
from xfm.models.interop import sources
from xfm.models.timm_encoders import conv_stages, is_transformer
from xfm.models.transformers_encoders import TransformersText, checked_config, safe_settings

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".tar")


def read_timm(name: str, reference: str) -> sources.EncoderPart:
    """Vision transformer or convolutional network of timm by name or `save_for_hf` folder, with its weights;
    a UserError without timm, weights or for other architectures."""
    timm = import_extra("timm", "this model")
    source = f"local-dir:{name}" if Path(name).is_dir() else name
    if source is name and not timm.is_model(name):
        raise UserError(f"timm {timm.__version__} has no model {name}; see timm.list_models()")
    remedy = "check the name and the connection, or give a folder with its config.json and model.safetensors"
    with explained(f"timm cannot load {name}", remedy):
        with torch.device("meta"):  # before anything is downloaded, and without the memory that it claims
            if source is not name:
                for file in Path(name).iterdir():
                    if file.suffix in _PICKLED:
                        sources.read_pickle(file)
                arguments = sources.read_settings(Path(name) / "config.json").get("model_args")
                depth = arguments.get("depth") if isinstance(arguments, dict) else None
                if isinstance(depth, int) and depth > MAX_DEPTH:
                    raise UserError(f"{name}/config.json asks for {depth} blocks; it is damaged")
            shapes = timm.create_model(source, pretrained=False, num_classes=0)
        config = timm_config(shapes, name)
        if source is not name:
            claimed = sum(parameter.numel() for parameter in shapes.parameters())
            if claimed > max(file.stat().st_size for file in Path(name).iterdir()):
                raise UserError(
                    f"{name}/config.json claims {claimed:,} values, more than any file has; copy it again"
                )
        trunk = timm.create_model(source, pretrained=True, num_classes=0)
    cfg = trunk.pretrained_cfg
    encoder = VISION[type(config)](config)
    own, wanted = trunk.state_dict(), encoder.trunk.state_dict()
    for key, tensor in wanted.items():
        if key not in own or own[key].shape != tensor.shape:
            raise UserError(f"{name} is no plain {cfg['architecture']}: {key} differs; take a standard model")
    encoder.trunk.load_state_dict(own)
    shown = sources.preprocessing(
        name, encoder.config.image_size, cfg.get("mean"), cfg.get("std"), encoder.config.image_width
    )
    provenance = {"reference": reference, "licence": cfg.get("license"), "timm": timm.__version__}
    return sources.EncoderPart(encoder.eval(), provenance, shown, fresh=("mask_vector",))


def timm_config(trunk: Any, name: str) -> TimmVisionConfig:
    """The configuration of a network of timm, on any device; a UserError for one of another kind."""
    features, stages = getattr(trunk, "feature_info", None), conv_stages(trunk)
    if is_transformer(trunk):
        kind, (height, width), layers = TimmVisionConfig, trunk.patch_embed.img_size, trunk.blocks
        patch, channels, heads = trunk.patch_embed.patch_size[0], trunk.embed_dim, layers[0].attn.num_heads
    elif features and stages:
        kind, (_, height, width), layers = TimmConvConfig, trunk.pretrained_cfg["input_size"], stages
        patch, channels, heads = features[-1]["reduction"], trunk.head_hidden_size, 1
    else:
        raise UserError(
            f"{name} is neither a plain vision transformer nor a convolutional network with stages; take "
            "one, such as vit_base_patch16_224 or efficientnet_lite0"
        )
    return kind(
        architecture=trunk.pretrained_cfg["architecture"],
        image_size=height,
        image_width=None if width == height else width,
        patch_size=patch,
        width=channels,
        depth=len(layers),
        heads=heads,
    )


def refuse_what_transformers_would_run(folder: Path) -> None:
    """A UserError for a folder whose files would load something else, or unpack to any size."""
    # transformers would load the model that it names, from wherever that lies
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{folder} holds an adapter; merge it into its model and give that one's folder")
    for file in folder.glob("*.bin"):
        sources.refuse_bomb(file)


def read_transformers(name: str, reference: str) -> sources.EncoderPart:
    """Text encoder of transformers with weights and tokenizer, by folder or hub name; a UserError where it
    needs remote code or is no text encoder."""
    transformers = import_extra("transformers", "this model")
    folder = sources.fetch_repository(name, [*sources.SETTING_FILES, *sources.TOKENIZER_FILES])
    refuse_what_transformers_would_run(folder)
    trunk = load_with_transformers(folder, name, sources.read_settings(folder / "config.json"), ("pooler.",))
    tokenizer = sources.read_tokenizer(folder)
    positions = getattr(getattr(trunk, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    before = 0 if padding is None else padding + 1
    config = TransformersTextConfig(
        settings=json.dumps(safe_settings(trunk.config.to_dict()), sort_keys=True),
        vocab_size=trunk.get_input_embeddings().num_embeddings,
        width=trunk.config.hidden_size,
        max_positions=trunk.config.max_position_embeddings - before,
        pad=tokenizer.pad,
    )
    pooled = tuple(key for key in trunk.state_dict() if key.startswith("pooler."))
    state = {f"trunk.{key}": t for key, t in trunk.state_dict().items() if key not in pooled}
    encoder = sources.filled(lambda: TransformersText(config), state, folder)
    source = {"reference": reference, "licence": sources.read_licence(folder)}
    return sources.EncoderPart(
        encoder.eval(), source | {"transformers": transformers.__version__}, tokenizer=tokenizer
    )


def load_with_transformers(
    folder: Path, reference: str, settings: Mapping[str, Any], optional: tuple[str, ...] = ()
) -> Any:
    """Model of a folder by transformers, in float32; a UserError where it cannot be read, or lacks weights
    other than those whose names begin with one of `optional`."""
    transformers = import_extra("transformers", "this model")
    with explained(f"transformers cannot load {reference}", "check the folder, or upgrade it"):
        model, loaded = transformers.AutoModel.from_pretrained(
            folder,
            config=checked_config(settings),
            trust_remote_code=False,
            dtype="float32",
            output_loading_info=True,
        )
    if missing := sorted(name for name in loaded["missing_keys"] if not name.startswith(optional)):
        raise UserError(f"{reference} lacks the weights of {missing[0]}; give the folder of a whole model")
    return model
