"""A run's folder: beginning or resuming in it, and saving into it."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from torch import Tensor

from xfm.config.plain import first_difference, to_plain
from xfm.config.training import Change, Precision
from xfm.core.errors import UserError
from xfm.core.files import write_text, writing
from xfm.core.locks import locked
from xfm.data.fingerprint import data_changes
from xfm.data.records import is_text
from xfm.training import distributed
from xfm.training.checkpoint import (
    CheckpointState,
    Snapshot,
    checkpoint_path,
    latest_checkpoint,
    list_checkpoints,
    prune_checkpoints,
    read_state,
    write_checkpoint,
)
from xfm.training.failures import Interrupted

SHOWN = "pictures"
"""Of the settings of a fine-tuning: a digest of the files of its pictures."""
_DIGEST = re.compile("[0-9a-f]{16}")

MAY_CHANGE = frozenset(
    f"{part}{name}"
    for part, names in {
        "": "name description licence root",
        "data.": "workers cache_mb remote.cache_mb remote.patience timeout max_bad",
        "training.": "save_every keep log_every report_to max_bad_steps strategy activation_checkpointing "
        "timeout validate_every validate_steps",
        "finetune.": "device workers max_bad report_to",
    }.items()
    for name in names.split()
)
"""Settings that a resumed run may change: none of them alters what is computed. Pictures in the cache are the
bytes that decoding gives."""


def _require_same_settings(run: Path, checkpoint: Path, settings: Mapping[str, Any]) -> None:
    difference = first_difference(read_state(checkpoint).settings, settings, MAY_CHANGE)
    if difference is None:
        return
    name, old, new = difference
    if name == "training.steps":
        raise UserError(
            f"{run} is a run of {old} steps, and its schedule with it; it cannot have {new}. "
            f"Train on in another folder from its weights: --init.model {run}/model"
        )
    what = "pictures: files of these names" if name == SHOWN else ""
    if name.startswith("data.") and _DIGEST.fullmatch(str(old)):
        what = f"rows: those of {name.removeprefix('data.')}"
    if what:
        raise UserError(
            f"{checkpoint} was trained on other {what} have changed since; put the old ones back, or start "
            "a new run in another folder"
        )
    raise UserError(
        f"{checkpoint} belongs to another configuration: {name} was {old} and is now {new}; "
        "use the old value, or start a new run in another folder"
    )


def _allowed_changes(
    run: Path, state: CheckpointState, world: int, data: Mapping[str, str], allowed: frozenset[Change]
) -> tuple[str, ...]:
    found: dict[Change, str] = {}
    if state.data and (files := data_changes(dict(state.data), dict(data))):
        more = f" and {len(files) - 3} more files" if len(files) > 3 else ""
        found[Change.DATA] = f"its data has changed ({', '.join(files[:3])}{more})"
    if state.world != world:
        found[Change.PROCESSES] = f"it had {state.world} processes and now has {world}"
    if refused := {kind: words for kind, words in found.items() if kind not in allowed}:
        raise UserError(
            f"{run} cannot go on as it was: {'; '.join(refused.values())}; put it back, or go "
            f"on with --allow-changed {','.join(refused)}, which is noted in the run"
        )
    return (*state.changes, *(f"from step {state.step}: {words}" for words in found.values()))


CONFIG_FILE, LOG_FILE = "config.yaml", "log.jsonl"


def require_run(folder: Path) -> None:
    """Refuse to resume where there is neither log nor checkpoint."""
    if not (folder / LOG_FILE).exists() and not list_checkpoints(folder):
        raise UserError(f"{folder} holds no run to resume: check the folder, or leave out --resume")


def restarted(folder: Path) -> bool:
    """Whether torchrun has started this process again, after one had ended, in the folder of a run."""
    again = os.environ.get(distributed.RESTARTS, "0") not in ("", "0")
    return again and ((folder / LOG_FILE).exists() or bool(list_checkpoints(folder)))


def require_new(folder: Path) -> None:
    """Refuse to begin in a folder with checkpoints."""
    if found := list_checkpoints(folder):
        raise UserError(
            f"{folder} already holds a run ({found[-1].name}): continue it with --resume or choose "
            "another folder"
        )


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a run's folder, by the first process for all. UserError: another run holds it. Interrupted says
    what is saved."""
    with contextlib.ExitStack() as stack:
        distributed.on_first(lambda: stack.enter_context(locked(folder)))
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Interrupted):
                raise
            raise Interrupted(f"stopped; {saved_of(folder)}") from interrupt


def saved_of(folder: Path | None) -> str:
    """What is saved of a run, and how it goes on."""
    if folder is None or not (found := list_checkpoints(folder)):
        return "nothing of this run is saved yet"
    return f"{found[-1]} is saved, and the same command with --resume goes on from there"


Describe = Callable[[Path, int, Precision], None]
"""Writes further files into the folder of a checkpoint, given the steps done and in which arithmetic."""


class RunFolder:
    """Configuration, log and checkpoints of a run. A resumed run must agree in `config` and `data` (a digest
    a file) but for what is `allowed`, which `changes` then says; `describe` writes more files into
    checkpoints."""

    def __init__(
        self,
        path: Path,
        config: Any,
        describe: Describe | None = None,
        data: Mapping[str, str] = MappingProxyType({}),
        allowed: frozenset[Change] = frozenset(),
    ) -> None:
        self.path, self.config, self.describe = path, config, describe
        self.data, self.allowed = dict(data), allowed
        self.changes: tuple[str, ...] = ()
        self.settings: dict[str, Any] = json.loads(json.dumps(to_plain(config)))

    def begin(self) -> None:
        """Start a new run; UserError if the folder holds one."""
        if not is_text(str(self.path)):
            raise UserError(f"{self.path} is not UTF-8, which trackers need; choose another folder")
        require_new(self.path)
        distributed.barrier()  # every process has looked before the first one writes
        self._write_settings()

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest whole checkpoint (None: none yet), and sentences about the rest. UserError: no run, only
        damaged checkpoints, or another configuration."""

        def find() -> tuple[Path | None, list[str]]:
            require_run(self.path)
            return latest_checkpoint(self.path)

        path, notes = distributed.on_first(find)
        if path is None:
            self._write_settings()
            return None, [f"{self.path} has no checkpoint yet: starting at step 0."]
        _require_same_settings(self.path, path, self.settings)
        state = read_state(path)
        self.changes = distributed.on_first(
            lambda: _allowed_changes(self.path, state, distributed.world(), self.data, self.allowed)
        )
        notes += [f"Allowed to differ {words}." for words in self.changes[len(state.changes) :]]
        return path, [*notes, f"Resuming from {path} at step {state.step}."]

    def save(
        self,
        step: int,
        precision: Precision,
        tensors: Snapshot,
        states: list[dict[str, Tensor]],
        samples: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        keep: int = 1,
    ) -> Path:
        """Write a checkpoint and keep the newest `keep`; the first process does. UserError (on every
        process): the disk is full."""
        path = checkpoint_path(self.path, step)
        state = CheckpointState(
            step, self.settings, distributed.world(), precision, self.data, self.changes, samples
        )
        describe = self.describe

        def write() -> None:
            also = describe and (lambda folder, tell=describe: tell(folder, step, precision))
            write_checkpoint(path, tensors, states, state, also)
            prune_checkpoints(self.path, keep)

        distributed.on_first(write)
        return path

    def _write_settings(self) -> None:
        if distributed.rank() == 0:
            with writing(self.path, "or choose another folder"):
                self.path.mkdir(parents=True, exist_ok=True)
                write_text(self.path / CONFIG_FILE, yaml.safe_dump(self.settings, sort_keys=False))
