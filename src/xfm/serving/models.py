"""The models of a server: loaded once, asked by task, replaced without a gap."""

import copy
import threading
from collections.abc import Mapping, Sequence
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
from xfm.inference.input_parsing import PictureReader
from xfm.inference.pipeline import pipeline, read_to_run
from xfm.models.folder import Pretrained
from xfm.models.precision import hold

ENCODED = 64 << 20
"""Bytes of encoded pictures that a model keeps between requests: full after a minute of load."""


@dataclass(eq=False)
class ServedModel:
    """A served model, its name in requests, and the reference that it was loaded from.

    `encoded` pictures of late requests are for the computing thread alone. `counting` is a second tokenizer,
    so that counting tokens waits for no reading thread.
    """

    name: str
    reference: str
    pretrained: Pretrained
    reader: PictureReader
    running: Mapping[str, Any]
    encoded: EncodedPictures = field(init=False)
    counting: Tokenizer = field(init=False)
    _pipelines: dict[str, Pipeline] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.encoded = EncodedPictures(self.pipeline("embed").engine, ENCODED)
        self.counting = copy.deepcopy(self.pretrained.tokenizer)

    def pipeline(self, task: str) -> Pipeline:
        """The pipeline of a task; UserError: no such task, or not fine-tuned for it."""
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
        """Tokens read of texts, plus patches of pictures; for the event loop's thread."""
        config = self.pretrained.model.config
        patches = config.seeing.patches * pictures if pictures else 0
        return self.counting.count(texts, config.language.longest) + patches


class Models:
    """Models by name; the first answers requests that name none.

    `alone`: nothing else computes with them, so that matrices may be kept in bf16.
    """

    def __init__(self, references: Sequence[str], alone: bool = False, **running: Any) -> None:
        self._running, self._alone = running, alone
        self._served: dict[str, ServedModel] = {}
        for reference in references:
            one = self._load(reference)
            if one.name in self._served:
                raise UserError(f"two models are called {one.name}: rename a folder")
            self._served[one.name] = one

    def _load(self, reference: str) -> ServedModel:
        asked = self._running.get("precision")
        precision = None if asked is None else Precision(asked)
        pretrained, precision = read_to_run(reference, self._running.get("device"), precision)
        running = self._running | {"precision": precision.value}
        reader = PictureReader(pretrained.preprocessing, None)
        served = ServedModel(_name(reference), reference, pretrained, reader, running)
        engine = served.pipeline("embed").engine
        if self._alone:
            hold(pretrained.encoders, engine.precision, engine.device)
        engine.check()
        return served

    def reload(self) -> list[str]:
        """Load every model again, and swap when all are there; UserError: none is swapped."""
        fresh = [self._load(one.reference) for one in self._served.values()]
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


def _name(reference: str) -> str:
    path = Path(reference)
    return path.parent.name if path.name == "model" and path.parent.name else path.name
