"""`xfm finetune --config FILE`: a fine-tuning as a file, read and written. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import yaml

from xfm.config.finetune import FinetuneConfig
from xfm.config.load import read_yaml
from xfm.config.plain import to_plain
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import chosen_settings, task_specs
from xfm.config.typed import build

RESOLVED = "finetune.yaml"
"""What a run's folder keeps; `--config` reads it."""

COMMAND = ("task", "model", "train", "validation", "test", "columns", "pictures", "out")
"""What the command is told besides the settings, and a file may hold, too."""
_told: list[tuple[str, Any, Any]] = [(name, str | None, None) for name in COMMAND]
_FinetuneFile = make_dataclass("_FinetuneFile", _told, bases=(FinetuneConfig,), frozen=True)


def read_finetune(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """The command's own options and the settings of a file; its paths start from the current folder."""
    source = f"--config {path}"
    content = read_yaml(path, source)
    columns = content.get("columns")
    if isinstance(columns, Mapping):
        content["columns"] = ",".join(f"{field}={column or ''}" for field, column in columns.items())
    build(_FinetuneFile, content, source)
    told = {name: value for name in COMMAND if (value := content.pop(name, None)) is not None}
    return told, content


def dump_finetune(told: Mapping[str, str | None], config: FinetuneConfig, spec: TaskSpec) -> str:
    """A fine-tuning as a file for `read_finetune`, without settings that its task does not read."""
    settings = to_plain(config)
    for name in special_settings():
        if not spec.reads(name):
            group, _, own = name.rpartition(".")
            (settings[group] if group else settings).pop(own, None)
    settings = {name: value for name, value in settings.items() if value != {}}
    named = {name: told[name] for name in COMMAND if told.get(name) is not None}
    return yaml.safe_dump({**named, **settings}, sort_keys=False, allow_unicode=True)


def special_settings() -> tuple[str, ...]:
    """The settings that not every task reads, groups such as `image` by their fields."""
    specs = task_specs(tunable=True)
    named = [*chosen_settings(specs)]
    named += [f"tune.{encoder}" for spec in specs for encoder in spec.encoders]
    return tuple(dict.fromkeys([*named, "max_tokens", "regression", "class_weights"]))
