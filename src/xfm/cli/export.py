"""`xfm export`: write a model in another program's format."""

from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option
from xfm.config.artifacts import Format
from xfm.config.options import ArgumentParser, Namespace, new_parser
from xfm.core.errors import UserError

MERGED, PUBLISHED, WEB = "merged", "published", "web"
GRAPHS = [*map(str, Format)]
WRITTEN = (".th", ".pt", ".pth")
"""Ends of the names of published checkpoints."""
FOLDERS = ("sentence-transformers", "cross-encoder")
"""Formats that are folders of sentence-transformers."""


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["model", "out"],
        usage="xfm export MODEL OUT --format FORMAT",
        description="Write a model folder in another program's format, and compare it with the model.\n"
        "published: the checkpoint that X-FM's code reads, and `xfm convert` reads back to the bit.\n"
        "sentence-transformers, cross-encoder: for vectors, and for matching a text with a picture.\n"
        "onnx, openvino: graphs that pipelines, `xfm predict` and `xfm serve` run as they run a model.\n"
        "onnx-int8: the same, encoders in eight bits where their vectors stay close.\n"
        "web: a static page that searches a folder of pictures in the browser, without a server.\n"
        "merged: the whole model of an adapter, as of `xfm finetune --tune.save-adapter-only true`.",
        examples="  xfm export small small.th --format published\n"
        "  xfm export small models/small-st --format sentence-transformers\n"
        "  xfm export small runs/small-onnx --format onnx\n"
        "  xfm serve runs/small-onnx\n"
        "  xfm export small runs/small-web --format web --node-modules node_modules\n"
        "  xfm export runs/reviews models/reviews --format merged",
    )
    option(parser, "--model", required=True)
    option(parser, "--out", "file to write (.th, .pt or .pth), or folder", required=True)
    option(parser, "--format", "the format", PUBLISHED, choices=[PUBLISHED, MERGED, WEB, *FOLDERS, *GRAPHS])
    option(parser, "--base", "the model that an adapter was made over, if that lies elsewhere now (merged)")
    option(parser, "--node-modules", "where npm put the page's libraries; if not given, node_modules (web)")
    return parser


def run(chosen: Namespace) -> None:
    for name, form in (("base", MERGED), ("node_modules", WEB)):
        if getattr(chosen, name) is not None and chosen.format != form:
            raise UserError(f"--{name.replace('_', '-')} is for --format {form}; give that, or leave it out")
    if chosen.format in GRAPHS:
        _write_graphs(chosen)
        return
    if chosen.format == WEB:
        _write_page(chosen)
        return
    if chosen.format == MERGED:
        from xfm.core.files import folder_size
        from xfm.core.results_folder import require_new_model
        from xfm.models.adapters import merge
        from xfm.models.resolve import model_folder

        adapter, out = model_folder(chosen.model), Path(chosen.out)
        made = {"merged": str(chosen.model)}
        require_new_model(out, made)
        merge(adapter, out, chosen.base, made)
        sizes = f"{folder_size(out):,} bytes; the adapter has {folder_size(adapter):,}"
        print(f"The model is in {out} ({sizes}).")
        return
    if chosen.format in FOLDERS:
        from xfm.inference.sentence_folder import write_sentence_folder

        use = write_sentence_folder(chosen.model, Path(chosen.out), chosen.format)
        print(f"The folder is {chosen.out}. With sentence-transformers:\n\n{use}")
        return
    if Path(chosen.out).suffix.lower() not in WRITTEN:
        raise UserError(
            f"{chosen.out}: export writes a checkpoint of the published code, whose name ends in "
            f"{', '.join(WRITTEN)}; name it so, or give another --format: "
            f"{', '.join([MERGED, WEB, *FOLDERS, *GRAPHS])}"
        )
    from xfm.models.folder import load_model
    from xfm.models.interop.published.file import export as write

    out = Path(chosen.out)
    for difference in write(load_model(chosen.model), out):
        print(f"Note: {difference}.")
    print(f"The checkpoint is in {out}.")


def _write_graphs(chosen: Namespace) -> None:
    from xfm.models.folder import load_model
    from xfm.models.runtimes.writing import export as write

    manifest = write(load_model(chosen.model), chosen.out, Format(chosen.format), chosen.model)
    for graph in manifest.graphs:
        print(f"  {graph.file:<16} {graph.about}")
    print(f"The exported model is in {chosen.out}; it was compared with {chosen.model}.")


def _write_page(chosen: Namespace) -> None:
    from xfm.core.files import folder_size
    from xfm.inference.web_export import write_web_folder

    made = write_web_folder(chosen.model, Path(chosen.out), Path(chosen.node_modules or "node_modules"))
    for what, least in zip(("pictures", "texts"), made.cosines, strict=True):
        print(f"  {what}: the cosine of vectors in eight bits with those in float32 is at least {least}")
    size = folder_size(Path(chosen.out))
    print(f"The page is in {chosen.out} ({size:,} bytes). Serve the folder, for example by\n")
    print(f"  python -m http.server --bind 127.0.0.1 --directory {chosen.out}")
