"""Adapters: folders of what a fine-tuning learned, read over the model that it began with.

    adapter.json               the base, its fingerprint, rank and scale
    adapter_model.safetensors  LoRA's additions, with adapter_config.json as peft has them
    changed.safetensors        other parts of the model that learned, whole: projections, matching head
    task.json, task.safetensors, config.json, preprocessor_config.json, provenance.json, self_check.json

To everything that loads a model it is one: the additions are worked into the matrices as it is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.artifacts import AdapterConfig
from xfm.config.model import ModelConfig
from xfm.config.next_command import command_line
from xfm.config.plain import to_plain
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, import_extra
from xfm.core.files import read_json_object, write_text
from xfm.core.paths import home_path
from xfm.core.results_folder import model_digest
from xfm.models.artifacts import Artifacts
from xfm.models.composition import Backbone
from xfm.models.model_files import CONFIG, WEIGHTS, as_json, save_model, saving, write_description
from xfm.models.model_reading import B, read_config, read_provenance, read_task, read_whole
from xfm.models.resolve import model_folder
from xfm.models.safetensors_header import tensor_shapes
from xfm.models.self_check import SELF_CHECK, check_of, read_check, verify
from xfm.models.weights import on_cpu, read_tensors, require_finite, require_same, write_tensors

LOW_RANK = "adapter_model.safetensors"
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


LowRank = tuple[Tensor, Tensor]
"""LoRA's addition to a linear layer, down [r, I] and up [O, r] float32: scale * up @ down."""


@torch.no_grad()
def _apply_changes(folder: Path, model: nn.Module, about: AdapterConfig) -> None:
    """Add a folder's LoRA tensors to a model's matrices, and replace what else it learned, in place."""
    if (path := folder / LOW_RANK).exists():
        linear = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}
        stored, rank = tensor_shapes(path), about.rank
        bare = (key.removeprefix(_PREFIX).removesuffix(_DOWN).removesuffix(_UP) for key in stored)
        layers = {name: linear[name] for name in dict.fromkeys(bare) if name in linear}
        with torch.device("meta"):
            wanted = {f"{_PREFIX}{n}{_DOWN}": torch.empty(rank, p.in_features) for n, p in layers.items()}
            wanted |= {f"{_PREFIX}{n}{_UP}": torch.empty(p.out_features, rank) for n, p in layers.items()}
        require_same(path, wanted, "the model")
        tensors = read_tensors(path)
        require_finite(path, tensors)
        for name, layer in layers.items():
            down, up = (tensors[f"{_PREFIX}{name}{end}"].float() for end in (_DOWN, _UP))
            layer.weight.add_((up @ down * about.scale).to(layer.weight))
    if (path := folder / CHANGED).exists():
        own = model.state_dict()
        require_same(path, {name: own[name] for name in tensor_shapes(path) if name in own}, "the model")
        stored = read_tensors(path)
        require_finite(path, stored)
        for name, tensor in stored.items():
            own[name].copy_(tensor)


ADAPTER, CHANGED = "adapter.json", "changed.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / ADAPTER).exists()  # what it is, reading says


def require_whole(folder: Path | str) -> Path:
    """The folder of a whole model, for callers that need its files; a UserError for an adapter."""
    place = model_folder(folder)
    if is_adapter(place):
        anew = f"xfm export {folder} OUT --format merged"
        raise UserError(f"{folder} is an adapter; make a whole model of it first: {anew}")
    return place


def require_base(model: Path | str) -> Path:
    """The folder of a model that adapters can be made over; a UserError for an adapter or a folder without
    weights."""
    place = require_whole(model)
    if not (place / WEIGHTS).is_file():
        raise UserError(f"{model}: an adapter is kept apart from a model folder, and this is none")
    return place


def read_model(
    folder: Path | str, build: Callable[[ModelConfig], B], check: bool = True, base: Path | str | None = None
) -> tuple[B, Artifacts]:
    """A model folder, or an adapter with its base: the model in evaluation mode on the CPU, and its
    artifacts. Raises a UserError where a file is missing, truncated or of another model, or the self-check
    differs."""
    place = model_folder(folder)
    if not is_adapter(place):
        if base is not None:
            raise UserError(f"{folder} is a whole model and stands on no base; leave the base out")
        return read_whole(place, build, check)
    about = from_plain(AdapterConfig, read_json_object(place / ADAPTER), place / ADAPTER)
    config, shown = read_config(place)
    model, own = read_whole(_base_of(place, about, base), build, check=False)
    try:  # compared first: what does not fit takes no memory
        vision = replace(model.config.vision, image_size=shown.image_size, image_width=shown.image_width)
        fits = replace(model.config, vision=vision) == config
    except ValueError:
        fits = False
    if not fits:
        raise UserError(f"{place / CONFIG} describes another model than its base; use the files of one save")
    if model.config != config:
        model.resize(shown.image_size, shown.image_width)
    _apply_changes(place, model, about)
    provenance = {key: value for key, value in read_provenance(place).items() if key != "tokenizer"}
    stored = read_check(place / SELF_CHECK)
    found = Artifacts(own.given_tokenizer, shown, provenance, read_task(place, model), None, stored)
    if check:
        verify(place, model.eval(), found)
    return model.eval(), found


def _base_of(folder: Path, about: AdapterConfig, base: Path | str | None) -> Path:
    said = about.base if base is None else base
    anew = command_line("export", folder, "OUT", format="merged", base="FOLDER")
    elsewhere = (
        f"name the folder where its base lies now: `{anew}` "
        f"makes a whole model of the two; in Python xfm.load({str(folder)!r}, base=FOLDER)"
    )
    try:
        place = model_folder(said)
    except UserError as error:  # of the hub
        raise UserError(f"{folder} is an adapter over {said}: {error}; or {elsewhere}") from error
    if is_adapter(place):
        raise UserError(f"{folder} stands on {said}, which is an adapter itself; {elsewhere}")
    if not (place / WEIGHTS).is_file():
        raise UserError(f"{folder} is an adapter over {said}, where no model is; {elsewhere}")
    if (mark := model_digest(place / WEIGHTS)) != about.weights:
        raise UserError(
            f"{folder} was made over other weights than those of {said} ({about.weights[:12]}..., not "
            f"{mark[:12]}...); {elsewhere}"
        )
    return place


def save_adapter(
    folder: Path | str,
    base: Path | str,
    before: Mapping[str, Tensor],
    config: ModelConfig,
    own: Artifacts,
    additions: Mapping[str, LowRank],
    scale: tuple[int, int],
) -> None:
    """Write an adapter over `base`; an older folder is replaced whole or not at all. `before` are the base's
    tensors, `additions` LoRA's by layer, both by their names in `Backbone`; `scale` is LoRA's rank and alpha.
    The additions are already worked into the matrices of the task's model."""
    place, task, before = require_base(base), own.task, on_cpu(before)
    named = str(place.resolve()) if home_path(base).exists() else str(base)
    about = AdapterConfig(named, model_digest(place / WEIGHTS), *scale)
    after = before | (on_cpu(task.shared_state()) if task else {})
    changed = {
        name: tensor
        for name, tensor in after.items()
        if name.removesuffix(".weight") not in additions and not torch.equal(tensor, before[name])
    }
    with saving(folder) as part:
        write_text(part / ADAPTER, as_json(to_plain(about)))
        if additions:  # as peft reads them
            tensors = {f"{_PREFIX}{name}{_DOWN}": down for name, (down, _) in additions.items()}
            tensors |= {f"{_PREFIX}{name}{_UP}": up for name, (_, up) in additions.items()}
            write_tensors(part / LOW_RANK, tensors)
            lora = import_extra("peft", "an adapter of LoRA", "lora").LoraConfig
            described = lora(r=about.rank, lora_alpha=about.alpha, inference_mode=True)
            described.base_model_name_or_path, described.target_modules = about.base, sorted(additions)
            described.save_pretrained(part)
        if changed:
            write_tensors(part / CHANGED, changed)
        check = check_of(config, own, after, half=False)
        write_description(part, config, replace(own, given_tokenizer=None, check=check))


def merge(
    adapter: Path | str,
    out: Path | str,
    base: Path | str | None = None,
    made: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write a whole model folder of an adapter and its base; `made` adds to its provenance."""
    place = model_folder(adapter)
    if not is_adapter(place):
        raise UserError(f"{adapter} is no adapter (it has no {ADAPTER}), so that there is nothing to merge")
    model, own = read_model(place, Backbone, base=base)
    save_model(out, model, own.given_tokenizer, own.preprocessing, {**own.provenance, **made}, own.task)
