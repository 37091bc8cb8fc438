"""The models of a server: loaded once, asked by task, replaced without a gap."""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from xfm.config.tasks import task_specs
from xfm.config.training import Precision
from xfm.core.errors import UserError, excerpt, suggest
from xfm.data.tokenizer import Tokenizer
from xfm.inference.base import Pipeline
from xfm.inference.engine import EncodedPictures
from xfm.inference.input_parsing import Item
from xfm.inference.picture_inputs import PictureReader
from xfm.inference.pipeline import pipeline, read_to_run
from xfm.models.folder import Pretrained
from xfm.models.precision import hold

AnyPipeline = Pipeline[Any, Any]
ENCODED = 64 << 20
"""Bytes of encoded pictures that a model keeps between requests: full after a minute of load."""


@dataclass(eq=False)
class Served:
    """A model that is served.

    Attributes:
        name: by which requests ask for it.
        reference: folder, run or name that it was loaded from.
        pretrained: the model.
        reader: of pictures; for all threads.
        encoded: pictures of late requests, encoded. For the thread that computes alone.
        counting: a tokenizer of its own, so that counting waits for no thread that reads texts.
    """

    name: str
    reference: str
    pretrained: Pretrained
    reader: PictureReader
    running: Mapping[str, Any]
    encoded: EncodedPictures = field(init=False)
    counting: Tokenizer = field(init=False)
    _pipelines: dict[str, AnyPipeline] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.encoded = EncodedPictures(self.pipeline("embed").engine, ENCODED)
        self.counting = copy.deepcopy(self.pretrained.tokenizer)

    def pipeline(self, task: str) -> AnyPipeline:
        """The pipeline of a task.

        Raises:
            UserError: the model was not fine-tuned for it, or there is no such task.
        """
        with self._lock:
            if task not in self._pipelines:
                self._pipelines[task] = pipeline(task, self.pretrained, **self.running)
            return self._pipelines[task]

    @cached_property
    def tasks(self) -> list[str]:
        """Names of the tasks that the model answers, in the order of the documentation."""
        found = []
        for spec in task_specs():
            try:
                self.pipeline(spec.name)
            except UserError:
                continue
            found.append(spec.name)
        return found

    def count(self, texts: Sequence[str], pictures: int) -> int:
        """Tokens that are read of texts, and patches of pictures; for the thread of the event loop alone."""
        config = self.pretrained.model.config
        patches = config.seeing.patches * pictures if pictures else 0
        return self.counting.count(texts, config.language.longest) + patches

    def read(self, task: str, given: object) -> Item:
        """An input of a task, decoded and checked; raises UserError."""
        return self.pipeline(task).read(given, self.reader)

    def compute(
        self, task: str, options: Any, ready: Any = None
    ) -> Callable[[Sequence[Item]], Sequence[Any]]:
        """Answers of a task to items that were read; what all need is made once a batch, or is `ready`."""
        pipe = self.pipeline(task)
        return lambda items: pipe.answers(items, self.encoded, ready or pipe.begin(options))


class Models:
    """The models of a server by name; the first is asked where a request names none.

    Args:
        references: folders, runs, models of the package, or names on the hub.
        alone: whether nothing else computes with them, so that their matrices may be kept in bf16.
        running: how they run, see `xfm.pipeline`.
    """

    def __init__(self, references: Sequence[str], alone: bool = False, **running: Any) -> None:
        self._running, self._alone = running, alone
        self._served: dict[str, Served] = {}
        for reference in references:
            one = self._load(reference)
            if one.name in self._served:
                raise UserError(f"two models are called {one.name}: rename a folder")
            self._served[one.name] = one

    def _load(self, reference: str) -> Served:
        asked = self._running.get("precision")
        precision = None if asked is None else Precision(asked)
        run = read_to_run(reference, self._running.get("device"), precision)
        running = self._running | {"precision": run.precision.value}
        reader = PictureReader(run.pretrained.preprocessing, None)
        served = Served(_name(reference), reference, run.pretrained, reader, running)
        engine = served.pipeline("embed").engine
        if self._alone:
            hold(run.pretrained.encoders, engine.precision, engine.device)
        engine.check()
        return served

    def reload(self) -> list[str]:
        """Load every model again, and take the new ones when all are there; requests go on meanwhile.

        Raises:
            UserError: one cannot be loaded; then all stay as they are.
        """
        fresh = [self._load(one.reference) for one in self._served.values()]
        self._served = {one.name: one for one in fresh}
        return [*self._served]

    def __iter__(self) -> Any:
        return iter(self._served.values())

    def model(self, name: str | None) -> Served:
        """A model by name.

        Raises:
            UnknownModel: there is none of that name.
        """
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise UnknownModel(
                f"there is no model {excerpt(name)}; {suggest(name[:100], [*self._served], 'see /v1/models')}"
            )
        return self._served[name]


class UnknownModel(UserError):
    """A request asks for a model that is not served."""


def _name(reference: str) -> str:
    """How requests call a model: what its run or folder is called."""
    path = Path(reference)
    return path.parent.name if path.name == "model" and path.parent.name else path.name
