"""`xfm demo`: its options, and what it says when the page is there."""

import threading
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from xfm.cli._options import option
from xfm.cli.serve import KEYS, check_host, read_keys
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, names_in, new_parser
from xfm.config.serving import ServeConfig
from xfm.core.errors import UserError
from xfm.models.shipped import DEFAULT


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm demo`."""
    parser = new_parser(
        words=["models"],
        prog="xfm demo",
        usage="xfm demo [MODEL,...] [--index FOLDER | --images FOLDER] [--open] [--OPTION VALUE ...]",
        description="Try models in the browser: search a gallery, ask, find, compare, caption, classify,\n"
        "fill in words, see where a model looks. The page comes from this machine, and asks nothing of\n"
        "any other. A run's folder (as of `xfm quickstart`) opens its model together with those that were\n"
        "fine-tuned on its way. Models are given with commas; each tab asks the one made for it.",
        epilog="examples:\n"
        "  xfm demo\n"
        "  xfm demo runs/quickstart --open\n"
        "  xfm demo small,runs/vqa --images photos\n"
        f"  {KEYS}=... xfm demo small --host 0.0.0.0",
    )
    option(
        parser,
        "--models",
        f"model folders, runs, models of the package or of the hub, with commas; else {DEFAULT}",
    )
    option(parser, "--index", "collection to search in (`xfm index build`)")
    option(parser, "--images", "folder of pictures to search in; it becomes a collection at first")
    option(parser, "--open", "open the browser", False)
    option(parser, "--keys", f"file of keys, one of which the page asks for; or {KEYS}, with commas")
    option(parser, "--precision", "fp32, bf16, or auto: bf16 where it is faster", "fp32")
    option(parser, "--device")
    add_fields(parser, ServeConfig)
    return parser


def run(chosen: Namespace) -> None:
    """Load, draw the examples, listen, and say where."""
    config, keys = assemble(ServeConfig, chosen), read_keys(chosen["keys"])
    check_host(config, keys)
    if chosen.index and chosen.images:
        raise UserError("give --index or --images: the page searches one collection")
    try:
        from xfm.serving.page.opening import DemoSources, open_demo
        from xfm.serving.server import serve
    except ImportError as error:
        raise UserError(f"the page needs FastAPI and uvicorn ({error}): pip install 'xfm[demo]'") from error

    if not chosen.models:
        print(f"No model is named: {DEFAULT}, the one that comes with the package, answers.", flush=True)
    sources = DemoSources(
        names_in(chosen.models or DEFAULT),
        Path(chosen.index) if chosen.index else None,
        Path(chosen.images) if chosen.images else None,
    )
    running = {"device": chosen.device, "precision": chosen.precision, "batch_size": config.batch}

    def started(address: str) -> None:
        print(f"The page of {names} is at {address} (Ctrl-C ends it)", flush=True)
        if chosen.open:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    with ExitStack() as stack:
        server = open_demo(sources, config, keys, stack, **running)
        names = ", ".join(one.name for one in server.models)
        serve(server, started)
