"""Metadata of pictures, and conditions on it, such as `price<10` or `kind=dog,cat`."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
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
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")
_EXACT = 2.0**53
"""Whole numbers beyond this have neighbours that are the same number."""


class Kind(StrEnum):
    """Type of a field, in every picture that has it."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "true or false"
    DAY = "day"


class Day(str):
    """A day as text, YYYY-MM-DD."""


class Relation(StrEnum):
    """Comparison of a field."""

    EQUAL = "="
    OTHER = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


_SETS = (Relation.EQUAL, Relation.OTHER)
"""Relations that may have several values, and that any kind of field has."""
_EXAMPLES = {Kind.TEXT: "=dog", Kind.NUMBER: "<10", Kind.BOOLEAN: "=true", Kind.DAY: ">=2024-06"}


@dataclass(frozen=True)
class Condition:
    """A comparison of one field; a picture without the field never passes.

    `=` is true of any of several values, `!=` of none of them; others have one value.
    """

    field: str
    relation: Relation
    values: tuple[Value, ...]


def kind_of(value: Value) -> Kind:
    """The type of a value."""
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, str):
        return Kind.DAY if isinstance(value, Day) else Kind.TEXT
    return Kind.NUMBER


def number_in(text: str) -> float | None:
    """The number that a text is; None for texts, codes such as 007, and numbers that float64 cannot tell
    apart."""
    if not _PLAIN_NUMBER.fullmatch(text):
        return None
    number, whole = float(text), text.strip().removeprefix("-").isdigit()
    return number if math.isfinite(number) and not (whole and abs(number) >= _EXACT) else None


def parse_condition(text: str) -> Condition:
    """A condition as typed; values are texts until `checked` knows the fields. UserError: none."""
    found = _CONDITION.fullmatch(text) if is_text(text) and "\0" not in text else None
    if found is None:
        raise UserError(
            f"{excerpt(text)} is no condition: write one such as kind=dog, kind=dog,cat or price<10"
        )
    relation, value = Relation(found["relation"]), found["value"].strip()
    values = tuple(part.strip() for part in value.split(",")) if relation in _SETS else (value,)
    if "" in values:
        raise UserError(f"{excerpt(text)} compares with nothing: write a value behind {relation}")
    return Condition(found["field"], relation, values)


def checked(conditions: Sequence[Condition], fields: Mapping[str, Kind]) -> tuple[Condition, ...]:
    """Conditions with values of the fields' types; UserError: no such field, or a value of another type."""
    found = list[Condition]()
    for one in conditions:
        kind, ordered, value = fields.get(one.field), one.relation not in _SETS, one.values[0]
        if kind is None:
            known = suggest(one.field, [*fields], "the pictures have " + (", ".join(fields) or "no metadata"))
            raise UserError(f"no picture has a field {excerpt(one.field)}; {known}")
        if kind is Kind.BOOLEAN and ordered:
            raise UserError(f"{one.field} is {kind}: compare it by = or !=, not by {one.relation}")
        # By letters, 100 is less than 20.
        if kind is Kind.TEXT and ordered and (not isinstance(value, str) or number_in(value) is not None):
            raise UserError(
                f"{one.field} holds texts, and {one.field}{one.relation}{excerpt(str(value))} compares "
                "numbers: make every cell of the column a number and build the collection again, or ask for "
                f"texts by {one.field}=..."
            )
        values = tuple(_of_kind(one.field, each, kind) for each in one.values)
        if kind is Kind.DAY and not ordered and min(len(str(each)) for each in values) < len("2024-06-15"):
            told = f"{one.field}{one.relation} takes days, such as 2024-06-15"
            raise UserError(f"{told}; months and years are asked for by >= and <= together")
        if kind is Kind.DAY and one.relation in (Relation.AT_MOST, Relation.MORE):
            values = (f"{values[0]}~",)  # by letters behind all days of a month or year
        found.append(replace(one, values=values))
    return tuple(found)


def _of_kind(field: str, value: Value, kind: Kind) -> Value:
    if kind_of(value) is kind or (kind is Kind.DAY and _DATE.fullmatch(str(value))):
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
    """Texts, numbers and truth values of a row's cells, and the names of other cells. Empty ones are left
    out.

    UserError: a name that no condition can have, a text that is not Unicode, a number too large for float64.
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
            if not abs(value) <= _EXACT and not (isinstance(value, float) and math.isfinite(value)):
                told = f"{name} is {excerpt(str(value))}, more than a number can tell from others"
                raise UserError(f"{told}; make it a text")
            value = float(value)
        found[name] = value
    return found, other


def can_be_kept(text: str) -> bool:
    """Whether all stores can hold a text: PostgreSQL's cannot hold a zero byte."""
    return is_text(text) and "\0" not in text


def merged(fields: Mapping[str, Kind], metadata: Metadata) -> dict[str, Kind]:
    """The fields of a collection with a new picture's metadata; UserError: a field of another type before."""
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
    """Type of a column, and for messages the place and words that show it."""

    kind: Kind
    place: str
    told: str


def columns_seen(
    path: object, rows: Iterable[RawRow], names: Iterable[str], as_text: Iterable[str]
) -> dict[str, ColumnKind]:
    """Types of a table's columns: numbers where every cell is one, unless in `as_text`; without empty
    columns."""
    told, found = [*names], dict[str, ColumnKind]()
    for name in {*as_text}.intersection(told):
        found[name] = ColumnKind(Kind.TEXT, f"{path}", f"{name} stays texts (--as-text)")
    for raw in rows:
        for name in told:
            cell, known = raw.cells.get(name), found.get(name)
            if not cell or (known is not None and known.kind is Kind.TEXT):
                continue
            if number_in(cell) is None:
                shown = f"{name} is {excerpt(cell)!r}, a text"
                found[name] = ColumnKind(Kind.TEXT, f"{path}:{raw.number}", shown)
            elif known is None:
                found[name] = ColumnKind(Kind.NUMBER, f"{path}", f"{name} holds numbers")
    return {name: found[name] for name in told if name in found}


def require_same(fields: Mapping[str, Kind], columns: Iterable[Mapping[str, ColumnKind]]) -> None:
    """Refuse columns of other types than the collection's, or one another's."""
    known = {name: (kind, "the collection") for name, kind in fields.items()}
    for table in columns:
        for name, one in table.items():
            kind, where = known.setdefault(name, (one.kind, one.place))
            if kind is not one.kind:
                told = f"{one.place}: {one.told}, and {where} has {_SEVERAL[kind]} in {name}"
                way = f"keep texts by --as-text {name}"
                if name in fields and kind is not Kind.TEXT:
                    way = f"build the collection anew with --as-text {name}"
                raise UserError(
                    f"{told}: make every cell one of the two everywhere, {way}, or leave it out by --keep"
                )


_SEVERAL = {Kind.TEXT: "texts", Kind.NUMBER: "numbers", Kind.BOOLEAN: "true and false", Kind.DAY: "days"}
