"""Writes a model as graphs, with all that is needed to use it, and compares what was written."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from xfm.config.exported import MANIFEST, Format, GraphFile, Manifest, TensorShape
from xfm.config.plain import to_plain
from xfm.config.self_check import Arithmetic
from xfm.errors import UserError
from xfm.files import drafting, replace_folder, sync_folder, write_text, writing
from xfm.modeling.folder import Pretrained
from xfm.modeling.model_files import TASK
from xfm.modeling.model_writing import write_description
from xfm.modeling.self_check import SELF_CHECK, record
from xfm.modeling.weights import write_tensors
from xfm.paths import home_path
from xfm.runtimes.backends import RUNTIMES, Runner
from xfm.runtimes.graphs import Graph, graphs_of
from xfm.runtimes.opening import HEADS_FILE, open_exported, read_manifest
from xfm.runtimes.parity import require_parity
from xfm.runtimes.parts import small_heads
from xfm.runtimes.quantise import quantise


def export(
    pretrained: Pretrained, out: Path | str, form: Format, int8: bool = False, source: str = ""
) -> Manifest:
    """Write every encoder and head of a model as a graph.

    Args:
        pretrained: the model, on the CPU.
        out: the folder; one that holds an exported model is replaced.
        form: of the graphs.
        int8: weights of the encoders of texts and pictures in eight bits.
        source: where the model is from, for the manifest.

    Returns:
        What the folder says of itself.

    Raises:
        UserError: a library is missing, the folder holds something else, or what was written does not give
            what the model gives.
    """
    folder = home_path(out)
    if int8 and form is not Format.ONNX:
        raise UserError(f"--int8 is for --format {Format.ONNX}; leave it out for {form}")
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).exists())
    ):
        raise UserError(f"{folder} holds something else than an exported model; name another folder")
    known = RUNTIMES[form]
    runtime = known.load(writing=True)
    known.load()  # what was written is run once
    pretrained = _with_check(pretrained)
    with writing(folder, "or name another folder"), drafting(folder.resolve()) as draft:
        graphs, model, task = [], pretrained.model.eval(), pretrained.task
        for graph in graphs_of(model, None if task is None else task.eval()):
            path = draft / f"{graph.name}{known.suffix}"
            runtime.write(graph, path)
            run = runtime.open(path)
            require_parity(graph, run, f"{known.name}, {graph.name}")
            graphs.append(_described(graph, path, run))
        write_description(draft, model.config, pretrained.belongings)
        if task is not None:
            _write(draft / TASK, to_plain(task.task))
        _write(draft / SELF_CHECK, to_plain(pretrained.check))
        write_tensors(draft / HEADS_FILE, small_heads(model, task))
        arithmetic = Arithmetic.INT8 if int8 else Arithmetic.FLOAT32
        manifest = Manifest(form, arithmetic, tuple(graphs), source, runtime.versions())
        _write(draft / MANIFEST, to_plain(manifest))
        if int8:
            measured = quantise(draft, pretrained)
            _write(draft / MANIFEST, to_plain(replace(manifest, measured=measured)))
        open_exported(draft, name=f"{folder} ({known.name})", trusted=True)
        sync_folder(draft)
        replace_folder(draft, folder.resolve())
    return read_manifest(folder)


def _with_check(pretrained: Pretrained) -> Pretrained:
    """The model with the self-check of what it is now; one that is read from an old folder has none."""
    if pretrained.check is not None:
        return pretrained
    longest, own = pretrained.model.config.language.longest, pretrained.belongings
    check = record(pretrained.model.eval(), own.task, own.given_tokenizer, own.preprocessing, longest)
    if check is None:
        raise UserError("the model gives no numbers, so that nothing can be exported")
    return replace(pretrained, check=check)


def _described(graph: Graph, path: Path, run: Runner) -> GraphFile:
    """The entry of a graph: its outputs' shapes are those of its examples, with open sides by name."""
    found = run(graph.inputs)
    inputs = tuple(
        TensorShape(name, _kind(tensor), _shape(tensor, dict(graph.axes[name])))
        for name, tensor in graph.inputs.items()
    )
    rows = graph.axes[next(iter(graph.inputs))][0]
    outputs = []
    for name in graph.outputs:
        open_sides = {0: rows}
        if found[name].ndim == 3 and "length" in graph.axes[next(iter(graph.inputs))].values():
            open_sides[1] = "length"
        outputs.append(TensorShape(name, _kind(found[name]), _shape(found[name], open_sides)))
    return GraphFile(graph.name, path.name, inputs, tuple(outputs), graph.about)


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: torch.Tensor, open_sides: dict[int, str]) -> tuple[str, ...]:
    return tuple(open_sides.get(place, str(size)) for place, size in enumerate(tensor.shape))


def _write(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
