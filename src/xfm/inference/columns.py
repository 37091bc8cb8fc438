"""`xfm.ColumnPipeline`: columns in, columns added, for libraries that map batches of a data set."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xfm.config.tasks import EMBED, task_spec
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap
from xfm.data.tables.objects import InMemory, read_objects
from xfm.data.tables.records import images_in
from xfm.inference.gallery import Retrieval
from xfm.inference.pipeline import pipeline

REASON = "error"


class ColumnPipeline:
    """A model that adds columns to batches, as Ray Data and Daft map them; loaded once per instance.

    A batch is a dict of NumPy arrays or lists, a pyarrow Table, or a pandas DataFrame. Two columns are
    added: the answer (`vector` of embed, else `prediction`) and `error` (why a row has none), null where they
    do not apply: an unreadable row never ends the job. Of a dict they are pyarrow arrays. A picture is the
    bytes of a file, a uint8 array [H, W, 3], or a path. An unpickled instance loads its model anew.

    Args:
        task: of `xfm.pipeline`, without retrieval in a gallery.
        model: folder, run, or name of the package or the hub; machines see folders under the same path.
        columns: the column of each field, where the names differ.
        answer: name of the answers' column.
        options: of the task, such as `candidate_labels`.
        running: `device`, `precision`, `batch_size`, `allow_urls` and `readers` of `xfm.pipeline`.

    Raises:
        UserError: no such task, model or option.

    Example:
        >>> told = {"model": "small", "columns": {"text": "caption"}}
        >>> data.map_batches(xfm.ColumnPipeline, fn_constructor_kwargs=told, concurrency=4, batch_size=256)
    """

    def __init__(
        self,
        task: str = EMBED.name,
        model: str | Path = "small",
        *,
        columns: Mapping[str, str] | None = None,
        answer: str | None = None,
        options: Mapping[str, Any] | None = None,
        **running: Any,
    ) -> None:
        chosen = {"columns": columns, "answer": answer, "options": options, **running}
        self._made = functools.partial(type(self), task, model, **chosen)
        spec = task_spec(task)
        self._pipe = pipeline(task, model, **running)
        if isinstance(self._pipe, Retrieval):
            raise UserError(f"{spec.name} searches in a gallery, and batches have none; choose another task")
        self._options = self._pipe.options(options or {})
        self._columns = ColumnMap(dict(columns or {}), "name another one by columns=")
        self._columns.check_fields(spec.inputs)
        self.answer = answer or ("vector" if spec is EMBED else "prediction")
        self._type: Any = None

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return self._made, ()

    def __call__(self, batch: Any) -> Any:
        """The batch with its new columns; UserError: no batch, a missing column, or a taken name."""
        table = None if isinstance(batch, np.ndarray) else read_objects(InMemory(batch, "the batch"))
        if table is None or table.columns is None:
            kinds = "a dict of arrays, a pyarrow Table or a pandas DataFrame"
            raise UserError(f"a batch is {kinds}, not {type(batch).__name__}")
        if taken := [name for name in (self.answer, REASON) if name in table.columns]:
            raise UserError(f"the batch has a column {taken[0]} already; rename it, or choose answer=")
        fields, present = self._pipe.spec.inputs, table.columns
        self._columns.check_columns(fields, present, "the batch")
        places = self._columns.places(fields, present)
        names = {name: column for name, column in places.items() if column in present}
        if not names:
            raise UserError(f"the batch has none of {', '.join(places.values())}; name others by columns=")
        rows = table.rows(frozenset(names.values()))
        inputs = list[Any]()
        for row in rows:
            cells = {name: images_in(row.cells[column]) for name, column in names.items()}
            given = {name: value for name, value in cells.items() if value is not None}
            inputs.append(given or UserError(f"the row has no {' and no '.join(cells)}"))
        answers, errors = [None] * len(inputs), list[str | None]([None] * len(inputs))

        def bad(number: int, reason: str) -> bool:
            errors[number] = reason
            return True

        for number, answer in self._pipe.numbered(inputs, self._options, bad):
            answers[number] = answer
        import pyarrow as arrow

        if self._type is None and self._pipe.spec is EMBED:
            self._type = arrow.list_(arrow.float32(), self._pipe.engine.model.config.projection)
        found = arrow.array(answers, self._type)
        if self._type is None and not arrow.types.is_null(found.type):
            self._type = found.type
        more = {self.answer: found, REASON: arrow.array(errors, arrow.string())}
        if isinstance(batch, Mapping):
            return {**batch, **more}
        whole: Any = batch
        if hasattr(whole, "append_column"):
            for name, column in more.items():
                whole = whole.append_column(name, column)
            return whole
        return whole.assign(**{name: column.to_pylist() for name, column in more.items()})
