"""`xfm export`: write a model in another program's format."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from xfm.commands._options import option
from xfm.config.options import new_parser
from xfm.errors import UserError

WRITTEN = (".th", ".pt", ".pth")
"""Ends of the names of published checkpoints."""
FOLDERS = ("sentence-transformers", "cross-encoder")
"""Formats that are folders of sentence-transformers."""


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm export`."""
    parser = new_parser(
        words=["model", "out"],
        prog="xfm export",
        usage="xfm export MODEL OUT --format FORMAT",
        description="Write a model folder in another program's format: `published` is the checkpoint that\n"
        "the published X-FM code reads. `xfm convert` reads it back to the bit.\n"
        "`sentence-transformers` and `cross-encoder` are folders that sentence-transformers loads, for\n"
        "vectors of texts and pictures, and for matching a text with a picture.",
        epilog="examples:\n  xfm export runs/quickstart/model nano.th --format published\n"
        "  xfm export small models/small-st --format sentence-transformers",
    )
    option(parser, "--model", required=True)
    option(parser, "--out", "file to write (.th, .pt or .pth), or folder", required=True)
    option(parser, "--format", "the format", "published", choices=["published", *FOLDERS])
    return parser


def run(chosen: Namespace) -> None:
    """`xfm export`."""
    if chosen.format in FOLDERS:
        from xfm.inference.sentence_folder import write_sentence_folder

        use = write_sentence_folder(chosen.model, Path(chosen.out), chosen.format)
        print(f"The folder is {chosen.out}. With sentence-transformers:\n\n{use}")
        return
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
