"""Weights of eight bits for the encoders of texts and pictures, and what that costs, measured."""

import logging
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xfm.config.exported import Format
from xfm.data.tokenizer import normalise_caption
from xfm.modeling.artifacts import framed, model_pixels
from xfm.modeling.folder import Pretrained
from xfm.runtimes.backends import RUNTIMES, Runner
from xfm.runtimes.graphs import IMAGE, TEXT

COLOURS = {"red": (214, 38, 40), "green": (44, 160, 70), "blue": (30, 70, 190), "yellow": (240, 210, 40)}
SHAPES = ("disc", "square")
"""Of the pairs on which the loss is measured: each picture is of two things side by side."""


def quantise(folder: Path, pretrained: Pretrained) -> str:
    """Give the graphs of texts and pictures of an ONNX folder weights of eight bits.

    Args:
        folder: with `image.onnx` and `text.onnx`, which are replaced.
        pretrained: the model, which the pairs are compared with.

    Returns:
        What it costs, as a sentence.
    """
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
