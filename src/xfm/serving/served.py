"""What a server has: models and collections by name, opened once and replaced without a gap."""

import copy
import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from PIL import Image

from xfm.config.tasks import task_specs
from xfm.config.training import Precision
from xfm.core.errors import UserError, excerpt, suggest
from xfm.core.files import path_below
from xfm.core.paths import home_path
from xfm.inference.base import Pipeline
from xfm.inference.engine import EncodedImages
from xfm.inference.input_parsing import ImageReader, read_original
from xfm.inference.pipeline import pipeline, read_to_run
from xfm.models.folder import Pretrained
from xfm.models.precision import hold
from xfm.search.journal import HIDDEN
from xfm.search.opening import open_index
from xfm.search.searching import Answer, FoundImage, Searcher
from xfm.search.store import StoreError

ENCODED = 64 << 20
"""Bytes of encoded pictures that a model keeps between requests: full after a minute of load."""


class ServedModel:
    """A served model, its name in requests, and the reference that it was loaded from. `alone`: nothing else
    computes with it, so that matrices may be kept in bf16. `encoded` pictures of late requests are for the
    computing thread alone."""

    def __init__(self, reference: str, alone: bool, running: Mapping[str, Any]) -> None:
        asked, path = running.get("precision"), Path(reference)
        precision = None if asked is None else Precision(asked)
        self.pretrained, precision = read_to_run(reference, running.get("device"), precision)
        self.name = path.parent.name if path.name == "model" and path.parent.name else path.name
        self.reference, self.reader = reference, ImageReader(self.pretrained.preprocessing, None)
        self._running = {**running, "precision": precision.value}
        self._pipelines, self._lock = dict[str, Pipeline](), Lock()
        engine = self.pipeline("embed").engine
        self.encoded = EncodedImages(engine, ENCODED)
        # A second tokenizer, so that counting tokens waits for no reading thread.
        self._counting = copy.deepcopy(self.pretrained.tokenizer)
        if alone:
            hold(self.pretrained.encoders, engine.precision, engine.device)
        engine.check()

    def pipeline(self, task: str) -> Pipeline:
        """The pipeline of a task; UserError: no such task, or not fine-tuned for it."""
        with self._lock:
            if task not in self._pipelines:
                self._pipelines[task] = pipeline(task, self.pretrained, **self._running)
            return self._pipelines[task]

    @cached_property
    def tasks(self) -> list[str]:
        """Names of the tasks that the model answers, in the order of the documentation."""
        found = []
        for spec in task_specs():
            with suppress(UserError):
                self.pipeline(spec.name)
                found.append(spec.name)
        return found

    def count(self, texts: Sequence[str], pictures: int) -> int:
        """Tokens read of texts, plus patches of pictures; for the event loop's thread."""
        config = self.pretrained.model.config
        patches = config.vision.patches * pictures if pictures else 0
        return self._counting.count(texts, config.language.longest) + patches


class Models:
    """Models by name; the first answers requests that name none. `alone`: see `ServedModel`."""

    def __init__(self, references: Sequence[str], alone: bool = False, **running: Any) -> None:
        self._running, self._alone = running, alone
        self._served: dict[str, ServedModel] = {}
        for reference in references:
            one = ServedModel(reference, alone, running)
            if one.name in self._served:
                raise UserError(f"two models are called {one.name}: rename a folder")
            self._served[one.name] = one

    def reload(self) -> list[str]:
        """Load every model again, and swap when all are there; UserError: none is swapped."""
        fresh = [ServedModel(one.reference, self._alone, self._running) for one in self._served.values()]
        self._served = {one.name: one for one in fresh}
        return [*self._served]

    def __iter__(self) -> Any:
        return iter(self._served.values())

    def model(self, name: str | None) -> ServedModel:
        """A model by name; raises UnknownModel."""
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise UnknownModel(
                f"there is no model {excerpt(name)}; {suggest(name[:100], [*self._served], 'see /v1/models')}"
            )
        return self._served[name]


class UnknownModel(UserError):
    """The request's model is not served."""


LARGEST = 640
"""Pixels of the longer side of a picture that is shown."""
_REMEMBERED = 10_000
"""Pictures that searches gave, of which the file is known."""


class Searches:
    """Collections by name, open for reading; the first answers requests that name none. `models` by folder
    replace those that made the collections; files below `show_from` are shown, besides those of the
    collections' folders. UserError: no collection, or two of one name."""

    def __init__(
        self,
        folders: list[Path],
        models: Mapping[Path, Pretrained] | None = None,
        show_from: Sequence[Path | str] = (),
        **running: Any,
    ) -> None:
        self._models, self._running = models or {}, running
        self._stacks, self._searchers = dict[str, ExitStack](), dict[str, Searcher]()
        self._folders, self._opening = dict[str, Path](), Lock()
        self._given = OrderedDict[tuple[int, str], str]()
        own = [folder.absolute().parent if folder.name == HIDDEN else folder.absolute() for folder in folders]
        self._roots = [*own, *map(home_path, show_from)]
        try:
            for folder, root in zip(folders, own, strict=True):
                if root.name in self._folders:
                    raise UserError(f"two collections are called {root.name}: rename a folder")
                self._folders[root.name] = folder
                self._open(root.name)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str) -> None:
        folder, stack = self._folders[name], ExitStack()
        self._stacks[name] = stack
        given = self._models.get(folder)
        index = stack.enter_context(open_index(folder, given, writing=False, **self._running))
        self._searchers[name] = Searcher(index)

    @property
    def names(self) -> list[str]:
        """Of the collections."""
        return [*self._folders]

    def of(self, name: str | None) -> Searcher:
        """The searcher of a collection, opened again if built anew; UserError: unknown. StoreError: gone or
        damaged."""
        if not self._folders:
            raise UserError("the server has no collection: start it with --index FOLDER")
        name = self.names[0] if name is None else name
        if name not in self._folders:
            raise UserError(
                f"there is no collection {excerpt(name)}; {suggest(name[:100], self.names, 'see /ready')}"
            )
        with self._opening:
            if name not in self._searchers or not self._searchers[name].index.journal.is_there:
                self._searchers.pop(name, None)  # a new file may have the number of one that was closed
                self._stacks[name].close()
                try:
                    self._open(name)
                except UserError as error:
                    raise StoreError(str(error)) from error
            return self._searchers[name]

    def told(self, searcher: Searcher, found: Answer, marks: Mapping[str, str]) -> dict[str, Any]:
        """A search's answer without paths of this machine; its pictures can be asked for now."""
        for hit in found.hits:
            self._given[id(searcher), hit["key"]] = hit["source"]
            self._given.move_to_end((id(searcher), hit["key"]))
        while len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        told = asdict(found)
        for hit in told["hits"]:
            hit |= {"key": marks.get(hit["key"], hit["key"]), "source": shown_source(hit)}
        return told

    def picture(self, searcher: Searcher, key: str) -> bytes | None:
        """A picture's file as a JPEG by its public key, or None; UserError: no such picture. Only files that
        a search named lately, below folders that the server's user named: a stranger's collection names any
        file."""
        source = self._given.get((id(searcher), searcher.key_of(key)), "")
        file = next(filter(None, (path_below(root, source) for root in self._roots)), None)
        if file is not None:
            with suppress(UserError):  # it came from a table or a shard, or is gone
                image = Image.fromarray(read_original(file).permute(1, 2, 0).numpy())
                image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
                out = io.BytesIO()
                image.save(out, "jpeg", quality=88)
                return out.getvalue()
        return None

    def close(self) -> None:
        """Close them."""
        for stack in self._stacks.values():
            stack.close()


def shown_source(hit: FoundImage) -> str:
    """A picture's source without this machine's paths. The path in the indexed folder, the shard and name in
    it, or the file's name with a table's row."""
    source, told = hit["source"], hit["metadata"]
    inside = PurePosixPath(str(told.get("folder", ""))) / str(told.get("name", ""))
    if source.endswith(f"/{inside}"):  # as the pictures of folders have it
        return str(inside)
    shard, tar, name = source.partition(".tar/")
    return f"{PurePosixPath(shard).name}{tar}{name}" if tar else PurePosixPath(source).name
