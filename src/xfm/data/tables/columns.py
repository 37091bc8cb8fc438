"""Which columns a task needs, and what they are called in a file."""

import difflib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xfm.config.task_spec import Field
from xfm.errors import UserError, excerpt


@dataclass(frozen=True)
class ColumnMap:
    """The column that holds each field; a field that is not named has a column of its own name.

    Attributes:
        columns: column by field.
        remedy: what mends a file without a column, where no command reads it that could name another.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""

    @classmethod
    def parse(cls, text: str) -> "ColumnMap":
        """Read `image=photo,question=q`.

        Raises:
            UserError: a part is no pair of field and column, or a field is named twice.
        """
        found: dict[str, str] = {}
        for part in text.split(",") if text.strip() else []:
            name, equals, column = (piece.strip() for piece in part.partition("="))
            if not equals or not name or not column:
                raise UserError(f"--columns: {part!r} is not FIELD=COLUMN, as in image=photo,question=q")
            if name in found:
                raise UserError(f"--columns: {name} is named twice; name each field once")
            found[name] = column
        return cls(found)

    def of(self, name: str) -> str:
        """The column of a field, or of a part of one, by one of its names."""
        return self.columns.get(name, name)

    def column(self, one: Field, present: Container[str]) -> str:
        """The column that holds a field, by whichever of its names.

        Raises:
            UserError: two of the columns that there are could be meant.
        """
        if mapped := [name for name in one.names if name in self.columns]:
            return self.columns[mapped[0]]
        found = [name for name in one.names if name in present]
        if len(found) > 1:
            raise UserError(
                f"the columns {' and '.join(found)} are one field; say which is meant with --columns "
                f"{one.name}={found[0]}"
            )
        return found[0] if found else one.name

    def places(self, fields: Sequence[Field], present: Container[str]) -> dict[str, str]:
        """The column of each field, and of each part of one."""
        own = {one.name: self.column(one, present) for one in fields}
        return own | {part: self.of(part) for one in fields for part in one.parts}

    def wanted(self, fields: Sequence[Field]) -> frozenset[str]:
        """Every column that may hold a field."""
        return frozenset(self.of(name) for one in fields for name in (*one.names, *one.parts))

    def check_fields(self, fields: Sequence[Field]) -> None:
        """Refuse fields that the task does not have, and one field by two names.

        Raises:
            UserError: names the field and those that there are.
        """
        known = [name for one in fields for name in (*one.names, *one.parts)]
        for name in self.columns:
            if name not in known:
                raise UserError(f"--columns: there is no field {name!r}; the task reads {', '.join(known)}")
        for one in fields:
            if len(mapped := [name for name in one.names if name in self.columns]) > 1:
                raise UserError(f"--columns: {' and '.join(mapped)} are one field; name it once")

    def check_columns(
        self, fields: Sequence[Field], columns: Sequence[str], file: Path, others: bool = False
    ) -> None:
        """Refuse a file, or a row that has columns of its own, that lacks a column.

        Args:
            fields: what the task reads.
            columns: that there are.
            file: or its row, for messages.
            others: whether other rows have the columns, so that it is this row that is wrong.

        Raises:
            UserError: names the file, the column, the columns that there are, and how to map one of them.
        """
        for one in fields:
            stand_in = one.parts and all(self.of(name) in columns for name in one.parts)
            column = self.column(one, columns)
            if one.optional or stand_in or column in columns:
                continue
            problem = f'the column "{column}" is missing; mend the row'
            raise UserError(f"{file}: {problem if others else self.missing(one, columns)}")

    def missing(self, one: Field, columns: Sequence[str]) -> str:
        """A sentence about a column that is not there."""
        column = self.column(one, columns)
        close = difflib.get_close_matches(column, columns[:1000], n=1, cutoff=0.6)
        example = close[0] if close else "COLUMN"
        return (
            f"there is no column {column!r} for the field {one.name!r} ({one.meaning}), only "
            f"{listed(columns)}; "
            + (self.remedy or f"name the right one with --columns {one.name}={example}")
        )


def listed(columns: Sequence[str]) -> str:
    """The first columns, for messages; long names are cut."""
    return ", ".join(excerpt(name, 40) for name in columns[:12]) + (", ..." if len(columns) > 12 else "")
