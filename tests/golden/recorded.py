"""Reading a folder of recorded behaviour."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from xfm.config.model import FusionConfig, LanguageConfig, ModelConfig, VisionConfig
from xfm.data.schema import Batch, ImageBatch, MaskedTokens, PairBatch, RegionBatch, TextBatch, Tokens
from xfm.interop.published.names import from_published
from xfm.modeling.xfm import XFM


@dataclass(frozen=True)
class Recorded:
    """Arrays and scalars of one folder; floating tensors come as float32."""

    folder: Path

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def arrays(self, name: str) -> dict[str, Tensor]:
        stored = load_file(self.folder / name)
        return {key: t.float() if t.is_floating_point() else t for key, t in stored.items()}

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return self.arrays("inputs.safetensors") | self.arrays("images.safetensors")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        return self.arrays("outputs.safetensors")

    @cached_property
    def scalars(self) -> dict[str, float]:
        return self.json("scalars.json")

    @cached_property
    def config(self) -> ModelConfig:
        values = self.json("config.json")
        vision, text = values["vision"], values["text"]
        return ModelConfig(
            vision=VisionConfig(
                image_size=vision["image_res"],
                patch_size=vision["patch_size"],
                width=vision["width"],
                depth=vision["depth"],
                heads=vision["heads"],
                mlp_ratio=vision["mlp_ratio"],
            ),
            language=LanguageConfig(
                vocab_size=text["vocab_size"],
                width=text["hidden_size"],
                depth=text["num_hidden_layers"],
                heads=text["num_attention_heads"],
                mlp_width=text["intermediate_size"],
                max_positions=text["max_position_embeddings"],
            ),
            fusion=FusionConfig(
                depth=values["fusion"]["num_hidden_layers"],
                heads=text["num_attention_heads"],
                mlp_width=text["intermediate_size"],
            ),
            projection=values["embed_dim"],
        )

    def model(self) -> XFM:
        """The recorded model, in evaluation mode."""
        model = XFM(self.config)
        model.load_state_dict(from_published(self.arrays("checkpoint.safetensors"), self.config))
        return model.eval()

    def _texts(self, prefix: str) -> tuple[Tokens, MaskedTokens]:
        x = self.inputs
        at = "" if prefix else "text_"
        names = (f"{prefix}{at}ids", f"{prefix}{at}atts", f"{prefix}{at}ids_masked")
        ids, mask, masked_ids = (x[name] for name in names)
        tokens = Tokens(ids, mask.bool())
        return tokens, MaskedTokens(
            masked_ids,
            x[f"{prefix.removesuffix('text_')}masked_pos"],
            x[f"{prefix.removesuffix('text_')}masked_ids"],
        )

    def pair_batch(self) -> Batch:
        tokens, masked = self._texts("")
        rows = torch.arange(len(tokens.ids))
        pair = PairBatch(self.inputs["image"], tokens, masked, rows, rows, self.inputs["mim_mask"])
        return Batch(step=0, pair=pair)

    def region_batch(self) -> Batch:
        x = self.inputs
        tokens, masked = self._texts("region_text_")
        rows = torch.arange(len(tokens.ids))
        region = RegionBatch(
            pixels=x["region_image"],
            image_index=x["region_idx_to_group_img"],
            visible=x["region_image_atts"][:, 1:].bool(),
            boxes=x["region_target_bbox"],
            is_image=x["region_is_image"].bool(),
            tokens=tokens,
            masked=masked,
            image_identity=rows,
            text_identity=rows,
        )
        return Batch(step=0, region=region)

    def image_batch(self) -> Batch:
        return Batch(
            step=0, image=ImageBatch(self.inputs["imagenet_image"], self.inputs["imagenet_mim_mask"])
        )

    def text_batch(self) -> Batch:
        tokens, masked = self._texts("textonly_")
        return Batch(step=0, text=TextBatch(tokens, masked))
