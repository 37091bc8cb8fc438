"""Which columns a task needs, and what they are called in a file."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from xfm.config.task_spec import Field
from xfm.core.errors import UserError, excerpt


@dataclass(frozen=True)
class ColumnMap:
    """The column of each field, empty where there is none; a field that is not named has a column of its own
    name. A column that is named must be there, in JSON lines in every row (null where it is empty). `remedy`
    ends messages where no command could name another column."""

    columns: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""

    @classmethod
    def parse(cls, given: str | Mapping[str, str]) -> "ColumnMap":
        """Read `image=photo,question=q`, or a mapping; `image=`: there is none. Raises UserError."""
        if isinstance(given, Mapping):
            return cls(dict(given))
        found: dict[str, str] = {}
        for part in given.split(",") if given.strip() else []:
            name, equals, column = (piece.strip() for piece in part.partition("="))
            if not equals or not name:
                raise UserError(f"--columns: {part!r} is not FIELD=COLUMN, as in image=photo,question=q")
            if name in found:
                raise UserError(f"--columns: {name} is named twice; name each field once")
            found[name] = column
        return cls(found)

    @property
    def option(self) -> str:
        """The columns as `--columns` takes them, and `parse`."""
        return ",".join(f"{name}={column}" for name, column in self.columns.items())

    def of(self, name: str) -> str:
        """The column of a field, or of a part of one, by one of its names."""
        return self.columns.get(name, name)

    def ways(self, one: Field, present: Collection[str]) -> list[tuple[str, ...]]:
        """How a field is given: as it is named here, else by the columns (of a row: those with a value)."""
        full = present
        if isinstance(present, Mapping):
            full = [name for name, cell in present.items() if cell is not None]
        return one.ways(self.columns) or one.ways(full) or one.ways(present)[:1]

    def places(self, fields: Sequence[Field], present: Collection[str]) -> dict[str, str]:
        """The column of each field, or where it is given in parts, of each of them."""
        found: dict[str, str] = {}
        for one in fields:
            way = next(iter(self.ways(one, present)), (one.name,))
            names = way if way == one.parts else (one.name,)
            found |= dict(zip(names, map(self.of, way), strict=True))
        return {name: column for name, column in found.items() if column}

    def wanted(self, fields: Sequence[Field]) -> frozenset[str]:
        """Every column that may hold a field."""
        return frozenset(self.of(name) for one in fields for name in (*one.names, *one.parts))

    def check_fields(self, fields: Sequence[Field]) -> None:
        """Refuse fields that the task does not have or cannot do without, and one field or column twice."""
        known = [name for one in fields for name in (*one.names, *one.parts)]
        for name, column in self.columns.items():
            if name not in known:
                mine = "columns" if self.remedy else "--columns"
                raise UserError(f"{mine}: there is no field {name!r}; the task reads {', '.join(known)}")
            if not isinstance(column, str):
                raise UserError(f"columns: that of {name} is {column!r}; give the name of a column")
        for one in fields:
            ways = one.ways(self.columns)
            if len(ways) > 1:
                said = " and ".join(way[0] for way in ways)
                raise UserError(f"--columns: {said} are one field; name it once")
            if none := [name for way in ways for name in way if not one.optional and not self.of(name)]:
                raise UserError(f"--columns: the task needs {one.name}; name the column after {none[0]}=")
        read: dict[str, str] = {}
        for name, column in self.places(fields, self.columns.values()).items():
            if (other := read.setdefault(column, name)) != name:
                told = f"name another for one, or {name}= where there is none"
                raise UserError(f"--columns: the column {column!r} would be {other} and {name}; {told}")

    def check_columns(
        self, fields: Sequence[Field], columns: Collection[str], place: object, others: bool = False
    ) -> None:
        """Refuse a file, or a row where `others` have its columns, without a column or with one twice."""
        for one in fields:
            ways = self.ways(one, columns)
            if len(ways) > 1:
                said = " and ".join(way[0] for way in ways)
                first = ",".join(f"{name}={name}" for name in ways[0])
                mine = "by columns=" if self.remedy else "with --columns"
                raise UserError(f"{place}: the columns {said} are one field; choose {mine} {first}")
            way = ways[0] if ways else () if one.optional else (one.name,)
            for name in way:
                if (column := self.of(name)) in columns or not column:
                    continue
                if others:
                    problem = f'the column "{column}" is missing ({one.name}: {one.meaning}); mend the row'
                    raise UserError(f"{place}: {problem}")
                there = [*columns]
                close = difflib.get_close_matches(column, there[:1000], n=1, cutoff=0.6)
                none = f", or {name}= where there is none" if one.optional else ""
                example = close[0] if close else "COLUMN"
                remedy = self.remedy or f"name the right one with --columns {name}={example}{none}"
                what = f"{column!r} for the field {one.name!r} ({one.meaning})"
                raise UserError(f"{place}: there is no column {what}, only {listed(there)}; {remedy}")


def listed(columns: Sequence[str]) -> str:
    """The first columns, for messages; long names are cut."""
    return ", ".join(excerpt(name, 40) for name in columns[:12]) + (", ..." if len(columns) > 12 else "")
