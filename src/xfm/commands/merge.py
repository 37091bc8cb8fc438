"""`xfm merge`: an adapter and the model that it is for become one model folder."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from xfm.commands._options import option
from xfm.config.options import new_parser


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm merge`."""
    parser = new_parser(
        words=["adapter", "out"],
        prog="xfm merge",
        usage="xfm merge ADAPTER OUT [--base MODEL]",
        description="Work an adapter, which `xfm finetune --tune.apart true` wrote, into the model that it\n"
        "was made over, and write a whole model folder. Its weights are compared with a fingerprint first.",
        epilog="examples:\n"
        "  xfm merge runs/reviews models/reviews\n"
        "  xfm merge adapter models/mine --base models/words",
    )
    option(parser, "--adapter", "folder of the adapter, or of its run", required=True)
    option(parser, "--out", "model folder to write", required=True)
    option(parser, "--base", "the model that it was made over, if that lies elsewhere now")
    return parser


def run(chosen: Namespace) -> None:
    """Merge, and say where the model is."""
    from xfm.files import folder_size
    from xfm.modeling.adapters import merge
    from xfm.modeling.named import model_folder
    from xfm.results_folder import require_new_model

    adapter, out = model_folder(chosen.adapter), Path(chosen.out)
    made = {"merged": str(chosen.adapter)}
    require_new_model(out, made)
    merge(adapter, out, chosen.base, made)
    print(f"The model is in {out} ({folder_size(out):,} bytes; the adapter has {folder_size(adapter):,}).")
