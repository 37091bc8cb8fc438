"""`xfm serve`: its options, and what it says when it listens."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import PRECISION, option
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, names_in, new_parser
from xfm.config.serving import ServeConfig
from xfm.core.errors import UserError, explained
from xfm.core.files import read_text
from xfm.models.shipped import DEFAULT, model_or_default

KEYS = "XFM_API_KEYS"


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["models"],
        usage="xfm serve [MODEL,...] [--index FOLDER,...] [--OPTION VALUE ...]",
        description="Serve models over HTTP: vectors as OpenAI's clients ask for them (/v1/embeddings),\n"
        "ranking as Cohere's and Jina's do (/v1/rerank, /v2/rerank), every task (/v1/tasks/NAME), search in\n"
        "collections (/search), /health, /ready, /metrics for Prometheus; described at /openapi.json.\n"
        "SIGHUP loads models again, but for those of collections; SIGTERM answers what was taken, and ends.",
        examples="  xfm serve small\n"
        "  xfm serve runs/quickstart/model,runs/vqa --index runs/photos --port 9000\n"
        f"  export {KEYS}=$(openssl rand -hex 24); xfm serve small --host 0.0.0.0\n"
        "  xfm serve small --keys keys.txt --fetch-from '[images.example.org]'",
    )
    said = f"model folders, runs, models of the package or the hub, with commas; {DEFAULT} if not given"
    option(parser, "--models", said)
    option(parser, "--index", "collections, or folders that `xfm search` has searched, with commas", "")
    add_server_options(parser)
    return parser


def run(chosen: Namespace) -> None:
    config, keys = server_config(chosen)
    with explained("serving needs FastAPI and uvicorn", "pip install 'xfm[serve]'", ImportError):
        from xfm.serving.app import Server
        from xfm.serving.served import Models, Searches
        from xfm.serving.server import serve

    running = {"device": chosen.device, "precision": chosen.precision, "batch_size": config.max_batch_size}
    if not (given := names_in(model_or_default(chosen.models))):
        raise UserError("--models names no model; leave it out for the package's")
    models = Models(given, alone=True, **running)
    folders = [Path(one) for one in names_in(chosen.index)]
    searches = Searches(folders, show_from=config.show_from, device=chosen.device)
    names = ", ".join(one.name for one in models)
    serve(
        Server(models, searches, config, keys),
        lambda address: print(
            f"Serving {names} at {address}; what can be asked: {address}/openapi.json", flush=True
        ),
    )


def add_server_options(parser: ArgumentParser, precision: str | None = None) -> None:
    """Options of every server, with the precision that models have if none is given."""
    keys = "file of keys that clients, or whoever opens the page, must send, one a line"
    option(parser, "--keys", f"{keys}; or {KEYS}, with commas")
    option(parser, "--precision", PRECISION, precision, type=str)
    option(parser, "--device")
    add_fields(parser, ServeConfig)


def server_config(chosen: Namespace) -> tuple[ServeConfig, list[str]]:
    """The limits and the keys; other machines are not listened to without a key."""
    config, keys = assemble(ServeConfig, chosen), read_keys(chosen.keys)
    if not keys and config.host not in ("127.0.0.1", "localhost", "::1"):
        raise UserError(
            f"--host {config.host} takes requests of other machines, and no key is asked for: give --keys, "
            f"or {KEYS} in the environment"
        )
    return config, keys


def read_keys(file: str | None) -> list[str]:
    """The keys of the file, or of the environment."""
    place, told = file or KEYS, os.environ.get(KEYS, "").split(",")
    try:
        text = read_text(file, encoding="utf-8-sig").split("\n") if file else told
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 ({error.reason}): save it as such") from error
    keys = {n: key for n, one in enumerate(text, 1) if (key := one.strip()) and not key.startswith("#")}
    if not keys and (file or KEYS in os.environ):
        raise UserError(f"{place} holds no key: write one a line, in {KEYS} with commas")
    if wrong := [n for n, key in keys.items() if not re.fullmatch("[!-~]{16,}", key)]:
        key = "a key is 16 or more letters, digits and signs of ASCII, such as `openssl rand -hex 24` gives"
        raise UserError(f"{place}:{wrong[0]}: {key}")
    return [*keys.values()]
