"""Conditions of a search as SQL. Values are never part of the text of a query."""

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from xfm.index.conditions import Condition, Kind, Relation, kind_of

_CASTS = {Kind.TEXT: sql.SQL("text"), Kind.NUMBER: sql.SQL("float8"), Kind.BOOLEAN: sql.SQL("boolean")}


def passing_rows(where: Sequence[Condition]) -> tuple[sql.Composable, list[Any]]:
    """Conditions on metadata as SQL with places for values, and these values."""
    if not where:
        return sql.SQL("true"), []
    parts: list[sql.Composable] = []
    values: list[Any] = []
    for one in where:
        cast = _CASTS[kind_of(one.values[0])]
        cell = sql.SQL("(metadata ->> {})::{}").format(sql.Literal(one.field), cast)
        if one.relation in (Relation.EQUAL, Relation.OTHER):
            compared = "{} = ANY(%s)" if one.relation is Relation.EQUAL else "{} <> ALL(%s)"
            parts.append(sql.SQL(compared).format(cell))
            values.append(list(one.values))
        else:
            relation = sql.SQL(one.relation.value)  # pyright: ignore[reportArgumentType]
            # By code points as elsewhere, whatever the order of the database's language.
            order = sql.SQL(' COLLATE "C"' if isinstance(one.values[0], str) else "")
            parts.append(sql.SQL("{}{} {} %s").format(cell, order, relation))
            values.append(one.values[0])
    return sql.Composed(parts).join(" AND "), values
