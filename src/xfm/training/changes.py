"""What of a run is otherwise when it is resumed, in words."""

import re
from collections.abc import Mapping

from xfm.config.training import Change
from xfm.data.fingerprint import data_changes
from xfm.training.checkpoint import CheckpointState

SHOWN = "pictures"
"""Of the settings of a fine-tuning: a digest of the files of its pictures."""
_DIGEST = re.compile("[0-9a-f]{16}")

MAY_CHANGE = frozenset(
    {
        "name",
        "description",
        "licence",
        "root",
        "data.workers",
        "data.cache_mb",  # pictures in memory are the bytes that decoding gives
        "data.remote.cache_mb",
        "data.remote.patience",
        "data.timeout",
        "data.max_bad",
        "training.save_every",
        "training.save_async",
        "training.keep",
        "training.log_every",
        "training.max_bad_steps",
        "training.strategy",
        "training.recompute",
        "training.timeout",
        "training.validate_every",
        "training.validate_steps",
        "finetune.device",
        "finetune.workers",
        "finetune.image.workers",  # its name in earlier versions
        "finetune.max_bad",
        "finetune.folds",  # the rows say it
    }
)
"""Settings that a resumed run may change: none of them alters what is computed."""


def other_data(name: str, old: object) -> str:
    """The data of a fine-tuning of which a setting is a digest; empty for any other setting.

    Args:
        name: dotted, of the setting.
        old: its value.
    """
    if name == SHOWN:
        return "pictures: files of these names"
    of_rows = name.startswith("data.") and _DIGEST.fullmatch(str(old))
    return f"rows: those of {name.removeprefix('data.')}" if of_rows else ""


def changes_since(state: CheckpointState, world: int, data: Mapping[str, str]) -> dict[Change, str]:
    """What is otherwise than when a checkpoint was written, in words.

    Args:
        state: the checkpoint's.
        world: processes now.
        data: the files of the data now; nothing is compared where the checkpoint has none.
    """
    found: dict[Change, str] = {}
    if state.data and (files := data_changes(dict(state.data), dict(data))):
        more = f" and {len(files) - 3} more files" if len(files) > 3 else ""
        found[Change.DATA] = f"its data has changed ({', '.join(files[:3])}{more})"
    if state.world != world:
        found[Change.PROCESSES] = f"it had {state.world} processes and now has {world}"
    return found
