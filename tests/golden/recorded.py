"""Reading a folder of recorded behaviour; every size comes from its config.json and its arrays."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.task import ImageHead, TaskConfig
from xfm.config.tasks import task_spec
from xfm.data.schema import Batch, ImageBatch, MaskedTokens, PairBatch, RegionBatch, TextBatch, Tokens
from xfm.models.interop.published.names import layout
from xfm.models.task_models import TaskModel, build_task_model
from xfm.models.xfm import XFM
from xfm.objectives.negatives import Negatives

CLASSES = "cls_targets"
LAYERS = {"depth": "num_hidden_layers", "heads": "num_attention_heads", "mlp_width": "intermediate_size"}
WORDS = {
    **{"vocab_size": "vocab_size", "width": "hidden_size", "max_positions": "max_position_embeddings"},
    **{"norm_eps": "layer_norm_eps", "segments": "type_vocab_size", "separator": "eos_token_id"},
}
"""Our names of settings, and the record's."""
TASKS = {
    "cls_text": "text-classification",
    "cls_regress": "text-classification",
    "cls_image": "image-classification",
    "cls_linearprobe": "image-classification",
    "cls_multimodal": "image-text-classification",
    "nlvr": "reasoning",
    "retrieval": "retrieval",
    "grounding": "grounding",
    "grounding_domain": "grounding",
    "vqa": "vqa",
}


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
        files = ("inputs", "images", "downstream_inputs")
        return {key: t for name in files for key, t in self.arrays(f"{name}.safetensors").items()}

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        return self.arrays("outputs.safetensors") | self.arrays("downstream_outputs.safetensors")

    @cached_property
    def scalars(self) -> dict[str, float]:
        return self.json("scalars.json") | self.json("downstream_scalars.json")["losses"]

    @cached_property
    def noise(self) -> dict[str, float]:
        """How far float32 was from float64 in the record: absolute for arrays, relative for losses."""
        found = self.json("noise.json")
        arrays = found["outputs"] | found["downstream_outputs"]
        return {name: error for name, (error, _) in arrays.items()} | found["scalars_rel"]

    @cached_property
    def gradients(self) -> dict[str, dict[str, Any]]:
        """`grads` and `none` of pre-training and of the tasks."""
        both = self.json("grads.json"), self.json("downstream_grads.json")
        return {kind: both[0][kind] | both[1][kind] for kind in ("grads", "none")}

    @cached_property
    def checkpoint(self) -> dict[str, Tensor]:
        return self.arrays("checkpoint.safetensors")

    @cached_property
    def config(self) -> ModelConfig:
        values = self.json("config.json")
        vision, text, fusion = values["vision"], values["text"], values["fusion"]
        seen = {name: vision[name] for name in ("patch_size", "width", "depth", "heads", "mlp_ratio")}
        pad, layers = text["pad_token_id"], text | fusion
        return ModelConfig(
            vision=VisionConfig(vision["image_res"], norm_eps=vision["layer_norm_eps"], **seen),
            language=LanguageConfig(
                **{ours: text[theirs] for ours, theirs in (LAYERS | WORDS).items()},
                pad=pad,
                first_position=pad + 1,
            ),
            fusion=FusionConfig(**{ours: layers[theirs] for ours, theirs in LAYERS.items()}),
            projection=values["embed_dim"],
        )

    def model(self) -> XFM:
        """The recorded model, in evaluation mode."""
        model = XFM(self.config)
        model.load_state_dict(self.native())
        return model.eval()

    def native(self) -> dict[str, Tensor]:
        """The recorded checkpoint under this package's names."""
        return {
            entry.native: entry.to_native([self.checkpoint[name] for name in entry.published])
            for entry in layout(self.config)
        }

    def added_weights(self, task: str) -> dict[str, Tensor]:
        """The parameters of a task model that its checkpoint does not have, by their published names."""
        stored = self.arrays("downstream_weights.safetensors")
        own = {n.removeprefix(f"{task}/"): t for n, t in stored.items() if n.startswith(f"{task}/")}
        return own if own or task != "cls_linearprobe" else self.added_weights("cls_image")

    def task_config(self, task: str) -> TaskConfig:
        kind = TASKS[task]
        added = self.added_weights(task)
        last = max((int(name.split(".")[1]) for name in added if name.startswith("cls_head.")), default=0)
        classes = len(added[f"cls_head.{last}.bias"]) if task_spec(kind).classes else 0
        head = ImageHead.PUBLISHED if kind == "image-classification" else ImageHead.LINEAR
        return TaskConfig(kind, classes, head)

    def task_model(self, task: str) -> TaskModel:
        """A recorded task model as a user builds it on the recorded model, with what the record adds."""
        config = self.task_config(task)
        module = build_task_model(config, self.model())
        added, renamed = self.added_weights(task), self.json("load_map.json")[task]["renamed"]
        entries = layout(self.config, config)
        # A layer that is new here (a memory of another width) may be new in part in the record.
        new = {e.native.rpartition(".")[0] for e in entries if set(e.published) & added.keys()}
        for entry in entries:
            if entry.native.rpartition(".")[0] in new:
                names = entry.published
                parts = [added.pop(n) if n in added else self.checkpoint[renamed.get(n, n)] for n in names]
                parameter = module.get_parameter(entry.native.removeprefix("task."))
                parameter.data.copy_(entry.to_native(parts))
        assert not added, f"{task}: {sorted(added)} have no place"
        return module.eval()

    def class_targets(self, task: str) -> Tensor:
        """The targets of a classifier; their name has the number of classes, or the record keeps a name."""
        config = self.task_config(task)
        if config.kind == "reasoning":
            return self.inputs["nlvr_targets"]
        if config.classes == 1:
            return self.inputs["cls_targets_reg"]
        named = {int(n.removeprefix(CLASSES)): n for n in self.inputs if re.fullmatch(rf"{CLASSES}\d+", n)}
        kept = max(named) if config.kind == "image-classification" else min(named)
        return self.inputs[named.get(config.classes, named[kept])]

    def negatives(self, prefix: str = "") -> Negatives:
        """The recorded hard negatives, which take the place of a draw."""
        image, text = (self.inputs[f"{prefix}{kind}_neg_idx"] for kind in ("image", "text"))
        return Negatives(image, text, torch.ones(len(image), dtype=torch.bool))

    def tokens(self, prefix: str) -> Tokens:
        return Tokens(self.inputs[f"{prefix}_ids"], self.inputs[f"{prefix}_atts"].bool())

    def _masked(self, text: str, prefix: str) -> MaskedTokens:
        x = self.inputs
        return MaskedTokens(x[f"{text}_ids_masked"], x[f"{prefix}masked_pos"], x[f"{prefix}masked_ids"])

    def pair_batch(self) -> Batch:
        tokens, masked = self.tokens("text"), self._masked("text", "")
        rows = torch.arange(len(tokens.ids))
        pair = PairBatch(self.inputs["image"], tokens, masked, rows, rows, self.inputs["mim_mask"])
        return Batch(step=0, pair=pair)

    def region_batch(self) -> Batch:
        x = self.inputs
        tokens = self.tokens("region_text")
        rows = torch.arange(len(tokens.ids))
        region = RegionBatch(
            pixels=x["region_image"],
            image_index=x["region_idx_to_group_img"],
            visible=x["region_image_atts"][:, 1:].bool(),
            boxes=x["region_target_bbox"],
            is_image=x["region_is_image"].bool(),
            tokens=tokens,
            masked=self._masked("region_text", "region_"),
            image_identity=rows,
            text_identity=rows,
        )
        return Batch(step=0, region=region)

    def image_batch(self) -> Batch:
        return Batch(
            step=0, image=ImageBatch(self.inputs["imagenet_image"], self.inputs["imagenet_mim_mask"])
        )

    def text_batch(self) -> Batch:
        return Batch(step=0, text=TextBatch(self.tokens("textonly"), self._masked("textonly", "textonly_")))
