"""A demo put together: models, what they search, examples, and the server that answers the page."""

import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfm.config.serving import ServeConfig
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.data.left_out import LeftOut
from xfm.evaluation.saved_models import saved_models
from xfm.models.folder import Pretrained
from xfm.search.ingest import folder_index, is_index
from xfm.search.manifest import HIDDEN
from xfm.search.opening import open_index
from xfm.search.sources import Offer
from xfm.serving.app import Server
from xfm.serving.middleware import Guard
from xfm.serving.models import Models, Served
from xfm.serving.page.about import about
from xfm.serving.page.examples import EXAMPLES, Examples, draw_examples
from xfm.serving.page.pages import PageHeaders, free_paths, page_routes
from xfm.serving.searches import Searches


@dataclass(frozen=True)
class DemoSources:
    """What a demo is made of.

    Attributes:
        models: folders, runs, models of the package.
        index: a collection to search in.
        images: a folder of pictures to search in.
    """

    models: list[str]
    index: Path | None = None
    images: Path | None = None


def with_tuned(references: list[str]) -> list[str]:
    """References of models, and after each run those that its evaluation has fine-tuned.

    A folder of an evaluation that holds no model of its own stands for the fine-tuned ones alone.
    """
    found: list[str] = []
    for reference in references:
        place = home_path(reference)
        kept = [str(one.folder) for one in saved_models(place, Path("worlds"))] if place.is_dir() else []
        own = not kept or any((place / name).exists() for name in ("config.json", "model", "config.yaml"))
        found += [*([reference] if own else []), *kept]
    return list(dict.fromkeys(found))


def open_demo(
    sources: DemoSources, config: ServeConfig, keys: list[str], stack: ExitStack, **running: Any
) -> Server:
    """A server whose first page is the demo.

    Args:
        sources: what it is made of.
        config: limits of the server.
        keys: of clients; none asks nobody.
        stack: closes what was opened, at the end.
        running: how models run, see `xfm.pipeline`.

    Raises:
        UserError: a model, collection or folder cannot be used.
    """
    with warnings.catch_warnings():
        # The page asks each model for what it is good for; which one that is, it says.
        warnings.filterwarnings("ignore", message=".*may have changed the parts that")
        models = Models(with_tuned(sources.models), **running)
        main = next((one for one in models if one.pretrained.task is None), models.model(None))
        examples, lacking = _examples(main)
        searches, gallery = _searches(
            sources, main, examples, lacking, stack, running.get("device"), config.show_from
        )
        told = about(models, sources.models, examples, lacking, gallery)
    server = Server(models, searches, config, keys)
    server.app.include_router(page_routes(told, examples))
    guard = Guard(server.app, config, keys, server.metrics, free_paths(examples), has_page=True)
    server.guarded = PageHeaders(guard)
    return server


def _examples(main: Served) -> tuple[Examples | None, str]:
    try:
        return draw_examples(lambda word: _is_token(main, word)), ""
    except UserError as error:
        return None, f"There are no examples, as {error}. Take pictures of your own."


def _is_token(main: Served, word: str) -> bool:
    try:
        tokenizer = main.pretrained.tokenizer
    except UserError:
        return " " not in word
    without, with_word = tokenizer.encode_batch(["a", f"a {word}"], 16).mask.sum(1).tolist()
    return with_word == without + 1


def _searches(
    sources: DemoSources,
    main: Served,
    examples: Examples | None,
    lacking: str,
    stack: ExitStack,
    device: str | None,
    show_from: list[str],
) -> tuple[Searches, dict[str, Any]]:
    made: dict[Path, Any] = {}
    try:
        if sources.index is not None:
            place, kind = sources.index, "collection"
        elif sources.images is not None:
            place = _picture_collection(sources.images, main.reference, LeftOut(), device=device)
            kind = "folder"
        elif examples is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xfm-demo-")))
            place, kind = _example_collection(examples, folder, main.pretrained), EXAMPLES
            made[place] = main.pretrained
        else:
            return Searches([]), {"lacking": f"This tab is off: nothing is there to search. {lacking}"}
    except UserError as error:
        if sources.index is not None or sources.images is not None:
            raise
        return Searches([]), {"lacking": f"This tab is off: {error}"}
    searches = Searches([place], made, show_from, device=device)
    (name,) = searches.names
    searcher = searches.of(name)
    told = {"name": name, "kind": kind, "pictures": searcher.pictures, "calibrated": searcher.calibrated}
    return searches, {**told, "lacking": ""}


def _example_collection(examples: Examples, folder: Path, model: Pretrained) -> Path:
    place = folder / EXAMPLES
    with open_index(place, model, make=True) as index:
        for name, caption in examples.gallery.items():
            path = place / name  # of the collection's folder files are shown
            path.write_bytes(examples.pictures[name])
            index.add([Offer(name, str(path), path, name, {"caption": caption})])
    return place


def _picture_collection(folder: Path, model: str, left_out: LeftOut, **running: Any) -> Path:
    if is_index(folder):
        raise UserError(f"{folder} is a collection: give it by --index {folder}")
    known = is_index(folder / HIDDEN)  # by whichever model: the page says which
    with folder_index(folder, None if known else model, left_out, **running):
        return folder / HIDDEN
