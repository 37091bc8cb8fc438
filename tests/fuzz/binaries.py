"""Changes of files with lengths and checksums in them, which are put right, lest a reader stop there."""

import io
import json
import pickle
import random
import tarfile
from typing import Any

import numpy as np

from tests.fuzz.changes import change_bytes, change_json, change_text, change_tree
from xfm.data.sources.shard_index import HEADER, header

_BLOCK = 512
_FIELDS = ((0, 100), (100, 8), (124, 12), (136, 12), (148, 8), (156, 1), (157, 100), (257, 6), (345, 155))
"""Of a header of tar: where it begins, how many bytes it has. The third is the size, the sixth the kind."""
_SIZES = (
    b"0" * 11, b"7" * 11, b"77777777777\0", b"00000000001", b"-0000000001", b" " * 12, b"99999999999",
    b"0x100", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, b"\xff" * 12, b"\x80" + b"\0" * 11,
    b"\x80" + b"\0" * 9 + b"\x02\0",
)  # fmt: skip
_NAMES = (
    b"", b".", b"..", b"/", b"../../x.jpg", b"/etc/x.json", b"a.jpg", b"000000000.json", b"\xff\xfe.jpg",
    b"a/b/c.txt", b"x" * 100, b"a\0b.jpg", b".jpg", b"a.", b"A.JPG", b"a.tar", b"a.b.c.json", b"\n.jpg",
)  # fmt: skip
_PAX = (
    b"11 path=a\n", b"999 path=a\n", b"0 path=a\n", b"-5 path=a\n", b"x path=a\n", b"11 size=9\n",
    b"20 size=99999999\n", b"30 size=9999999999999999999999", b"12 size=-1\n", b"9 path=\n", b"",
    b"\n" * 50, b"15 path=\xff\xff\xff\n", b"9" * 400,
)  # fmt: skip


def change_tar(data: bytes, rng: random.Random) -> bytes:
    """Fields of headers, members that are gone, there twice, or other ones, and any bytes."""
    draw = rng.random()
    if draw < 0.25:
        return change_bytes(data, rng)
    if draw < 0.65:
        found = bytearray(data)
        for _ in range(rng.choice((1, 1, 2))):
            _other_header(found, rng)
        return bytes(found)
    return _other_members(data, rng)


def _other_header(data: bytearray, rng: random.Random) -> None:
    starts = [at for at in range(0, len(data) - _BLOCK + 1, _BLOCK) if data[at + 257 : at + 262] == b"ustar"]
    if not starts:
        return
    at = rng.choice(starts)
    begin, size = rng.choice(_FIELDS)
    if begin == 124:
        new = rng.choice(_SIZES)
    elif begin == 156:
        new = bytes([rng.choice(b"01234567LKxgSDMNVAX\0\xff")])
    else:
        new = rng.choice((*_NAMES, rng.randbytes(size)))
    data[at + begin : at + begin + size] = new[:size].ljust(size, b"\0")
    if begin != 148 and rng.random() < 0.9:
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + _BLOCK])


def _other_members(data: bytes, rng: random.Random) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(one.name, tar.extractfile(one).read()) for one in tar.getmembers()]  # pyright: ignore
    at, kind = rng.randrange(len(members)), rng.randrange(6)
    name, content = members[at]
    if kind < 3:
        change = (
            change_json if name.endswith(".json") else change_text if name.endswith(".txt") else change_bytes
        )
        members[at] = name, change(content, rng)
    elif kind == 3:
        del members[at]
    elif kind == 4:
        members.insert(rng.randrange(len(members)), members[at])
    else:
        members[at] = (
            rng.choice(("x" * 200 + ".jpg", "é.json", "a/" * 90 + "b.txt", *(n for n, _ in members))),
            content,
        )
    out = io.BytesIO()
    kind = rng.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            if rng.random() < 0.1:
                note = rng.choice(_PAX + _NAMES)
                info = tarfile.TarInfo("note")
                info.size, info.type = len(note), rng.choice((b"x", b"g", b"L", b"K"))
                tar.addfile(info, io.BytesIO(note))
    return out.getvalue()[: rng.choice((None, None, None, -1024, -512, -1))]


def change_index(data: bytes, rng: random.Random) -> bytes:
    """A saved index of shards, its digest computed anew mostly."""
    found = bytearray(change_bytes(data, rng) if rng.random() < 0.3 else data)
    if rng.random() < 0.6 and len(found) > HEADER + 8:
        at = rng.randrange(HEADER if rng.random() < 0.9 else 0, len(found) - 8)
        at -= at % 8 if rng.random() < 0.7 else 0
        number = rng.choice((0, 1, 2**15, 2**31, 2**48 - 1, 2**48, 2**63 - 1, 2**64 - 1, 512, 1024, 1536))
        found[at : at + 8] = number.to_bytes(8, "little")
    if rng.random() < 0.8 and len(found) == len(data):
        said = json.loads(data[8:HEADER])
        records = said.pop("spans")["shape"][0]
        columns = {
            name: np.frombuffer(
                found[HEADER + start : HEADER + end], "<i8" if one["dtype"] == "I64" else "u1"
            )
            for name, one in said.items()
            for start, end in [one.get("data_offsets", (0, 0))]
            if end
        }
        columns = {name: column.reshape(said[name]["shape"]) for name, column in columns.items()}
        found[:HEADER] = header(columns, records)
    return bytes(found)


def change_tensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file: its header is JSON behind its length."""
    size = int.from_bytes(data[:8], "little")
    if rng.random() < 0.4:
        return change_bytes(data, rng)
    header = change_json(data[8 : 8 + size], rng)
    claimed = (
        len(header) if rng.random() < 0.9 else rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, len(header) + 1))
    )
    return claimed.to_bytes(8, "little") + header + data[8 + size :]


def change_parquet(data: bytes, rng: random.Random) -> bytes:
    """A Parquet file: its bytes, those of its footer above all."""
    if rng.random() < 0.3:
        return change_bytes(data, rng)
    size = int.from_bytes(data[-8:-4], "little")
    start = rng.choice((4, len(data) - 8 - size, len(data) - 8 - size))
    end = start + 60 if start == 4 else len(data) - 8
    inner = change_bytes(data[start:end], rng)
    if rng.random() < 0.5:  # of the same length, so that what is behind stands where it should
        inner = inner[: end - start].ljust(end - start, b"\0")
    size += (len(inner) - (end - start)) if start != 4 else 0
    return data[:start] + inner + data[end:-8] + size.to_bytes(4, "little") + data[-4:]


_PLAIN: tuple[Any, ...] = (
    None, True, -1, 0, 2**80, 10**5000, 1.5, float("nan"), float("inf"), "", "..", "a\0b", "x" * 300,
    b"bytes", (), [], {}, [[]], {"a": 1}, {1: 2}, (1, 2), "²", "\ud800",
)  # fmt: skip
_OPCODES = bytes(opcode for opcode in range(256) if chr(opcode).isprintable() or opcode >= 0x80)


def change_pickle(data: bytes, rng: random.Random) -> bytes:
    """A pickle of plain values: other values, opcodes in between, and lists that hold themselves."""
    draw = rng.random()
    if draw < 0.3:
        return change_bytes(data, rng)
    if draw < 0.5:
        at = rng.randrange(len(data))
        code = bytes([rng.choice(_OPCODES)]) + rng.choice(
            (b"", b"\xff\xff\xff\x7f", b"\xff" * 8, b"0\n", b"\0" * 4, b"1" * 50 + b"\n")
        )
        return data[:at] + code + data[at + rng.choice((0, 0, 1)) :]
    try:
        return _other_pickle(data, rng)
    except (ValueError, pickle.PicklingError):  # half a character, a number that is too long for a text
        return change_bytes(data, rng)


def _other_pickle(data: bytes, rng: random.Random) -> bytes:
    value = pickle.loads(data)
    values = [rng.choice(_PLAIN) for _ in range(4)]
    for _ in range(rng.choice((1, 1, 2))):
        value = change_tree(value, rng, lambda number: values[int(number)], ("0", "1", "2", "3"))
    if isinstance(value, list) and rng.random() < 0.05:
        value.append(value)
    return pickle.dumps(value, rng.choice((0, 1, 2, 3, 4, 5)))
