"""Arguments of a pipeline's call: one input, several, or a stream."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xfm.config.options import names_in
from xfm.config.task_spec import Field, FieldKind
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.core.errors import UserError
from xfm.data.tables.objects import InMemory, read_objects
from xfm.data.tables.records import images_in
from xfm.inference.input_parsing import by_field, example, field_names, is_image_input
from xfm.inference.row_sources import FolderRows, ReadOptions

ABSENT: Any = object()
"""Stands for an input that was not given; None is one that was, by mistake."""


class Inputs(NamedTuple):
    """Inputs of a pipeline; a `single` one's answer stands alone, `endless` ones are answered as they are
    asked for."""

    rows: Iterable[Any]
    single: bool = False
    endless: bool = False


def sort_out(given: Any, fields: Sequence[Field]) -> Inputs:
    """One input or several, of a sequence, array, Series, DataFrame, data set, mapping, folder or iterator.
    Libraries are recognised by the methods of their objects: none has to be installed. UserError: none of
    these."""
    if given is ABSENT:
        raise UserError(f"give an input, such as {example(fields)}")
    if isinstance(given, Mapping):
        return _of_mapping(given, fields)
    required = [field for field in fields if not field.optional]
    only_picture = len(required) == 1 and required[0].holds is FieldKind.PICTURE
    is_path = isinstance(given, Path) or (isinstance(given, str) and only_picture)
    if is_path and os.path.isdir(given):  # false of a name with a NUL; what reads pictures says so
        folder = FolderRows(Path(given), ReadOptions(fields))
        return Inputs([{folder.field: folder.path / name} for name in folder.names])
    frame = hasattr(given, "to_dict") or hasattr(given, "to_dicts")
    names: Any = getattr(given, "columns", None) if frame else None
    names = getattr(given, "column_names", None) if names is None else names
    if names is not None and not isinstance(names, Mapping):
        columns = [*map(str, names)]
        wanted = [name for name in columns if name in field_names(fields)]
        lacking = [one.name for one in required if not {one.name, *one.also, *one.parts} & {*wanted}]
        if lacking or not wanted:
            name = lacking[0] if lacking else "' or '".join(field.name for field in fields)
            raise UserError(f"the table has no column '{name}', only {', '.join(columns)}; rename one")
        found = read_objects(InMemory(given, "the table")).rows(frozenset(wanted))
        rows = ({name: images_in(row.cells.get(name)) for name in wanted} for row in found)
        return Inputs(rows, endless=not hasattr(given, "__len__"))
    return _of_values(given)


def _of_values(given: Any) -> Inputs:
    if isinstance(given, np.ndarray) and not is_image_input(given):
        return Inputs(given.tolist()) if given.ndim else Inputs([given.item()], single=True)
    if isinstance(given, str | Mapping) or (is_image_input(given) and getattr(given, "ndim", 3) < 4):
        return Inputs([given], single=True)
    refuse_set(given, "")
    as_list = getattr(given, "to_pylist", None)  # of pyarrow, whose columns hold scalars of its own
    if as_list is not None:
        return Inputs(as_list())
    methods = {*dir(type(given))}  # a class has those of its objects, and is no list
    if "__iter__" in methods:
        return Inputs(given, endless="__len__" not in methods)
    if {"__len__", "__getitem__"} <= methods:  # as torch's data sets
        return Inputs(given[place] for place in range(len(given)))
    return Inputs([given], single=True)


def refuse_set(given: object, name: str) -> None:
    """Refuse a set: it has no order that answers could follow."""
    if isinstance(given, Set) and not hasattr(given, "mapping"):  # the keys of a mapping have an order
        raise UserError(f"{name}a set has no order; give a list")


# ---------------------------------------------------------------- columns by name
def _of_mapping(given: Mapping[Any, Any], fields: Sequence[Field]) -> Inputs:
    kinds = field_names(fields)
    columns = {
        name: value for name, value in given.items() if name in kinds and _is_column(name, kinds[name], value)
    }
    if not columns:
        return Inputs([given], single=True)
    rest = [name for name in given if name not in columns and given[name] is not None]
    for name in columns:
        refuse_set(given[name], f"{name}: ")
    if rest and rest[0] in kinds:
        raise UserError(f"{rest[0]} is one and {next(iter(columns))} several; give lists of the same length")
    if rest:
        by_field(given, fields)  # names the field that is not known
    lists = {name: list(_of_values(value).rows) for name, value in columns.items()}
    (first, length), *others = ((name, len(values)) for name, values in lists.items())
    for name, count in others:
        if count != length:
            raise UserError(f"there are {length} of {first}, but {count} of {name}; give as many of each")
    return Inputs([dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)])


def _is_column(name: str, field: Field, value: Any) -> bool:
    if isinstance(value, Set):
        return True  # refused by its name
    if isinstance(value, Mapping) or _of_values(value).single:
        return False
    if field.holds is not FieldKind.TWO_PICTURES or name in field.parts:
        return True
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], list | tuple)


# ---------------------------------------------------------------- lists beside the input
def checked_option(name: str, value: Any, default: Any) -> Any:
    """An option's value, of the kind of its default; UserError otherwise."""
    if isinstance(default, list):
        return list_option(name, value)
    kinds: dict[type, tuple[type, str]] = {
        bool: (bool, "True or False"), int: (Integral, "a whole number"), float: (Real, "a number"),
    }  # fmt: skip
    kind, words = kinds[type(default)]
    if not isinstance(value, kind) or isinstance(value, bool) > isinstance(default, bool):
        raise UserError(f"{name} must be {words} such as {default}, not {value!r}")
    return value


def list_option(name: str, value: Any) -> list[str]:
    """An option that is a list of texts; a text with commas names several."""
    refuse_set(value, f"{name}: ")
    if isinstance(value, str):
        found = names_in(value)
        if not found:
            raise UserError(f"{name} names nothing; give a list such as ['red', 'blue']")
        return found
    wanted = f"{name} must be a list of texts, such as ['red', 'blue'], not"
    if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes):
        raise UserError(f"{wanted} {type(value).__name__}")
    texts = list(value)
    if odd := [one for one in texts if not isinstance(one, str)]:
        raise UserError(f"{wanted} a list with {type(odd[0]).__name__}")
    return texts


def gallery_of(given: Any, name: str) -> Iterable[Any]:
    """The candidates of a gallery of "images" or "texts"; UserError: one candidate, or none."""
    refuse_set(given, f"{name}: ")
    if name == "images" and isinstance(given, str | Path) and os.path.isdir(given):
        folder = FolderRows(Path(given), ReadOptions(IMAGE_CLASSIFICATION.inputs))
        return [folder.path / name for name in folder.names]
    if (found := _of_values(given)).single:
        what = "a list of pictures or a folder" if name == "images" else "a list such as ['a dog', 'a cat']"
        raise UserError(f"the {name} of a gallery are {what}, not {type(given).__name__}")
    return found.rows
