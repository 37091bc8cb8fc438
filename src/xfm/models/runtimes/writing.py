"""Export of a model as graphs, compared with the model."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from xfm.config.artifacts import MANIFEST, Arithmetic, Format, GraphFile, Manifest, TensorShape
from xfm.config.plain import to_plain
from xfm.core.errors import UserError
from xfm.core.files import drafting, replace_folder, sync_folder, write_text, writing
from xfm.core.paths import home_path
from xfm.data.tokenizer import normalise_caption
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Pretrained
from xfm.models.model_files import TASK
from xfm.models.model_writing import write_description
from xfm.models.runtimes.backends import RUNTIMES, Runner
from xfm.models.runtimes.graphs import IMAGE, TEXT, Graph, graphs_of
from xfm.models.runtimes.loading import HEADS_FILE, open_exported, read_manifest
from xfm.models.runtimes.parts import small_heads
from xfm.models.self_check import SELF_CHECK, record
from xfm.models.weights import write_tensors

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
    if "slots" in sides:
        sides["slots"] = 3 + turn
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
            most = sides.get("pictures", sides.get("memories", 1)) if name == "index" else graph.vocabulary
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
        real = _real(tensor, inputs)
        apart = (found[name].float() - tensor.float()).abs() * real
        yield name, (apart.max() / (1 + (tensor.abs() * real).max())).item()


def _real(tensor: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    mask = inputs.get("mask")
    if mask is None or tensor.ndim != 3 or tensor.shape[:2] != mask.shape:
        return torch.ones_like(tensor)
    return mask[..., None].expand_as(tensor).float()


def require_parity(graph: Graph, run: Runner, name: str) -> None:
    """A UserError for a graph that differs from its module."""
    for turn in range(len(SIZES)):
        for output, apart in differences_of(graph, run, turn):
            if not apart <= CLOSE:
                raise UserError(
                    f"{name}: its {output} differ by {apart:.2g} from those of torch, so that nothing was "
                    "written; try other versions of the libraries, and report this"
                )


COLOURS = {"red": (214, 38, 40), "green": (44, 160, 70), "blue": (30, 70, 190), "yellow": (240, 210, 40)}
SHAPES = ("disc", "square")
"""Of the pairs on which the loss is measured: each picture is of two things side by side."""


def quantise(folder: Path, pretrained: Pretrained) -> str:
    """Give image and text graphs of an ONNX folder 8-bit weights; returns the loss in a sentence."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    pairs = _pairs()
    open_ = RUNTIMES[Format.ONNX].load().open
    both = [IMAGE, TEXT] if pretrained.model.sees else [TEXT]
    names = [name for name in both if name == IMAGE or pretrained.given_tokenizer is not None]
    before = {name: _vectors(name, open_(folder / f"{name}.onnx"), pretrained, pairs) for name in names}
    for name in both:
        path, eight = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
        logging.disable(logging.WARNING)  # it advises a preparation that torch's exporter has done
        try:
            quantize_dynamic(path, eight, weight_type=QuantType.QInt8, per_channel=True)
        finally:
            logging.disable(logging.NOTSET)
        for left in folder.glob(f"{name}.onnx*"):  # the graph, and its weights where they lie apart
            left.unlink()
        os.replace(eight, path)
    after = {name: _vectors(name, open_(folder / f"{name}.onnx"), pretrained, pairs) for name in names}
    return _told(before, after)


def _told(before: dict[str, NDArray[np.float32]], after: dict[str, NDArray[np.float32]]) -> str:
    cosines = {name: (before[name] * after[name]).sum(axis=1) for name in before}
    told = [
        f"cosine of {what} with those of float32 {cosines[name].mean():.4f} on average, "
        f"{cosines[name].min():.4f} at least"
        for name, what in ((IMAGE, "pictures"), (TEXT, "texts"))
        if name in cosines
    ]
    if {*before} == {IMAGE, TEXT}:
        first, then = ((found[TEXT] @ found[IMAGE].T).argmax(axis=1) for found in (before, after))
        told.append(f"the same picture first for {(first == then).sum()} of {len(first)} texts")
    return "; ".join(told)


def _pairs() -> list[tuple[str, Image.Image]]:
    found = []
    for left in COLOURS:
        for right in COLOURS:
            for number, shape in enumerate(SHAPES):
                if left != right:
                    other = SHAPES[1 - number]
                    text = f"a {left} {shape} left of a {right} {other}"
                    found.append((text, _drawn((left, shape), (right, other))))
    return found


def _drawn(*things: tuple[str, str]) -> Image.Image:
    picture = Image.new("RGB", (160, 120), (235, 235, 235))
    pen = ImageDraw.Draw(picture)
    for place, (colour, shape) in enumerate(things):
        box = (12 + 75 * place, 30, 72 + 75 * place, 90)
        (pen.ellipse if shape == SHAPES[0] else pen.rectangle)(box, COLOURS[colour])
    return picture


def _vectors(
    name: str, run: Runner, pretrained: Pretrained, pairs: list[tuple[str, Image.Image]]
) -> NDArray[np.float32]:
    if name == TEXT:
        longest = pretrained.model.config.language.longest
        texts = [normalise_caption(text) for text, _ in pairs]
        tokens = pretrained.tokenizer.encode_batch(texts, longest).tokens
        return run({"ids": tokens.ids, "mask": tokens.mask})["vector"].numpy()
    shown = pretrained.preprocessing
    pictures = [torch.from_numpy(np.array(picture)).permute(2, 0, 1) for _, picture in pairs]
    pixels = model_pixels(torch.stack([framed(one, shown) for one in pictures]), shown)
    return run({"pixels": pixels})["vector"].numpy()


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
    if pretrained.check is not None:
        return pretrained
    longest, own = pretrained.model.config.language.longest, pretrained.belongings
    check = record(pretrained.model.eval(), own.task, own.given_tokenizer, own.preprocessing, longest)
    if check is None:
        raise UserError("the model gives no numbers, so that nothing can be exported")
    return replace(pretrained, check=check)


def _described(graph: Graph, path: Path, run: Runner) -> GraphFile:
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
