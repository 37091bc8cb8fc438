"""Export of a model as graphs, compared with the model."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from xfm.config.artifacts import MANIFEST, Arithmetic, Format, GraphFile, Manifest
from xfm.config.plain import to_plain
from xfm.core.errors import UserError
from xfm.core.files import drafting, replace_folder, sync_folder, write_text, writing
from xfm.core.paths import home_path
from xfm.models.folder import Pretrained
from xfm.models.model_files import TASK, write_description
from xfm.models.runtimes.backends import RUNTIMES, Runner
from xfm.models.runtimes.graphs import IMAGE, TEXT, Graph, graphs_of
from xfm.models.runtimes.loading import HEADS_FILE, open_exported, read_manifest, small_heads
from xfm.models.self_check import SELF_CHECK, cosine, measured, record
from xfm.models.weights import write_tensors
from xfm.models.xfm import XFM

SIZES = (1, 2, 5)
"""Of open sides, in turn: batches of one are what tracing specialises on."""
CLOSE = 1e-3
"""Most difference of a number from the module's, as a part of the largest of its tensor and one more."""


def random_inputs(graph: Graph, turn: int) -> dict[str, Tensor]:
    """Inputs of a graph with sizes other than traced, the same for each turn."""
    generator = torch.Generator().manual_seed(turn)
    sides = {name: 0 for axes in graph.axes.values() for name in axes.values()}
    for place, name in enumerate(sides):
        sides[name] = SIZES[(turn + place) % len(SIZES)]
    if "length" in sides:
        sides["length"] = min(graph.longest, (2, 11, 30)[turn % 3])
    found = {}
    for name, tensor in graph.inputs.items():
        shape = [
            sides[graph.axes[name][p]] if p in graph.axes[name] else n for p, n in enumerate(tensor.shape)
        ]
        if tensor.dtype is torch.bool:  # of a ragged batch
            lengths = torch.randint(1, shape[1] + 1, (shape[0], 1), generator=generator)
            lengths[0] = shape[1]
            found[name] = torch.arange(shape[1]) < lengths
        elif tensor.dtype is torch.int64:
            most = sides["pictures"] if name == "index" else graph.vocabulary
            found[name] = torch.randint(0, most, shape, generator=generator)
        else:
            found[name] = torch.randn(shape, generator=generator)
    return found


@torch.no_grad()
def differences_of(graph: Graph, run: Runner, turn: int) -> Iterator[tuple[str, float]]:
    """Relative difference of each output from the module's, by its largest number."""
    inputs = random_inputs(graph, turn)
    wanted = graph.module(*inputs.values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    found = run(inputs)
    for name, tensor in zip(graph.outputs, wanted, strict=True):
        if found[name].shape != tensor.shape:
            yield name, float("inf")
            continue
        mask, real = inputs.get("mask"), torch.ones_like(tensor)
        if mask is not None and tensor.ndim == 3 and tensor.shape[:2] == mask.shape:
            real = mask[..., None].expand_as(tensor).float()
        apart = (found[name].float() - tensor.float()).abs() * real
        yield name, (apart.max() / (1 + (tensor.abs() * real).max())).item()


def require_parity(graph: Graph, run: Runner, name: str) -> None:
    """A UserError for a graph that differs from its module."""
    for turn in range(len(SIZES)):
        for output, apart in differences_of(graph, run, turn):
            if not apart <= CLOSE:
                raise UserError(
                    f"{name}: its {output} differ by {apart:.2g} from those of torch, so that nothing was "
                    "written; try other versions of the libraries, and report this"
                )


def quantise(folder: Path, names: Sequence[str]) -> None:
    """Give ONNX graphs of a folder 8-bit weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in names:
        path, eight = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
        logging.disable(logging.WARNING)  # it advises a preparation that torch's exporter has done
        try:
            quantize_dynamic(path, eight, weight_type=QuantType.QInt8, per_channel=True)
        finally:
            logging.disable(logging.NOTSET)
        for left in folder.glob(f"{name}.onnx*"):  # the graph, and its weights where they lie apart
            left.unlink()
        os.replace(eight, path)


def _measured(model: XFM, pretrained: Pretrained) -> str:
    """The loss of 8-bit weights, as a sentence: by the vectors of the self-check."""
    check = pretrained.check
    assert check is not None
    found = measured(model, replace(pretrained.artifacts, task=None), check)
    kept = check.values
    vectors = (("image", kept.image, found.image), ("text", kept.text, found.text))
    told = [f"{what} {cosine(then, now):.4f}" for what, then, now in vectors if then and now]
    return f"cosine of the self-check's vectors with those of float32: {', '.join(told)}"


def export(
    pretrained: Pretrained, out: Path | str, form: Format, int8: bool = False, source: str = ""
) -> Manifest:
    """Write every encoder and head of a model as a graph, in a folder that replaces an exported model;
    `int8` for 8-bit weights, `source` for the manifest. A UserError where the result differs from the
    model."""
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
    if pretrained.check is None:
        check = record(pretrained.model.eval(), pretrained.artifacts)
        if check is None:
            raise UserError("the model gives no numbers, so that nothing can be exported")
        pretrained = replace(pretrained, check=check)
    with writing(folder, "or name another folder"), drafting(folder.resolve()) as draft:
        graphs, model, task = [], pretrained.model.eval(), pretrained.task
        for graph in graphs_of(model, None if task is None else task.eval()):
            path = draft / f"{graph.name}{known.suffix}"
            runtime.write(graph, path)
            run = runtime.open(path)
            require_parity(graph, run, f"{known.name}, {graph.name}")
            graphs.append(GraphFile(graph.name, path.name, graph.about))
        write_description(draft, model.config, pretrained.artifacts)
        if task is not None:
            _write(draft / TASK, to_plain(task.task))
        _write(draft / SELF_CHECK, to_plain(pretrained.check))
        write_tensors(draft / HEADS_FILE, small_heads(model, task))
        arithmetic = Arithmetic.INT8 if int8 else Arithmetic.FLOAT32
        versions = tuple(f"{name} {version(name)}" for name in runtime.libraries)
        manifest = Manifest(form, arithmetic, tuple(graphs), source, versions)
        _write(draft / MANIFEST, to_plain(manifest))
        if int8:
            quantise(draft, [IMAGE, TEXT])
        written = open_exported(draft, name=f"{folder} ({known.name})")
        if int8:
            _write(
                draft / MANIFEST, to_plain(replace(manifest, measured=_measured(written.model, pretrained)))
            )
        sync_folder(draft)
        replace_folder(draft, folder.resolve())
    return read_manifest(folder)


def _write(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
