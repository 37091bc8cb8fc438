"""`xfm export`: write a model in another program's format."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from xfm.commands._options import option
from xfm.config.options import new_parser
from xfm.errors import UserError

WRITTEN = (".th", ".pt", ".pth")
"""Ends of the names of published checkpoints."""


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm export`."""
    parser = new_parser(
        words=["model", "out"],
        prog="xfm export",
        usage="xfm export MODEL OUT --format published",
        description="Write a model folder in another program's format: `published` is the checkpoint that\n"
        "the published X-FM code reads. `xfm convert` reads it back to the bit.",
        epilog="examples:\n  xfm export runs/quickstart/model nano.th --format published",
    )
    option(parser, "--model", required=True)
    option(parser, "--out", "file to write: .th, .pt or .pth", required=True)
    option(parser, "--format", "the format", "published", choices=["published"])
    return parser


def run(chosen: Namespace) -> None:
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
