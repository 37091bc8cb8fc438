"""Conditions on the metadata of pictures, such as `price<10` or `kind=dog,cat`, and what metadata may be."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from xfm.core.errors import UserError, excerpt, suggest
from xfm.data.records import is_text
from xfm.data.tables.records import RawRow

Value = str | float | bool
"""What a field of a picture may hold; whole numbers are numbers."""
Metadata = Mapping[str, Value]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_CONDITION = re.compile(r"\s*(?P<field>[^<>=!\s]+)\s*(?P<relation>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_PLAIN_NUMBER = re.compile(r"\s*-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_EXACT = 2.0**53
"""Whole numbers beyond this have neighbours that are the same number."""


LONGEST_KEY = 2000
"""Bytes of a picture's name; an index of PostgreSQL's holds some more."""


class Kind(StrEnum):
    """What a field holds, in every picture that has it."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "true or false"


class Relation(StrEnum):
    """How a field is compared."""

    EQUAL = "="
    OTHER = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


_COMPARED: Mapping[Relation, Callable[[Value, Value], bool]] = {
    Relation.LESS: operator.lt,
    Relation.AT_MOST: operator.le,
    Relation.MORE: operator.gt,
    Relation.AT_LEAST: operator.ge,
}


_EXAMPLES = {Kind.TEXT: "=dog", Kind.NUMBER: "<10", Kind.BOOLEAN: "=true"}


@dataclass(frozen=True)
class Condition:
    """One field, compared. A picture without the field never passes.

    Attributes:
        field: its name.
        relation: how it is compared.
        values: with what; of `=` any of several, of `!=` none of them, else one.
    """

    field: str
    relation: Relation
    values: tuple[Value, ...]

    def holds(self, metadata: Metadata) -> bool:
        """Whether a picture passes."""
        own = metadata.get(self.field)
        if own is None:
            return False
        if self.relation is Relation.EQUAL:
            return own in self.values
        if self.relation is Relation.OTHER:
            return own not in self.values
        return _COMPARED[self.relation](own, self.values[0])


def kind_of(value: Value) -> Kind:
    """What a value is."""
    if isinstance(value, bool):
        return Kind.BOOLEAN
    return Kind.TEXT if isinstance(value, str) else Kind.NUMBER


def number_in(text: str) -> float | None:
    """The number that a text is; None where it is none, a code such as 007, or more than numbers can tell."""
    if not _PLAIN_NUMBER.fullmatch(text):
        return None
    number, whole = float(text), text.strip().removeprefix("-").isdigit()
    return number if math.isfinite(number) and not (whole and abs(number) >= _EXACT) else None


def parse_condition(text: str) -> Condition:
    """A condition as it is typed; its values are texts until `checked` knows the fields.

    Raises:
        UserError: it is none.
    """
    found = _CONDITION.fullmatch(text) if is_text(text) and "\0" not in text else None
    if found is None:
        raise UserError(
            f"{excerpt(text)} is no condition: write one such as kind=dog, kind=dog,cat or price<10"
        )
    relation, value = Relation(found["relation"]), found["value"].strip()
    several = relation in (Relation.EQUAL, Relation.OTHER)
    values = tuple(part.strip() for part in value.split(",")) if several else (value,)
    if "" in values:
        raise UserError(f"{excerpt(text)} compares with nothing: write a value behind {relation}")
    return Condition(found["field"], relation, values)


def checked(conditions: Sequence[Condition], fields: Mapping[str, Kind]) -> tuple[Condition, ...]:
    """The conditions with values of the kinds that the fields have.

    Args:
        conditions: with values of those kinds, or texts of them.
        fields: of the collection.

    Raises:
        UserError: there is no such field, or a value is of another kind.
    """
    return tuple(_checked(one, fields) for one in conditions)


def _checked(one: Condition, fields: Mapping[str, Kind]) -> Condition:
    kind = fields.get(one.field)
    if kind is None:
        known = suggest(one.field, [*fields], "the pictures have " + (", ".join(fields) or "no metadata"))
        raise UserError(f"no picture has a field {excerpt(one.field)}; {known}")
    if kind is Kind.BOOLEAN and one.relation in _COMPARED:
        raise UserError(f"{one.field} is {kind}: compare it by = or !=, not by {one.relation}")
    if kind is Kind.TEXT and one.relation in _COMPARED:
        _refuse_number(one)
    return replace(one, values=tuple(_of_kind(one.field, value, kind) for value in one.values))


def _refuse_number(one: Condition) -> None:
    """Refuse to compare texts with a number: by their letters 100 is less than 20."""
    (value,) = one.values
    if not isinstance(value, str) or number_in(value) is not None:
        raise UserError(
            f"{one.field} holds texts, and {one.field}{one.relation}{excerpt(str(value))} compares numbers: "
            "make every cell of the column a number and build the collection again, or ask for texts by "
            f"{one.field}=..."
        )


def _of_kind(field: str, value: Value, kind: Kind) -> Value:
    if kind_of(value) is kind:
        return value
    if kind is Kind.NUMBER and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    if kind is Kind.BOOLEAN and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    example = f"{field}{_EXAMPLES[kind]}"
    raise UserError(f"{field} is a {kind}, and {excerpt(str(value))} is none: ask for one, such as {example}")


def read_metadata(cells: Mapping[str, object]) -> tuple[dict[str, Value], list[str]]:
    """What of a row's cells can be metadata: texts, numbers and truth values. Empty cells are left out.

    Returns:
        The metadata, and the names of cells that hold something else, such as lists.

    Raises:
        UserError: a field has a name that cannot be one, a text is none, or a number is too large to be told
            from others.
    """
    found: dict[str, Value] = {}
    other: list[str] = []
    for name, value in cells.items():
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            continue
        if not isinstance(value, str | int | float):
            other.append(name)
            continue
        if not _NAME.fullmatch(name):
            raise UserError(
                f"the field {excerpt(name)} has a name that no condition can have: letters, digits and _, "
                "beginning with a letter; rename it, or name the fields to take"
            )
        if isinstance(value, str) and not can_be_kept(value):
            raise UserError(f"the text of {name} is not Unicode, or has a zero byte; mend it")
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = _number(name, value)
        found[name] = value
    return found, other


def can_be_kept(text: str) -> bool:
    """Whether all stores can hold a text: PostgreSQL's cannot hold a zero byte."""
    return is_text(text) and "\0" not in text


def _number(name: str, value: float) -> float:
    if not abs(value) <= _EXACT and not (isinstance(value, float) and math.isfinite(value)):
        raise UserError(
            f"{name} is {excerpt(str(value))}, more than a number can tell from others; make it a text"
        )
    return float(value)


def merged(fields: Mapping[str, Kind], metadata: Metadata) -> dict[str, Kind]:
    """The fields of a collection that gets a picture with such metadata.

    Raises:
        UserError: a field holds another kind in other pictures.
    """
    found = dict(fields)
    for name, value in metadata.items():
        kind, known = kind_of(value), found.get(name)
        if known not in (None, kind):
            raise UserError(
                f"{name} is {excerpt(str(value))}, a {kind}, and a {known} in the pictures before: make it "
                "one of the two everywhere, or leave the field out"
            )
        found[name] = kind
    return found


@dataclass(frozen=True)
class ColumnKind:
    """What a column holds.

    Attributes:
        kind: numbers, where every cell that is not empty is one; else texts.
        place: where messages say so: the table, or the row of the first cell that is no number.
        told: how they say it.
    """

    kind: Kind
    place: str
    told: str


def columns_seen(
    path: object, rows: Iterable[RawRow], names: Iterable[str], as_text: Iterable[str]
) -> dict[str, ColumnKind]:
    """What the columns of a table hold; one that is empty throughout is left out.

    Args:
        path: of the table.
        rows: all of it.
        names: of the columns.
        as_text: columns that stay texts, whatever they hold.
    """
    numbers, left, found = set[str](), [*names], dict[str, ColumnKind]()
    for name in {*as_text}.intersection(left):
        left.remove(name)
        found[name] = ColumnKind(Kind.TEXT, f"{path}", f"{name} stays texts (--as-text)")
    for raw in rows:
        for name in tuple(left):
            cell = raw.cells.get(name)
            if not cell:
                continue
            if number_in(cell) is not None:
                numbers.add(name)
                continue
            left.remove(name)
            told = f"{name} is {excerpt(cell)!r}, a text"
            found[name] = ColumnKind(Kind.TEXT, f"{path}:{raw.number}", told)
    for name in left:
        if name in numbers:
            found[name] = ColumnKind(Kind.NUMBER, f"{path}", f"{name} holds numbers")
    return found


def require_same(fields: Mapping[str, Kind], columns: Iterable[Mapping[str, ColumnKind]]) -> None:
    """Refuse columns that hold something else than a collection does, or than one another.

    Args:
        fields: of the collection.
        columns: of each table.

    Raises:
        UserError: names the table, the column, and how the two become one.
    """
    known = {name: (kind, "the collection") for name, kind in fields.items()}
    for table in columns:
        for name, one in table.items():
            kind, where = known.setdefault(name, (one.kind, one.place))
            if kind is not one.kind:
                raise UserError(
                    f"{one.place}: {one.told}, and {where} has {_SEVERAL[kind]} in {name}: "
                    f"{_remedy(name, kind, one.kind)}, or leave the column out by --keep"
                )


_SEVERAL = {Kind.TEXT: "texts", Kind.NUMBER: "numbers", Kind.BOOLEAN: "true and false"}


def _remedy(name: str, before: Kind, now: Kind) -> str:
    if (before, now) == (Kind.TEXT, Kind.NUMBER):
        return f"--as-text {name} makes it texts here, too, a collection that is built anew may have numbers"
    return f"make every cell {'a number' if before is Kind.NUMBER else 'one of the two everywhere'}"
