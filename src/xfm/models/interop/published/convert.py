"""A published file as a model: each tensor is used, ignored for a stated reason, or the file is refused."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.model import ModelConfig
from xfm.config.task import TaskConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.models.folder import Preprocessing
from xfm.models.interop.published.file import OWN, read_published
from xfm.models.interop.published.names import (
    TASK_PREFIX,
    Entry,
    LeftOutTensors,
    canonical,
    layout,
    part_of,
    spare,
)
from xfm.models.interop.published.sizes import choose_task, heads_in, model_config, task_candidates
from xfm.models.library_encoders import explained
from xfm.models.task_models import TaskModel, build_task_model
from xfm.models.weights import require_finite, without_weights
from xfm.models.xfm import XFM


class TensorFate(StrEnum):
    """Fate of a tensor."""

    USED = "used"
    IGNORED = "ignored"
    MISSING = "missing"


@dataclass(frozen=True)
class FateLine:
    """Tensors of one part with the same fate: their count, numbers and reason; missing parts by our names."""

    fate: TensorFate
    part: str
    tensors: int
    values: int
    reason: str


@dataclass(frozen=True)
class Report:
    """Tensors used, ignored and missing in a file."""

    source: str
    layout: str
    lines: tuple[FateLine, ...]

    def names(self, fate: TensorFate) -> list[str]:
        """Parts with a fate."""
        return [line.part for line in self.lines if line.fate is fate]

    def table(self) -> str:
        """The report as text."""
        head = ("", "part", "tensors", "values", "what or why")
        rows = [(str(x.fate), x.part, f"{x.tensors:,}", f"{x.values:,}", x.reason) for x in self.lines]
        for fate in TensorFate:
            found = [x for x in self.lines if x.fate is fate]
            counts = sum(x.tensors for x in found), sum(x.values for x in found)
            rows.append((str(fate), "all", f"{counts[0]:,}", f"{counts[1]:,}", ""))
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
        text = [f"{self.source}: {self.layout}"]
        for row in [head, *rows]:
            cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
            cells += [row[2].rjust(widths[2]), row[3].rjust(widths[3]), row[4]]
            text.append("  ".join(cells).rstrip())
        return "\n".join(text)


def lines(fate: TensorFate, state: Mapping[str, Tensor], reasons: Mapping[str, str]) -> Iterable[FateLine]:
    """One line for the tensors of each part and reason."""
    groups: dict[tuple[str, str], list[Tensor]] = {}
    for name, reason in reasons.items():
        groups.setdefault((part_of(name), reason), []).append(state[name])
    for (part, reason), tensors in groups.items():
        yield FateLine(fate, part, len(tensors), sum(t.numel() for t in tensors), reason)


@dataclass(frozen=True)
class ConvertedModel:
    """Model in evaluation mode, task (None: pre-training), preprocessing and report of a published file."""

    model: XFM
    task: TaskModel | None
    preprocessing: Preprocessing
    report: Report


def convert(
    path: Path,
    like: ModelConfig,
    kind: str | None = None,
    heads: int | None = None,
    ignore: tuple[str, ...] = (),
) -> ConvertedModel:
    """Read a published file; `like` gives settings that no tensor shows, `kind` the task and `heads` the
    attention heads where ambiguous, `ignore` beginnings of names to leave out. A UserError for missing,
    unknown, misshapen or untied tensors."""
    stored, settings = read_published(path)
    ignored = {name for name in stored if name.startswith(ignore)} if ignore else set()
    state = _canonical_state(path, stored, ignored)
    own, own_task, preprocessing = _own_settings(path, settings)
    if heads is None and own is None:  # not an export of ours
        heads = heads_in(settings)
    like = own or like
    config = model_config(str(path), state, like, heads)
    task = choose_task(path, task_candidates(str(path), state, config), kind, own_task)

    entries = [Entry(e.native, tuple(map(canonical, e.published)), e.leading) for e in layout(config, task)]
    leftover = _canonical_spare(config, task)
    model, task_model = _build(path, config, task)
    shapes = dict(model.state_dict())
    if task_model is not None:
        shapes |= {f"{TASK_PREFIX}{name}": t for name, t in task_model.added_state().items()}
    _check_names(path, state, entries, leftover)
    _check_shapes(path, state, entries, shapes)
    require_finite(path, state)  # before copies are compared: what is no number equals nothing
    _check_spare(path, state, leftover)

    report = _report(path, stored, state, entries, leftover, ignored, task, shapes)
    stored.clear()  # only `state` holds the tensors now: each goes when it has been packed
    native = _native(entries, state)
    _fill(model, task_model, native)
    vision = config.seeing
    preprocessing = preprocessing or Preprocessing(vision.image_size, image_width=vision.image_width)
    return ConvertedModel(model, task_model, preprocessing, report)


def _canonical_state(path: Path, stored: Mapping[str, Tensor], ignored: set[str]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name in ignored:
            continue
        if canonical(name) in state:
            raise UserError(f"{path} holds {canonical(name)} under two names; leave one out with --ignore")
        state[canonical(name)] = tensor
    return state


def _own_settings(
    path: Path, settings: Mapping[str, Any]
) -> tuple[ModelConfig | None, TaskConfig | None, Preprocessing | None]:
    own = settings.get(OWN)
    if not isinstance(own, dict) or "model" not in own:
        return None, None, None
    model = from_plain(ModelConfig, own["model"], path, f"config.{OWN}.model")
    kept = own.get("task")
    task = from_plain(TaskConfig, kept, path, f"config.{OWN}.task") if kept else None
    kept = own.get("preprocessing")
    shown = from_plain(Preprocessing, kept, path, f"config.{OWN}.preprocessing") if kept else None
    return model, task, shown


def _canonical_spare(config: ModelConfig, task: TaskConfig | None) -> LeftOutTensors:
    found = spare(config, task)
    return LeftOutTensors(
        {canonical(name): canonical(source) for name, source in found.copies.items()},
        {canonical(name): value for name, value in found.constants.items()},
        frozenset(map(canonical, found.unused)),
    )


def _build(path: Path, config: ModelConfig, task: TaskConfig | None) -> tuple[XFM, TaskModel | None]:
    kinds = (RuntimeError, ValueError, OverflowError)
    with explained(f"{path} does not describe a model", "is it of X-FM?", *kinds), without_weights():
        model = XFM(config)
        return model, None if task is None else build_task_model(task, model)


def _check_names(
    path: Path, state: Mapping[str, Tensor], entries: Sequence[Entry], leftover: LeftOutTensors
) -> None:
    wanted = {name for entry in entries for name in entry.published}
    known = wanted | leftover.copies.keys() | leftover.constants.keys() | leftover.unused
    missing, unknown = sorted(wanted - state.keys()), sorted(state.keys() - known)
    if missing:
        beside = f", and {len(unknown)} are unknown (first: {unknown[0]})" if unknown else ""
        raise UserError(
            f"{path} lacks {len(missing)} tensors (first: {missing[0]}){beside}; "
            "it is incomplete or of another architecture"
        )
    if unknown:
        raise UserError(
            f"{path} holds {len(unknown)} tensors that X-FM does not have (first: {unknown[0]}); "
            "leave them out with --ignore if they are not needed"
        )


def _check_shapes(
    path: Path, state: Mapping[str, Tensor], entries: Sequence[Entry], own: Mapping[str, Tensor]
) -> None:
    for entry in entries:
        for name, like in entry.to_published(own[entry.native]):
            if state[name].shape != like.shape:
                raise UserError(
                    f"{path}: {name} has shape {list(state[name].shape)}, but the other tensors ask for "
                    f"{list(like.shape)}; the file is damaged or of another architecture"
                )
            if not state[name].is_floating_point():
                raise UserError(f"{path}: {name} is of type {state[name].dtype}, not of floating point")


def _check_spare(path: Path, state: Mapping[str, Tensor], leftover: LeftOutTensors) -> None:
    for name, source in leftover.copies.items():
        if name in state and not _equal(state[name], state[source]):
            raise UserError(
                f"{path}: {name} differs from {source}, but X-FM ties the two; leave it out with --ignore "
                "if the latter is right"
            )
    for name, value in leftover.constants.items():
        if name in state and not _equal(state[name], value):
            raise UserError(
                f"{path}: {name} is not the constant that X-FM computes; leave it out with --ignore to take "
                "the computed one"
            )


def _equal(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return first.data_ptr() == second.data_ptr() or torch.equal(first, second)


def _report(
    path: Path,
    stored: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    entries: Sequence[Entry],
    leftover: LeftOutTensors,
    ignored: set[str],
    task: TaskConfig | None,
    own: Mapping[str, Tensor],
) -> Report:
    places = {name: f"as {_place(entry.native)}" for entry in entries for name in entry.published}
    reasons = {name: f"tied copy in {_place(name)}" for name in leftover.copies}
    reasons |= dict.fromkeys(leftover.constants, "integer constant, computed here")
    reasons |= dict.fromkeys(leftover.unused, "caption head, used by no published code")
    found: list[FateLine] = [*lines(TensorFate.USED, state, places)]
    found += lines(TensorFate.IGNORED, state, {name: why for name, why in reasons.items() if name in state})
    found += lines(TensorFate.IGNORED, stored, dict.fromkeys(sorted(ignored), "as asked"))
    given = {entry.native for entry in entries}
    fresh = dict.fromkeys(sorted(own.keys() - given), "not in such files: initialised at random")
    found += lines(TensorFate.MISSING, own, fresh)
    return Report(str(path), "pre-training" if task is None else str(task.kind), tuple(found))


def _place(native: str) -> str:
    return ".".join(native.split(".")[: 2 if native.startswith(TASK_PREFIX) else 1])


def _native(entries: Sequence[Entry], state: dict[str, Tensor]) -> dict[str, Tensor]:
    native: dict[str, Tensor] = {}
    taken: set[int] = set()
    for entry in entries:
        tensor = entry.to_native([state.pop(name) for name in entry.published]).float().contiguous()
        memory = tensor.untyped_storage()
        # Tensors that were tied or cut from one when the file was written come back so.
        if memory.data_ptr() in taken or memory.nbytes() > tensor.nbytes:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        native[entry.native] = tensor
    return native


def _fill(model: XFM, task: TaskModel | None, native: Mapping[str, Tensor]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.reset_heads(model.config)
    shared = {name: tensor for name, tensor in native.items() if not name.startswith(TASK_PREFIX)}
    model.load_state_dict({**model.state_dict(), **shared}, assign=True)
    model.eval()
    if task is not None:
        added = {n.removeprefix(TASK_PREFIX): t for n, t in native.items() if n.startswith(TASK_PREFIX)}
        task.load_state_dict({**task.state_dict(), **added}, assign=True)
        task.eval()
