"""A run's folder: beginning or resuming in it, and saving into it."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor, nn

from xfm.config.plain import to_plain
from xfm.config.training import Change, Precision
from xfm.data.records import is_text
from xfm.errors import UserError
from xfm.files import write_text, writing
from xfm.locks import locked
from xfm.training import distributed
from xfm.training.averaging import AverageBeside
from xfm.training.beside import WorkBeside
from xfm.training.changes import allowed_changes, require_same_settings
from xfm.training.checkpoint import (
    AVERAGE,
    CheckpointState,
    checkpoint_path,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    random_states,
    read_state,
    write_checkpoint,
)
from xfm.training.logging import LOG_FILE
from xfm.training.progress import Moment
from xfm.training.randomness import random_state, restore_generator, restore_random_state
from xfm.training.schedule import SCHEDULE, read_schedule
from xfm.training.signals import Interrupted
from xfm.training.snapshot import HostCopies, snapshot

CONFIG_FILE = "config.yaml"
MEMORY = "memory|"
"""Before the names of what the losses remember, among the random states of a process."""


def require_run(folder: Path) -> None:
    """Refuse to resume where no run was begun.

    Raises:
        UserError: the folder holds neither log nor checkpoints.
    """
    if not (folder / LOG_FILE).exists() and not list_checkpoints(folder):
        raise UserError(f"{folder} holds no run to resume: check the folder, or leave out --resume")


def restarted(folder: Path) -> bool:
    """Whether torchrun has started this process again, after one had ended, in the folder of a run."""
    again = os.environ.get(distributed.RESTARTS, "0") not in ("", "0")
    return again and ((folder / LOG_FILE).exists() or bool(list_checkpoints(folder)))


def require_new(folder: Path) -> None:
    """Refuse to begin where a run was saved.

    Raises:
        UserError: the folder holds checkpoints.
    """
    if found := list_checkpoints(folder):
        raise UserError(
            f"{folder} already holds a run ({found[-1].name}): continue it with --resume or choose "
            "another folder"
        )


@contextlib.contextmanager
def held(folder: Path, process: distributed.Process) -> Iterator[None]:
    """Hold a run's folder for the block: the first process does, for all.

    Raises:
        UserError: another run holds it (on every process), see `xfm.locks.locked`.
        Interrupted: Ctrl-C or SIGTERM came where no step was to be finished; says what is saved.
    """
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


def farewell(step: int, folder: Path | None) -> str:
    """What a run that stops on request says after saving."""
    if folder is None:
        return f"stopped after step {step}"
    return (
        f"stopped after step {step}, everything is saved in {folder}; run the same command with --resume to "
        "continue"
    )


class Describe(Protocol):
    """Writes further files into a checkpoint."""

    def __call__(self, folder: Path, steps: int, precision: Precision) -> None:
        """Write them into its folder, given the steps done and in which arithmetic."""
        ...


class Remembers(Protocol):
    """Losses that depend on earlier steps."""

    def state(self) -> dict[str, Tensor]:
        """What this process has to know to go on exactly, by name: copies."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` gave."""
        ...


class RunFolder:
    """Configuration, log and checkpoints of a run.

    Args:
        path: the folder.
        config: the run's resolved configuration: a dataclass, or a mapping of such.
        process: this process; the first one writes.
        describe: writes further files into a checkpoint, given its folder, steps done and arithmetic.
        data: the files of the run's data with a digest each, see `data_fingerprint`; the first process's.
        allowed: what a resumed run may have otherwise.
        beside: whether checkpoints are written while training goes on.

    Attributes:
        changes: what was otherwise, and allowed, when the run was resumed: sentences.
    """

    def __init__(
        self,
        path: Path,
        config: Any,
        process: distributed.Process,
        describe: Describe | None = None,
        data: Mapping[str, str] = MappingProxyType({}),
        allowed: frozenset[Change] = frozenset(),
        beside: bool = False,
    ) -> None:
        self.path, self.config, self.process, self.describe = path, config, process, describe
        self.data, self.allowed = dict(data), allowed
        self._copies, self._writing = HostCopies() if beside else None, WorkBeside()
        self.changes: tuple[str, ...] = ()
        self.settings: dict[str, Any] = json.loads(json.dumps(to_plain(config)))

    def begin(self) -> None:
        """Start a new run.

        Raises:
            UserError: the folder holds a run already.
        """
        if not is_text(str(self.path)):
            raise UserError(f"{self.path} is not UTF-8, which TensorBoard needs; choose another folder")
        require_new(self.path)
        distributed.barrier()  # every process has looked before the first one writes
        self._write_settings()

    def resume(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        average: AverageBeside | None = None,
        memory: Remembers | None = None,
    ) -> tuple[CheckpointState | None, list[str]]:
        """Load the newest whole checkpoint, random states included.

        Returns:
            Its state, None where there is no checkpoint yet, and sentences about what was found.

        Raises:
            UserError: no run in the folder, only damaged checkpoints, or one of another configuration.
        """
        path, notes = distributed.on_first(self._newest)
        if path is None:
            self._write_settings()
            return None, notes
        require_same_settings(self.path, path, self.config, self.settings)
        notes = [*notes, *self._check_changes(path)]
        state, randomness = load_checkpoint(path, model, optimizer, self.process.rank)
        if average is not None:
            average.load(path / AVERAGE)
        if randomness is not None:
            restore_random_state(randomness, generator)
            if memory is not None:
                memory.load(_named_after(MEMORY, randomness))
        elif (first := random_states(path, 0)) is not None:
            restore_generator(first, generator)
        return state, [*notes, f"Resuming from {path} at step {state.step}."]

    def kept_moments(self, step: int) -> list[Moment]:
        """What `schedule.csv` says of the steps up to the one that the run goes on with."""
        return distributed.on_first(lambda: read_schedule(self.path / SCHEDULE)[: step + 1])

    def save(
        self,
        step: int,
        precision: Precision,
        keep: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        samples: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        average: AverageBeside | None = None,
        memory: Remembers | None = None,
    ) -> Path:
        """Write the checkpoint of a step and delete all but the newest `keep`.

        Where that is done beside the training, the last one is written first, and this one after `settle`.

        Raises:
            UserError: the disk is full (on every process), for this one or the last.
        """
        self.settle()
        path, world = checkpoint_path(self.path, step), self.process.world
        kept = {} if memory is None else {f"{MEMORY}{name}": one for name, one in memory.state().items()}
        states = distributed.gathered_by_first(random_state(generator) | kept)
        state = CheckpointState(step, self.settings, world, precision, self.data, self.changes, samples)
        describe = None if self.describe is None else partial(self.describe, steps=step, precision=precision)

        tensors = snapshot(model, optimizer, self.process.is_first, self._copies, average)

        def write() -> None:
            write_checkpoint(path, tensors, states, state, describe)
            prune_checkpoints(self.path, keep)

        if self._copies is None:
            distributed.on_first(write)
        elif self.process.is_first:
            self._writing.start(write)
        return path

    @property
    def failed(self) -> bool:
        """Whether this process could not write a checkpoint beside the training: `settle` says why."""
        return self._writing.failed

    def settle(self) -> None:
        """Wait until all checkpoints are written. All processes must ask at the same place.

        Raises:
            UserError: the disk was full (on every process).
        """
        if self._copies is not None:
            distributed.on_first(self._writing.wait)

    def close(self) -> None:
        """Wait for what is being written, without the others; the run ends for a reason of its own."""
        with contextlib.suppress(Exception):
            self._writing.wait()

    def _newest(self) -> tuple[Path | None, list[str]]:
        require_run(self.path)
        path, notes = latest_checkpoint(self.path)
        return path, notes if path else [f"{self.path} has no checkpoint yet: starting at step 0."]

    def _check_changes(self, path: Path) -> list[str]:
        """Compare what the checkpoint says of data and processes; sentences about what is allowed to differ.

        Raises:
            UserError: something differs that is not (on every process).
        """
        state = read_state(path)
        self.changes = distributed.on_first(
            lambda: allowed_changes(self.path, state, self.process.world, self.data, self.allowed)
        )
        return [f"Allowed to differ {words}." for words in self.changes[len(state.changes) :]]

    def _write_settings(self) -> None:
        if self.process.is_first:
            with writing(self.path, "or choose another folder"):
                self.path.mkdir(parents=True, exist_ok=True)
                write_text(self.path / CONFIG_FILE, yaml.safe_dump(self.settings, sort_keys=False))


def _named_after(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin so, named without it."""
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
