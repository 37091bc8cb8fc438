"""Data sets of the Hugging Face hub, or a local copy of one: `hub:OWNER/NAME[:CONFIG][@SPLIT]`."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError, first_line
from xfm.core.files import path_below
from xfm.data.tables.records import RawRow, Records, named_row

PREFIX = "hub:"
_REFERENCE = re.compile(r"hub:(?P<name>[^:@]+)(:(?P<config>[^:@]+))?(@(?P<split>[^@]+))?")


def read_hub(reference: str) -> Records:
    """A split (`train` if none is named) of a hub data set; no code of its authors runs. Raises UserError."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(f"{reference} is not hub:OWNER/NAME, hub:OWNER/NAME:CONFIG or hub:OWNER/NAME@SPLIT")
    try:
        import datasets
        from datasets.config import HF_CACHE_HOME
    except ImportError:
        raise UserError(
            f"{reference} needs the package datasets; install it with pip install 'xfm[datasets]'"
        ) from None
    try:
        found = datasets.load_dataset(match["name"], match["config"], split=match["split"] or "train")
    except Exception as error:  # the library raises whatever its readers raise
        raise UserError(
            f"{reference} cannot be loaded ({first_line(error)}); check name, config and split"
        ) from (error)
    assert isinstance(found, datasets.Dataset)

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        picked = found.select_columns([name for name in found.column_names if name in wanted])
        pictures = [name for name, kind in picked.features.items() if isinstance(kind, datasets.Image)]
        for name in pictures:
            picked = picked.cast_column(name, datasets.Image(decode=False))
        place = Path(match["name"]) if os.path.isdir(match["name"]) else Path(HF_CACHE_HOME)
        names = {
            name: list(kind.names)
            for name, kind in picked.features.items()
            if isinstance(kind, datasets.ClassLabel)
        }
        for number, cells in enumerate(picked, start=1):
            assert isinstance(cells, dict)
            cells |= {name: _file(cells[name], place) for name in pictures}
            yield named_row(number, cells, names)

    return Records(tuple(found.column_names), rows, len(found))


def _file(cell: Any, place: Path) -> Any:
    """The path of an image that the library left in the data set's folder or its own cache. Other paths stay
    as they are, to be judged as those of other tables."""
    if not isinstance(cell, dict) or cell.get("bytes") or not isinstance(cell.get("path"), str):
        return cell
    return path_below(Path("/"), cell["path"], within=place) or cell
