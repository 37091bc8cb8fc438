"""What a published file holds, without a model of it."""

from collections import Counter
from pathlib import Path
from typing import Any

from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.interop.published.convert import canonical
from xfm.interop.published.fates import part_of
from xfm.interop.published.file import read_published
from xfm.interop.published.sizes import model_config, task_candidates


def describe_published(path: Path) -> dict[str, Any]:
    """Kind, numbers by part, sizes and settings of a published file, as plain values.

    Raises:
        UserError: see `read_published`; also a file of another architecture.
    """
    file = read_published(path)
    state = {canonical(name): tensor for name, tensor in file.state.items()}
    # One attention head fits every width: no tensor shows how many there are.
    config = model_config(str(path), state, ModelConfig(), heads=1)
    counts = Counter[str]()
    for name, tensor in state.items():
        counts[part_of(name)] += tensor.numel()
    sizes = {
        "vision": ("image_size", "image_width", "patch_size", "width", "depth", "heads"),
        "language": ("vocab_size", "width", "depth", "mlp_width", "max_positions"),
        "fusion": ("depth", "mlp_width"),
    }
    plain = to_plain(config)
    return {
        "layout": " or ".join(
            "pre-training" if task is None else str(task.kind)
            for task in task_candidates(str(path), state, config)
        ),
        "values": {**counts, "total": sum(counts.values())},
        "sizes": {part: {name: plain[part][name] for name in names} for part, names in sizes.items()},
        "config": file.config,
    }
