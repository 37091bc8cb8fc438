"""Tar shards in the WebDataset layout as tables: the members of a key are a row.

`KEY.jpg` is the column `image`, `KEY.txt` the column `text`, `KEY.cls` the column `label`, the fields of
`KEY.json` are columns, and so is `key`. `KEY.NAME.jpg` and so on are the column NAME.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError, excerpt
from xfm.data.images import byte_limit, too_many_bytes
from xfm.data.records import Limits
from xfm.data.sources.base import FILES, StoredFile
from xfm.data.sources.tar import PICTURES, TarMember, key_and_extension, scan_members
from xfm.data.tables.json_list import each_once
from xfm.data.tables.records import BadPicture, RawRow, Records, unreadable

KEY, FIELDS = "key", "json"
_COLUMNS = {**dict.fromkeys(PICTURES, "image"), "txt": "text", "cls": "label", FIELDS: FIELDS}
"""The column of a member by its ending; the fields of JSON are columns of their own."""


def read_shard(path: Path) -> Records:
    """A tar shard, whose rows are numbered from 1. Raises UserError."""
    with unreadable(path):
        file = StoredFile.of(path)

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        number = 0
        with unreadable(path):
            for key, group in groupby(scan_members(file), lambda one: key_and_extension(one.name)[0]):
                members = [*group]
                try:
                    cells, flaw = _cells(file, key, members), None
                except UserError as error:
                    cells, flaw = {}, str(error)
                if cells is not None:
                    number += 1
                    yield RawRow(number, cells, members[-1].offset + members[-1].size, flaw)
        if not number:
            raise UserError(f"{path} holds no rows: no KEY.jpg, KEY.txt, KEY.cls or KEY.json; check the file")

    return Records(None, rows, file.size, "B")


def _cells(file: StoredFile, key: str, members: Sequence[TarMember]) -> dict[str, Any] | None:
    """The cells of a key, None where it has none; UserErrors continue the place of the row."""
    found: dict[str, Any] = {}
    known = False
    for member in members:
        own, _, ending = key_and_extension(member.name)[1].rpartition(".")
        if (column := _COLUMNS.get(ending)) is None:
            continue
        known, column = True, own or column
        value = _content(file, member, ending)
        if column == FIELDS and not isinstance(value, dict):
            raise UserError(f"{excerpt(member.name)} is not a JSON object; mend it")
        for name, cell in value.items() if column == FIELDS else ((column, value),):
            if found.setdefault(name, cell) != cell:
                raise UserError(
                    f"the column {excerpt(name)!r} of {excerpt(key)} is there twice; leave one member out"
                )
    return {KEY: key, **found} if known else None


def _content(file: StoredFile, member: TarMember, ending: str) -> Any:
    limit = byte_limit() if ending in PICTURES else Limits().annotation_bytes
    if member.size > limit and ending in PICTURES:
        return BadPicture(too_many_bytes(member.size, limit))
    if member.size > limit:
        raise UserError(
            f"{excerpt(member.name)} has {member.size} bytes, more than the limit of {limit}; shrink it"
        )
    data = FILES.read(file, member.offset, member.size)
    if ending in PICTURES:
        return data
    try:
        text = data.decode("utf-8-sig")
        if ending == FIELDS:
            return json.loads(text, object_pairs_hook=each_once)
    except UnicodeDecodeError as error:
        raise UserError(f"{excerpt(member.name)} is not UTF-8; mend it") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{excerpt(member.name)} is not valid JSON ({error}); mend it") from error
    return text.strip() if ending == "cls" else text
