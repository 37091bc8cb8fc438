"""`xfm demo`: its options, and what it says when the page is there."""

import threading
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from xfm.cli._options import option
from xfm.cli.serve import KEYS, add_server_options, server_config
from xfm.config.options import ArgumentParser, Namespace, names_in, new_parser
from xfm.core.errors import explained
from xfm.models.shipped import DEFAULT, model_or_default


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["models"],
        usage="xfm demo [MODEL,...] [--index FOLDER] [--open] [--OPTION VALUE ...]",
        description="Try models in the browser: search a gallery, ask, find, compare, caption, classify,\n"
        "fill in words, see where a model looks. The page comes from this machine, and asks no other. A\n"
        "run's folder (as of `xfm quickstart`) opens its model with those that were fine-tuned on its way.",
        examples="  xfm demo runs/quickstart --open\n"
        "  xfm demo small,runs/vqa --index photos\n"
        f"  {KEYS}=... xfm demo small --host 0.0.0.0",
    )
    option(parser, "--models", f"models or runs with commas, each asked what it is made for; else {DEFAULT}")
    option(parser, "--index", "collection to search in, or folder of pictures, which becomes one at first")
    option(parser, "--open", "open the browser", False)
    add_server_options(parser, "fp32")
    return parser


def run(chosen: Namespace) -> None:
    config, keys = server_config(chosen)
    with explained("the page needs FastAPI and uvicorn", "pip install 'xfm[demo]'", ImportError):
        from xfm.serving.demo import open_demo
        from xfm.serving.server import serve

    references = names_in(model_or_default(chosen.models or None))
    index = Path(chosen.index) if chosen.index else None
    running = {"device": chosen.device, "precision": chosen.precision, "batch_size": config.max_batch_size}

    def started(address: str) -> None:
        print(f"The page of {names} is at {address} (Ctrl-C ends it)", flush=True)
        if chosen.open:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    with ExitStack() as stack:
        server = open_demo(references, index, config, keys, stack, **running)
        names = ", ".join(one.name for one in server.models)
        serve(server, started)
