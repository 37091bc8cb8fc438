"""`xfm export`: write a model in another program's format."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.config.options import new_parser
from xfm.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


WRITTEN = (".th", ".pt", ".pth")
"""Ends of the names of published checkpoints."""


def parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm export`."""
    parser = new_parser(
        words=["model", "out"],
        prog="xfm export",
        usage="xfm export MODEL OUT --format published",
        description="Write a model folder in another program's format: `published` is the checkpoint that\n"
        "the published X-FM code reads. `xfm convert` reads it back to the bit.",
        epilog="examples:\n  xfm export runs/quickstart/model nano.th --format published",
    )
    parser.add_argument("--model", type=str, required=True, help="folder of a model, or of a finished run")
    parser.add_argument("--out", type=str, required=True, help="file to write: .th, .pt or .pth")
    parser.add_argument("--format", type=str, choices=["published"], default="published", help="the format")
    return parser


def run(chosen: "Namespace") -> None:
    """`xfm export`."""
    if Path(chosen.out).suffix.lower() not in WRITTEN:
        raise UserError(
            f"{chosen.out}: export writes a checkpoint of the published code, whose name ends in "
            f"{', '.join(WRITTEN)}; name it so (it writes no other format, such as ONNX)"
        )
    from xfm.files import model_folder
    from xfm.interop.published.export import export as write
    from xfm.modeling.folder import load_model
    from xfm.modeling.model_files import UNUSED
    from xfm.modeling.weights import read_tensors

    folder, out = model_folder(chosen.model), Path(chosen.out)
    unused = read_tensors(folder / UNUSED) if (folder / UNUSED).exists() else {}
    for difference in write(load_model(folder), out, unused):
        print(f"Note: {difference}.")
    print(f"The checkpoint is in {out}.")
