"""A published file as a model: each tensor is used, ignored for a stated reason, or the file is refused."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.model import ModelConfig
from xfm.config.task import TaskConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, explained
from xfm.models.artifacts import CODE_LICENCE, FRESH
from xfm.models.folder import Preprocessing, Pretrained
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
from xfm.models.task_models import TaskModel, build_task_model
from xfm.models.weights import require_finite, without_weights
from xfm.models.xfm import XFM


@dataclass(frozen=True)
class Report:
    """Tensors of a file: the number `used`, those `ignored` by their reasons, and parts of the model that
    such files lack, initialised at random (`fresh`)."""

    layout: str
    used: int
    ignored: Mapping[str, Sequence[str]]
    fresh: Sequence[str]

    def __str__(self) -> str:
        lines = [f"{self.layout}: {self.used:,} tensors used"]
        lines += [f"{len(names):,} left out: {reason}" for reason, names in self.ignored.items()]
        if self.fresh:
            lines.append(f"initialised at random, as such files have none: {', '.join(self.fresh)}")
        return "\n".join(lines)


def convert(
    path: Path,
    like: ModelConfig,
    kind: str | None = None,
    heads: int | None = None,
    ignore: tuple[str, ...] = (),
) -> tuple[Pretrained, Report]:
    """The model of a published file, in evaluation mode, and a report; `like` gives settings that no tensor
    shows, `kind` the task and `heads` the attention heads where ambiguous, `ignore` beginnings of names to
    leave out. A UserError for missing, unknown, misshapen or untied tensors."""
    stored, settings = read_published(path)
    ignored = {name for name in stored if name.startswith(ignore)} if ignore else set()
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name in ignored:
            continue
        if canonical(name) in state:
            raise UserError(f"{path} holds {canonical(name)} under two names; leave one out with --ignore")
        state[canonical(name)] = tensor
    kept, ours = settings.get(OWN), dict[str, Any]()  # an export of ours
    if isinstance(kept, dict) and "model" in kept:
        for part, kind_of in (("model", ModelConfig), ("task", TaskConfig), ("preprocessing", Preprocessing)):
            if kept.get(part):
                ours[part] = from_plain(kind_of, kept[part], path, f"config.{OWN}.{part}")
    if heads is None and "model" not in ours:
        heads = heads_in(settings)
    config = model_config(str(path), state, ours.get("model", like), heads)
    task = choose_task(path, task_candidates(str(path), state, config), kind, ours.get("task"))

    entries = [Entry(e.native, tuple(map(canonical, e.published)), e.leading) for e in layout(config, task)]
    copies, constants, unused = spare(config, task)
    leftover = (
        {canonical(name): canonical(source) for name, source in copies.items()},
        {canonical(name): value for name, value in constants.items()},
        frozenset(map(canonical, unused)),
    )
    kinds = (RuntimeError, ValueError, OverflowError)
    with explained(f"{path} does not describe a model", "is it of X-FM?", *kinds), without_weights():
        model = XFM(config)
        task_model = None if task is None else build_task_model(task, model)
    shapes = dict(model.state_dict())
    if task_model is not None:
        shapes |= {f"{TASK_PREFIX}{name}": t for name, t in task_model.added_state().items()}
    _check(path, state, entries, leftover, shapes)
    report = _report(state, entries, leftover, ignored, task, shapes)
    stored.clear()  # only `state` holds the tensors now: each goes when it has been packed
    _fill(model, task_model, entries, state)
    vision = config.vision
    shown = ours.get("preprocessing") or Preprocessing(vision.image_size, image_width=vision.image_width)
    provenance = {
        "published": path.name,
        "layout": report.layout,
        "licences": {"code": CODE_LICENCE, "weights": None, "data": None},  # such a file has none
        FRESH: [part if part == "temperature" else f"{part}." for part in report.fresh],
    }
    return Pretrained(None, shown, provenance, task_model, model=model), report


def _check(
    path: Path,
    state: Mapping[str, Tensor],
    entries: Sequence[Entry],
    leftover: LeftOutTensors,
    own: Mapping[str, Tensor],
) -> None:
    wanted = {name for entry in entries for name in entry.published}
    copies, constants, unused = leftover
    known = wanted | copies.keys() | constants.keys() | unused
    missing, unknown = sorted(wanted - state.keys()), sorted(state.keys() - known)
    if missing:
        beside = f", and {len(unknown)} are unknown (first: {unknown[0]})" if unknown else ""
        lacks = f"{len(missing)} tensors (first: {missing[0]}){beside}"
        raise UserError(f"{path} lacks {lacks}; it is incomplete or of another architecture")
    if unknown:
        held = f"{len(unknown)} tensors that X-FM does not have (first: {unknown[0]})"
        raise UserError(f"{path} holds {held}; leave them out with --ignore")
    for entry in entries:
        for name, like in entry.to_published(own[entry.native]):
            if state[name].shape != like.shape:
                shape, asked = list(state[name].shape), list(like.shape)
                shapes = f"has shape {shape}, but the other tensors ask for {asked}"
                raise UserError(f"{path}: {name} {shapes}; the file is damaged")
            if not state[name].is_floating_point():
                raise UserError(f"{path}: {name} is of type {state[name].dtype}, not of floating point")
    require_finite(path, state)  # before copies are compared: what is no number equals nothing
    flaws = {name: f"differs from {source}, but X-FM ties the two" for name, source in copies.items()}
    flaws |= dict.fromkeys(constants, "is not the constant that X-FM computes")
    for name, flaw in flaws.items():
        held = state.get(name)
        like = state[copies[name]] if name in copies else constants[name]
        if held is not None and (held.dtype != like.dtype or not torch.equal(held, like)):
            raise UserError(f"{path}: {name} {flaw}; leave it out with --ignore to take X-FM's own")


def _report(
    state: Mapping[str, Tensor],
    entries: Sequence[Entry],
    leftover: LeftOutTensors,
    ignored: Iterable[str],
    task: TaskConfig | None,
    own: Iterable[str],
) -> Report:
    copies, constants, unused = leftover
    reasons = {
        "tied copies": copies,
        "integer constants, computed here": constants,
        "caption heads, used by no published code": unused,
    }
    left_out = {why: [name for name in names if name in state] for why, names in reasons.items()}
    left_out |= {"as asked": sorted(ignored)}
    used = sum(len(entry.published) for entry in entries)
    fresh = sorted({part_of(name) for name in {*own} - {entry.native for entry in entries}})
    kind = "pre-training" if task is None else str(task.kind)
    return Report(kind, used, {why: names for why, names in left_out.items() if names}, fresh)


def _fill(model: XFM, task: TaskModel | None, entries: Sequence[Entry], state: dict[str, Tensor]) -> None:
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
