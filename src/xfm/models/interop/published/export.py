"""A model as a published file: the key names, tied copies and buffers of the published code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from xfm.config.encoders import LanguageConfig, Positions, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.task import HeadKind, ImageHead
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.core.errors import UserError
from xfm.core.results_folder import free_name
from xfm.models.folder import Pretrained
from xfm.models.interop.published.convert import OWN
from xfm.models.interop.published.file import write_published
from xfm.models.interop.published.names import TASK_PREFIX, native_parts, spare, to_published


def export(pretrained: Pretrained, path: Path, unused: Mapping[str, Tensor] | None = None) -> list[str]:
    """Write a published file, with a task in its layout; returns sentences on what the published code
    computes differently. A UserError where the file exists or a head has no published names."""
    if path.exists():
        raise UserError(f"{path} exists already; name another file, such as {free_name(path)}")
    model, task = pretrained.model, pretrained.task
    config = model.config
    described = None if task is None else task.task
    if described and described.kind == IMAGE_CLASSIFICATION.name and described.image_head is ImageHead.LINEAR:
        raise UserError(
            "the published code knows no linear head of image classification, so the model cannot be "
            "exported; fine-tune with the published head"
        )
    if described and described.head is HeadKind.PROBE:
        raise UserError(
            "the published code knows no probe of frozen features, so the model cannot be exported; "
            "fine-tune with --preset good"
        )
    native = dict(model.state_dict())
    if task is not None:
        native |= task.shared_state()
        native |= {f"{TASK_PREFIX}{name}": tensor for name, tensor in task.added_state().items()}
    # Copies of their own: a view would take the whole tensor that it is cut from into the file.
    state = {name: t.detach().cpu().clone() for name, t in to_published(native, config, described).items()}
    beside = spare(config, described)
    state |= {name: state[source] for name, source in beside.copies.items()}
    state |= beside.constants
    state |= {name: t for name, t in (unused or {}).items() if name in beside.unused}
    write_published(path, state, _config(pretrained))
    return _differences(config)


def _config(pretrained: Pretrained) -> dict[str, Any]:
    model = pretrained.model.config
    own = {
        "model": to_plain(model),
        "task": None if pretrained.task is None else to_plain(pretrained.task.task),
        "preprocessing": to_plain(pretrained.preprocessing),
    }
    return {
        "image_res": model.seeing.image_size,
        "patch_size": model.seeing.patch_size,
        "embed_dim": model.projection,
        "temp": model.temperature,
        OWN: own,
    }


def _differences(config: ModelConfig) -> list[str]:
    vision, language = native_parts(config)
    found = []
    if vision.positions is not Positions.NONE:
        found.append(f"the published vision encoder has no {vision.positions} positions")
    if vision.image_width is not None:
        found.append("the published vision encoder takes square pictures only")
    if (vision.norm_eps, language.norm_eps) != (VisionConfig.norm_eps, LanguageConfig.norm_eps):
        found.append("the published encoders have other epsilons in their LayerNorms")
    if config.fusing.heads != language.heads:
        found.append("the published fusion encoder has as many attention heads as the language encoder")
    return found
