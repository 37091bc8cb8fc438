"""Whether a run may go on: what of it is otherwise than when its checkpoint was written, in words."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm.config.plain import completed, first_difference
from xfm.config.training import Change
from xfm.data.fingerprint import data_changes
from xfm.errors import UserError
from xfm.training.checkpoint import CheckpointState, read_state

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
        "training.activation_checkpointing",
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


def require_same_settings(run: Path, checkpoint: Path, config: Any, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings than those of a checkpoint.

    Args:
        run: folder of the run.
        checkpoint: its folder.
        config: the run's resolved configuration now.
        settings: the same as plain values.

    Raises:
        UserError: names the first setting that is otherwise, and may not be.
    """
    stored = completed(read_state(checkpoint).settings, config)
    unknown = {SHOWN} - stored.keys()  # to earlier versions
    difference = first_difference(stored, settings, MAY_CHANGE | unknown)
    if difference is None:
        return
    name, old, new = difference
    if name == "training.steps":
        raise UserError(
            f"{run} is a run of {old} steps, and its schedule with it; it cannot have {new}. "
            f"Train on in another folder from its weights: --init.model {run}/model"
        )
    if what := other_data(name, old):
        raise UserError(
            f"{checkpoint} was trained on other {what} have changed since; put the old ones back, or start "
            "a new run in another folder"
        )
    raise UserError(
        f"{checkpoint} belongs to another configuration: {name} was {old} and is now {new}; "
        "use the old value, or start a new run in another folder"
    )


def allowed_changes(
    run: Path, state: CheckpointState, world: int, data: Mapping[str, str], allowed: frozenset[Change]
) -> tuple[str, ...]:
    """What was otherwise at this and earlier resumptions, in words.

    Args:
        run: folder of the run.
        state: the checkpoint's.
        world, data: as in `changes_since`.
        allowed: what may be otherwise.

    Raises:
        UserError: something else is.
    """
    found = changes_since(state, world, data)
    if refused := {kind: words for kind, words in found.items() if kind not in allowed}:
        raise UserError(
            f"{run} cannot go on as it was: {'; '.join(refused.values())}; put it back, or go "
            f"on with --allow-changed {','.join(refused)}, which is noted in the run"
        )
    return (*state.changes, *(f"from step {state.step}: {words}" for words in found.values()))
