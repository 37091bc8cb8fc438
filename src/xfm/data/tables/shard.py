"""Tar shards in the WebDataset layout as tables: the members of a key are a row.

`KEY.jpg` is the column `image`, `KEY.txt` the column `text`, `KEY.cls` the column `label`, the fields of
`KEY.json` are columns, and so is `key`. `KEY.NAME.jpg` and so on are the column NAME.
"""

import json
from collections.abc import Iterator
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
_COLUMNS = {**dict.fromkeys(PICTURES, "image"), "txt": "text", "cls": "label", FIELDS: ""}
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
                own = {member: column for member in members if (column := _column(member)) is not None}
                if own:
                    number += 1
                    yield _row(file, number, key, own, members[-1].offset + members[-1].size)
        if not number:
            raise UserError(f"{path} holds no rows: no KEY.jpg, KEY.txt, KEY.cls or KEY.json; check the file")

    return Records(None, rows, file.size, "B")


def _ending(member: TarMember) -> str:
    return key_and_extension(member.name)[1].rpartition(".")[2]


def _column(member: TarMember) -> str | None:
    own, _, ending = key_and_extension(member.name)[1].rpartition(".")
    column = _COLUMNS.get(ending)
    return own if own and column is not None else column


def _row(file: StoredFile, number: int, key: str, members: dict[TarMember, str], read: int) -> RawRow:
    cells: dict[str, Any] = {}
    for member, column in members.items():
        try:
            found = _content(file, member)
        except UserError as error:
            return RawRow(number, read=read, flaw=str(error))
        own = found if column == "" else {column: found}
        for name, cell in own.items():
            if name in cells and cells[name] != cell:
                flaw = f"the column {excerpt(name)!r} of {excerpt(key)} is there twice; leave one member out"
                return RawRow(number, read=read, flaw=flaw)
            cells[name] = cell
    return RawRow(number, {KEY: key, **cells}, read)


def _content(file: StoredFile, member: TarMember) -> Any:
    """The cell of a member; UserErrors continue the place of the row."""
    ending = _ending(member)
    limit = byte_limit() if ending in PICTURES else Limits().annotation_bytes
    if member.size > limit:
        if ending in PICTURES:
            return BadPicture(too_many_bytes(member.size, limit))
        raise UserError(
            f"{excerpt(member.name)} has {member.size} bytes, more than the limit of {limit}; shrink it"
        )
    data = FILES.read(file, member.offset, member.size)
    if ending in PICTURES:
        return data
    try:
        text = data.decode("utf-8-sig")
        value: Any = json.loads(text, object_pairs_hook=each_once) if ending == FIELDS else text
    except UnicodeDecodeError as error:
        raise UserError(f"{excerpt(member.name)} is not UTF-8; mend it") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{excerpt(member.name)} is not valid JSON ({error}); mend it") from error
    if ending == FIELDS and _column(member) == "" and not isinstance(value, dict):
        raise UserError(f"{excerpt(member.name)} is not a JSON object; mend it")
    return text.strip() if ending == "cls" else value
