"""Numbers or texts: what the columns of a table hold whose cells are all written as texts, such as CSV.

Only all rows together tell, so that such a table is looked through before a picture of it is taken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xfm.data.tables.records import RawRow
from xfm.errors import UserError, excerpt
from xfm.index.conditions import Kind, number_in


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
