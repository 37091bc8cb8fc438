"""The checkpoints of a run folder, each read to its last byte."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xfm.core.errors import UserError
from xfm.core.files import folder_size, read_json_or_nothing
from xfm.training.atomic_folder import MANIFEST, damage
from xfm.training.checkpoint import REQUIRED, list_checkpoints, read_state


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint of a run; `written`, `size` (bytes) and `processes` are None where they are damaged or
    unknown."""

    step: int
    path: str
    written: str | None
    size: int
    processes: int | None = None
    damage: str | None = None
    changes: tuple[str, ...] = ()
    samples: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints that a path names: those of a run, oldest first, or the one that it is; UserError if
    none."""
    inside = folder.parent if folder.name == "checkpoints" else folder
    if found := list_checkpoints(inside):
        return found
    if folder.resolve() in [path.resolve() for path in list_checkpoints(folder.parent.parent)]:
        return [folder]
    raise UserError(f"{folder} holds no checkpoints: name the folder of a run, such as runs/nano")


def size_of(path: Path) -> int:
    """Bytes of a checkpoint; 0 where its run has deleted it meanwhile."""
    with contextlib.suppress(OSError):
        return folder_size(path)
    return 0


def verified(path: Path, told: Callable[[int], object] = lambda read: None) -> CheckpointEntry | None:
    """Compare checksums of a checkpoint; None if its run has deleted it meanwhile. `told` hears bytes
    read."""
    step = int(path.name.removeprefix("step-"))
    wrong, size = damage(path, REQUIRED, told), size_of(path)
    if not path.is_dir():
        return None
    written = read_json_or_nothing(path / MANIFEST).get("written")
    written = written if isinstance(written, str) else None
    try:
        state = read_state(path)
    except UserError as error:
        return CheckpointEntry(step, str(path), written, size, damage=wrong or str(error))
    return CheckpointEntry(
        step,
        str(path),
        written,
        size,
        state.world,
        wrong,
        tuple(map(str, state.changes)),
        dict(state.samples),
    )
