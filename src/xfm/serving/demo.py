"""A demo: models, a gallery, examples, and the server of the page."""

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from xfm.config.next_command import command_line
from xfm.config.serving import ServeConfig
from xfm.config.tasks import MATCHING, task_spec
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.data.skipped import SkippedRecords
from xfm.evaluation.parts import saved_models
from xfm.models.artifacts import model_card, trained_on
from xfm.models.folder import Pretrained
from xfm.models.shipped import boxed_names
from xfm.search.ingest import folder_index, is_index
from xfm.search.journal import HIDDEN
from xfm.search.opening import open_index
from xfm.search.sources import IngestItem
from xfm.serving.app import Server
from xfm.serving.examples import EXAMPLES, Examples, draw_examples
from xfm.serving.middleware import OPEN, Guard
from xfm.serving.served import Models, Searches, ServedModel
from xfm.world.catalog import ART_LICENCE

PAGE, PICTURES, SEARCH = "/page", "/page/examples", "search"
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every answer: nothing is loaded from elsewhere, and no other page shows or reads this one."""


@cache
def page_files() -> Mapping[str, tuple[bytes, str]]:
    """The page's files by path, each with its media type."""
    home = files("xfm.serving") / "page"
    found: dict[str, tuple[bytes, str]] = {}
    for folder, name in ((home, PAGE), (home / "tabs", f"{PAGE}/tabs")):
        for entry in folder.iterdir():
            kind = _KINDS.get(entry.name.rpartition(".")[2])
            if kind and entry.is_file():
                found[f"{name}/{entry.name}"] = (entry.read_bytes(), kind)
    found["/"] = found.pop(f"{PAGE}/index.html")
    return found


def page_routes(told: Mapping[str, Any], examples: Examples | None) -> APIRouter:
    """Routes of the page; `told` is from `about`."""
    router = APIRouter(include_in_schema=False)
    about = json.dumps(told, ensure_ascii=False).encode()

    @router.get(f"{PAGE}/about")
    async def described() -> Response:
        return Response(about, media_type="application/json", headers={"cache-control": "no-store"})

    @router.get(f"{PICTURES}/{{name}}")
    async def example(name: str) -> Response:
        data = examples.pictures.get(name) if examples else None
        if data is None:
            raise HTTPException(404, "there is no such example")
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    @router.get("/")
    @router.get(f"{PAGE}/{{name:path}}")
    async def page(request: Request) -> Response:
        found = page_files().get(request.url.path)
        if found is None:
            raise HTTPException(404, "there is no such file")
        return Response(found[0], media_type=found[1], headers={"cache-control": "no-cache"})

    return router


def with_tuned(references: list[str]) -> list[str]:
    """References of models, and after each run the models that its evaluation fine-tuned. An evaluation's
    folder without a model of its own stands for the fine-tuned ones alone."""
    found: list[str] = []
    for reference in references:
        place = home_path(reference)
        tuned = saved_models(place, Path("worlds")) if place.is_dir() else {}
        kept = [str(folder) for folder, _ in tuned.values()]
        own = not kept or any((place / name).exists() for name in ("config.json", "model", "config.yaml"))
        found += [*([reference] if own else []), *kept]
    return list(dict.fromkeys(found))


def open_demo(
    references: list[str],
    index: Path | None,
    config: ServeConfig,
    keys: list[str],
    stack: ExitStack,
    **running: Any,
) -> Server:
    """A server whose first page is the demo of models; `stack` closes what was opened. Raises UserError. The
    page searches the collection or folder of pictures `index`, or else its examples."""
    with warnings.catch_warnings():
        # The page asks each model for what it is good for; which one that is, it says.
        warnings.filterwarnings("ignore", message=".*may have changed the parts that")
        models = Models(with_tuned(references), **running)
        main = next((one for one in models if one.pretrained.task is None), models.model(None))
        try:
            examples, lacking = draw_examples(), ""
        except UserError as error:
            examples, lacking = None, f"There are no examples, as {error}. Take pictures of your own."
        made, place = dict[Path, Any](), index
        gallery: dict[str, Any] = {"lacking": f"This tab is off: nothing is there to search. {lacking}"}
        if index is not None and not is_index(index):
            place = index / HIDDEN
            model = None if is_index(place) else main.reference  # else by whichever: the page says which
            with folder_index(index, model, SkippedRecords(), device=running.get("device")):
                pass
        elif index is None and examples is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xfm-demo-")))
            try:
                place = _example_collection(examples, folder, main.pretrained)
                made[place] = main.pretrained
            except UserError as error:
                gallery = {"lacking": f"This tab is off: {error}"}
        searches = Searches([place] if place else [], made, config.show_from, device=running.get("device"))
        for name in searches.names:
            searcher = searches.of(name)
            kind = EXAMPLES if made else "collection"
            gallery = {"name": name, "kind": kind, "pictures": len(searcher.index), "lacking": ""}
            gallery["calibrated"] = searcher.index.engine.pretrained.calibration is not None
        told = about(models, references, examples, lacking, gallery)
    server = Server(models, searches, config, keys)
    server.app.include_router(page_routes(told, examples))
    drawn = [f"{PICTURES}/{name}" for name in examples.pictures] if examples else []
    free = OPEN.union(page_files(), drawn)  # the page asks for a key, and anybody can draw the examples
    server.guarded = Guard(server.app, config, keys, server.metrics, free, HEADERS)
    return server


def _example_collection(examples: Examples, folder: Path, model: Pretrained) -> Path:
    place = folder / EXAMPLES
    with open_index(place, model, make=True) as index:
        for name, caption in examples.gallery.items():
            path = place / name  # of the collection's folder files are shown
            path.write_bytes(examples.pictures[name])
            index.add([IngestItem(name, str(path), path, name, {"caption": caption})])
    return place


# ---------------------------------------------------------------- what the page is told
class TabSpec(NamedTuple):
    """A tab of the page, and its module: the task that it needs."""

    name: str
    title: str
    does: str
    task: str


TABS = (
    TabSpec(
        SEARCH, "Search",
        "Find pictures by what you write. The nearest are looked at again: where none fits, it says so.",
        "embed",
    ),
    TabSpec("ask", "Ask", "Ask a question about a picture.", "vqa"),
    TabSpec("find", "Find", "Write what to look for, and see where it is.", "grounding"),
    TabSpec(
        "compare", "Compare", "Say something about two pictures, and see whether it is true.", "reasoning"
    ),
    TabSpec("caption", "Caption", "Have a picture described.", "captioning"),
    TabSpec(
        "classify", "Classify",
        "Sort a picture into classes of your own: write their names, no training is needed.",
        "zero-shot-image-classification",
    ),
    TabSpec(
        "fill", "Fill in",
        "Leave a word out: the model guesses it from the text alone, and again with the picture.",
        "fill-mask",
    ),
    TabSpec(
        "look", "Attention",
        "See which parts of a picture the fusion encoder looks at, for a text and for each of its words.",
        MATCHING.name,
    ),
)  # fmt: skip


def about(
    models: Models,
    references: Sequence[str],
    examples: Examples | None,
    lacking: str,
    gallery: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the page is built from, as JSON. `references` are the models as given, for commands;
    `lacking` says why there are no examples; `gallery` has the `name`, `pictures` and `kind` of the
    collection, or `lacking`."""
    offered = None
    if examples is not None:
        own = gallery.get("kind") == EXAMPLES  # else the queries are about other pictures
        tabs = {name: told for name, told in examples.tabs.items() if own or name != SEARCH}
        offered = {"licence": ART_LICENCE, "tabs": tabs}
    return {
        "version": version("xfm"),
        "models": [_described(one) for one in models],
        "tabs": [_tab(one, models, gallery, references) for one in TABS],
        "gallery": dict(gallery),
        "examples": offered,
        "lacking": lacking,
        "matching": _chosen(MATCHING.name, models),
    }


def _tab(
    tab: TabSpec, models: Models, gallery: Mapping[str, Any], references: Sequence[str]
) -> dict[str, Any]:
    model = _chosen(tab.task, models)
    told = {"name": tab.name, "title": tab.title, "does": tab.does, "task": tab.task, "model": model}
    if model is None:
        main = next((one for one in models if one.pretrained.task is None), None)
        began = references[0] if main is None else main.reference
        spec, out = task_spec(tab.task), f"runs/{tab.name}"
        commands = [command_line("quickstart"), command_line("demo", "runs/quickstart")]
        if not spec.uses:  # a pre-trained model does not do
            tune = command_line("finetune", spec.name, model=began, train="my.jsonl", out=out)
            commands = [tune, command_line("demo", ",".join([*references, out]))]
        off = f"This tab is off: no served model has the task {spec.name}"
        why = f"{off}. The first command trains one, the second opens it here."
        return told | {"why": why, "commands": commands}
    if tab.name == SEARCH and gallery.get("lacking"):
        return told | {"model": None, "why": gallery["lacking"], "commands": []}
    return told


def _chosen(task: str, models: Models) -> str | None:
    """The model fine-tuned for the task, else the first pre-trained one, else any that can."""

    def rank(one: ServedModel) -> int:
        own = one.pretrained.task
        return 0 if own is not None and own.task.spec == task_spec(task) else 1 if own is None else 2

    able = sorted((one for one in models if task in one.tasks), key=rank)
    return able[0].name if able else None


def _described(one: ServedModel) -> dict[str, Any]:
    found, provenance = one.pretrained, one.pretrained.provenance
    own = None if found.task is None else found.task.task.spec.name
    before = provenance if own is None else provenance.get("began_with")
    mask = None
    with suppress(UserError):  # it has no tokenizer
        mask = found.tokenizer.id_to_token(found.tokenizer.mask) or None
    return {
        "name": one.name,
        "tasks": one.tasks,
        "task": own,
        "calibrated": found.calibration is not None,
        "mask": mask,
        "boxed": one.reference in boxed_names(),
        "trained_on": trained_on(before if isinstance(before, Mapping) else {}),
        "limits": str(provenance.get("limits") or "").replace("\n", " "),
        "card": model_card(found.model.config, found.artifacts),
    }
