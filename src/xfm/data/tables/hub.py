"""Data sets of the Hugging Face hub, or a local copy of one: `hub:OWNER/NAME[:CONFIG][@SPLIT]`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from xfm.data.tables.records import Records
from xfm.errors import UserError

PREFIX = "hub:"
_REFERENCE = re.compile(r"hub:(?P<name>[^:@]+)(:(?P<config>[^:@]+))?(@(?P<split>[^@]+))?")


def read_hub(reference: str, wanted: frozenset[str]) -> Records:
    """A split (`train` if none is named) of a hub data set; no code of its authors runs.

    Raises:
        UserError: the reference is wrong, `datasets` is not installed, or it cannot load the data set.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(f"{reference} is not hub:OWNER/NAME, hub:OWNER/NAME:CONFIG or hub:OWNER/NAME@SPLIT")
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"{reference} needs the package datasets; install it with pip install 'xfm[datasets]'"
        ) from None
    try:
        found = datasets.load_dataset(match["name"], match["config"], split=match["split"] or "train")
    except Exception as error:  # the library raises whatever its readers raise
        raise UserError(
            f"{reference} cannot be loaded ({_first(error)}); check name, config and split"
        ) from (error)
    assert isinstance(found, datasets.Dataset)
    present = [name for name in found.column_names if name in wanted]
    picked = found.select_columns(present)
    for name in present:
        if isinstance(picked.features[name], datasets.Image):
            picked = picked.cast_column(name, datasets.Image(decode=False))
    names = {
        name: list(feature.names)
        for name, feature in picked.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        from xfm.data.tables.parquet import named

        for number, cells in enumerate(picked, start=1):
            assert isinstance(cells, dict)
            yield number, named(cells, names, f"{reference}:{number}")

    return Records(tuple(found.column_names), rows())


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
