"""Models from folders, run by torch or by the runtime of an exported model."""

import os
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from xfm.config.artifacts import MANIFEST, Arithmetic, Format, Manifest
from xfm.config.task import TaskConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.core.files import read_json_object
from xfm.models.folder import Pretrained
from xfm.models.library_encoders import explained
from xfm.models.model_files import TASK
from xfm.models.model_reading import read_belongings, read_config
from xfm.models.runtimes.backends import RUNTIMES
from xfm.models.runtimes.graphs import DECODER, HEAD, encoders_of
from xfm.models.runtimes.parts import RuntimeModel
from xfm.models.self_check import verify_here
from xfm.models.task_models import Answerer, Captioner, TaskModel, build_task_model
from xfm.models.weights import read_tensors, without_weights

HEADS_FILE = "heads.safetensors"
TRUST = "XFM_TRUST_PROGRAMS"
"""Set to 1 by whoever made the programs of torch.export: the files may hold pickles, which run anything."""
UNUSED_HERE = (DECODER, HEAD)
"""Graphs for other programs: here torch computes small heads, and decoders step by step."""


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Manifest of an exported folder."""
    return from_plain(Manifest, read_json_object(folder / MANIFEST), folder / MANIFEST)


def open_exported(
    folder: Path | str, half: bool = False, check: bool = True, name: str = "", trusted: bool = False
) -> Pretrained:
    """Exported model, run by its runtime, its task where that has a head of classes; `trusted` reads
    torch.export programs, as XFM_TRUST_PROGRAMS=1 does. A UserError where library, file or self-check
    fail."""
    folder = Path(folder)
    config, shown = read_config(folder)
    own, manifest = read_belongings(folder, config, shown), read_manifest(folder)
    if manifest.format is Format.TORCH_EXPORT and not trusted and os.environ.get(TRUST) != "1":
        raise UserError(
            f"{folder} holds programs of torch.export, files that can run anything when they are read: set "
            f"{TRUST}=1 if you made them yourself, or export the model as onnx or openvino"
        )
    runtime = RUNTIMES[manifest.format].load()
    if missing := {*encoders_of(config)} - {graph.name for graph in manifest.graphs}:
        raise UserError(f"{folder / MANIFEST} names no graph {min(missing)}; export the model again")
    for graph in manifest.graphs:
        if Path(graph.file).name != graph.file or not (folder / graph.file).is_file():
            raise UserError(f"{folder / graph.file} is missing; export the model again")
    graphs = {}
    for graph in manifest.graphs:
        if graph.name not in UNUSED_HERE:  # what runtimes raise has no base in common
            with explained(f"{folder / graph.file} cannot be run", "export the model again"):
                graphs[graph.name] = runtime.open(folder / graph.file, half)
    stored = read_tensors(folder / HEADS_FILE)
    heads = {key: t for key, t in stored.items() if not key.startswith("task.")}
    try:
        model = RuntimeModel(config, graphs, heads).eval()
    except RuntimeError as error:  # of torch, where names or shapes are others
        raise UserError(f"{folder / HEADS_FILE} is not of this model; export it again") from error
    task = _task(folder, model, {k.removeprefix("task."): t for k, t in stored.items() if k not in heads})
    found = replace(own, task=task)
    arithmetic = (
        Arithmetic.BF16 if half and manifest.arithmetic is Arithmetic.FLOAT32 else manifest.arithmetic
    )
    if check:
        verify_here(name or folder, model, found, arithmetic)
    kept = found.given_tokenizer, found.preprocessing, found.provenance
    return Pretrained(model, *kept, task, found.calibration, found.check)


def _task(folder: Path, model: RuntimeModel, head: dict[str, Tensor]) -> TaskModel | None:
    if not (folder / TASK).exists():
        return None
    task = from_plain(TaskConfig, read_json_object(folder / TASK), folder / TASK)
    if issubclass(task.spec.head_class(), Answerer | Captioner):
        return None
    with without_weights():
        made = build_task_model(task, model)
    try:
        made.load_state_dict({**made.state_dict(), **{k: t.float() for k, t in head.items()}}, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"{folder / HEADS_FILE} has another head than {TASK} says; export it again"
        ) from error
    return made.eval()
