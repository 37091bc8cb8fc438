"""Rows of own data: what stands in a cell, with messages that name file, row and column."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xfm.config.labels import label_name
from xfm.config.task_spec import Field, FieldKind
from xfm.core.errors import UserError, excerpt
from xfm.core.files import path_below
from xfm.core.paths import home_path
from xfm.data.images import UnreadableImage
from xfm.data.records import is_text
from xfm.data.tables.columns import ColumnMap
from xfm.data.tables.records import BadImage, RawRow, images_in, stored_images

_MOST_LISTS, _MOST_LABELS, _MOST_TEXTS = 256, 1000, 10_000
"""Lists of numbers, such as boxes, and labels and texts, in a cell."""
_LONGEST = 10_000
"""Bits of a whole number that is taken as a text: to write one of a million digits takes for ever."""


@dataclass(frozen=True)
class TableRow(Mapping[str, Any]):
    """A row of a table: a mapping of its fields that knows where it stands. Typed getters raise UserError
    with file, row and column. `number` is the line or place from 1; `names` the column of each field; `root`
    the folder of image paths (None: the file's); `free`: paths may lead anywhere, as in a program's rows."""

    fields: Mapping[str, Any]
    file: Path
    number: int
    names: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    free: bool = False

    @classmethod
    def picked(
        cls, raw: RawRow, file: Path, names: Mapping[str, str], root: Path | None = None, free: bool = False
    ) -> "TableRow":
        """The row of a table, of which the columns of `names` are taken."""
        cells = raw.cells
        found = {name: images_in(cells[column]) for name, column in names.items() if column in cells}
        return cls(found, file, raw.number, names, root, free)

    @classmethod
    def read(
        cls, raw: RawRow, file: Path, fields: Sequence[Field], columns: ColumnMap, root: Path | None = None
    ) -> "TableRow":
        """The row with the columns of some fields; raises UserError where it is none, or lacks one."""
        columns.check_columns(fields, raw.checked(file), f"{file}:{raw.number}", others=True)
        return cls.picked(raw, file, columns.places(fields, raw.cells), root)

    def unpacked(self, fields: Iterable[Field], folder: Path) -> "TableRow":
        """The row with files of a folder in place of images in cells; UserError where others have bytes."""
        kinds = (FieldKind.PICTURE, FieldKind.TWO_PICTURES)
        shown = {name for one in fields if one.holds in kinds for name in (*one.names, *one.parts)}
        if wrong := [name for name in self if name not in shown and isinstance(self[name], bytes)]:
            raise self.error(wrong[0], "holds bytes, not a text")
        cells = {name: stored_images(one, folder) if name in shown else one for name, one in self.items()}
        return replace(self, fields=cells)

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def place(self) -> str:
        """File and row, as messages name them."""
        return f"{self.file}:{self.number}"

    def has(self, name: str) -> bool:
        """Whether the cell is there and not empty; NaN is what tables of numbers have for empty cells."""
        value = self.fields.get(name)
        if isinstance(value, float):
            return not math.isnan(value)
        return value is not None and not (isinstance(value, str) and not value.strip())

    def error(self, field: str, problem: str) -> UserError:
        """A UserError about one cell."""
        return UserError(f'{self.place}: the column "{self.names.get(field, field)}" {problem}; mend the row')

    def text(self, field: str) -> str:
        """A text that is not blank; numbers count as texts."""
        value = self.fields.get(field)
        if isinstance(value, float) and math.isnan(value):
            raise self.error(field, "is empty")
        if isinstance(value, float):
            return f"{value:.15g}"
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < _LONGEST:
            return str(value)
        if not isinstance(value, str) or not value.strip():
            blank = value is None or isinstance(value, str)
            raise self.error(field, "is empty" if blank else "is not a text")
        if not is_text(value):
            raise self.error(field, "is not Unicode")
        return value

    def texts(self, field: str) -> list[str]:
        """One text, or a list of them (in CSV a JSON list)."""
        value = self._listed(field)
        if not isinstance(value, list):
            return [self.text(field)]
        if not value or not all(is_text(one) and one.strip() for one in value):
            raise self.error(field, "is not a text or a list of texts")
        if len(value) > _MOST_TEXTS:
            raise self.error(field, f"has {len(value)} texts, more than {_MOST_TEXTS}")
        return value

    def label(self, field: str) -> str:
        """The name of a class: a text, a whole number, or true and false."""
        value = self.fields.get(field)
        if isinstance(value, bool):
            return label_name(value)
        if isinstance(value, list | tuple):
            name, remedy = self.names.get(field, field), "for several labels a row give --multi-label"
            raise UserError(f'{self.place}: the column "{name}" holds a list; {remedy}')
        return label_name(self.text(field).strip())

    def labels(self, field: str, separator: str) -> tuple[str, ...]:
        """Labels in alphabetical order, of a list (in CSV a JSON list) or a text with the separator."""
        if not self.has(field):
            return ()
        value = self._listed(field)
        parts = value if isinstance(value, list) else self.label(field).split(separator)
        if len(parts) > _MOST_LABELS:
            raise self.error(field, f"has {len(parts)} labels, more than {_MOST_LABELS}")
        if any(isinstance(one, list | tuple | Mapping) for one in parts):
            raise self.error(field, f"is {excerpt(repr(value))}, no list of labels")
        cells = (replace(self, fields={field: one}) for one in parts)
        return tuple(sorted({cell.label(field) for cell in cells if cell.has(field)}))

    def value(self, field: str) -> float:
        """A number that float64 can square."""
        value = self.fields.get(field)
        with suppress(TypeError, ValueError, OverflowError):
            number = float("nan" if isinstance(value, bool) or value is None else value)
            if abs(number) < 1e150:
                return number
        raise self.error(field, f"is {excerpt(repr(value))}, not a number below 1e150")

    def numbers(self, field: str) -> list[float]:
        """A list of finite numbers: a list, or in CSV four numbers with spaces or commas between them."""
        value = self._listed(field)
        if isinstance(value, str):
            value = value.strip(" ()[]").replace(",", " ").split()
        with suppress(TypeError, ValueError, OverflowError):
            found = [math.nan if isinstance(one, bool) else float(one) for one in value or ()]
            if found and all(map(math.isfinite, found)):
                return found
        raise self.error(field, f"is {excerpt(repr(value))}, not a list of numbers")

    def number_lists(self, field: str) -> list[list[float]]:
        """One list of finite numbers as of `numbers`, or several: a list of lists (in CSV a JSON list)."""
        value = self._listed(field)
        if not isinstance(value, list) or not any(isinstance(one, list | tuple) for one in value):
            return [self.numbers(field)]
        if len(value) > _MOST_LISTS:
            raise self.error(field, f"has {len(value)} lists of numbers, more than {_MOST_LISTS}")
        return [replace(self, fields={**self.fields, field: one}).numbers(field) for one in value]

    def votes(self, field: str) -> Counter[str]:
        """How often each answer was given: one text, a list of texts, or VQA v2's list of objects."""
        value = self._listed(field)
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            value = [one.get("answer") for one in value]
            if not all(is_text(one) and one.strip() for one in value):
                raise self.error(field, 'holds an object without a text "answer"')
            return Counter(value)
        return Counter(self.texts(field))

    def _listed(self, field: str) -> Any:
        value = self.fields.get(field)
        if isinstance(value, tuple):
            return list(value)
        if isinstance(value, str) and value.lstrip().startswith("["):
            with suppress(ValueError, RecursionError):
                decoded = json.loads(value)
                return decoded if isinstance(decoded, list) else value
        return value

    def two(self, field: Field) -> list["TableRow"]:
        """The row once for each of two images: of two cells (the field's parts) or a list in one."""
        if field.ways(self.fields) == [field.parts]:
            named = [(self.fields.get(part), self.names.get(part, part)) for part in field.parts]
        else:
            value = self._listed(field.name)
            if not isinstance(value, list) or len(value) != 2:
                raise self.error(field.name, "is not a list of two pictures")
            named = [(one, self.names.get(field.name, field.name)) for one in value]
        own, known, name = {**self.fields}, {**self.names}, field.name
        return [replace(self, fields=own | {name: one}, names=known | {name: at}) for one, at in named]

    def path(self, field: str) -> Path:
        """A picture's file; its path starts from the table's folder, or from the folder that was given."""
        value = self.fields.get(field)
        value = value if isinstance(value, Path | BadImage) else self.text(field)
        if isinstance(value, BadImage):
            column = self.names.get(field, field)
            raise UnreadableImage(f'{self.place}: the column "{column}" {value.reason}')
        if isinstance(value, Path):
            return value
        if "://" in value:
            raise self.error(field, f"is the address {excerpt(value)}: save the picture and name its file")
        folder = self.root or self.file.parent
        # Of the table's own folder a folder beside it may be meant, of one that was given nothing above it.
        beside = folder.resolve().parent
        within = Path("/") if self.free else self.root or (beside if beside != beside.parent else folder)
        path = path_below(folder, value if not self.free else str(home_path(value)), within)
        if path is None:
            told = "move it below that folder, or name the folder of the paths with --pictures"
            raise self.error(field, f"names {excerpt(value)!r}, which lies outside {folder}: {told}")
        return path.absolute()
