"""Changes of files: of their bytes, and of what stands in them, so that damage gets past a parser.

All is drawn from the generator that is given: the same number gives the same input everywhere.
"""

import codecs
import json
import random
from collections.abc import Callable
from typing import Any

import yaml

Change = Callable[[bytes, random.Random], bytes]
DEEP = 10_000
"""Levels of a nesting that no parser should follow."""
_ODD_BYTES = (
    b"\0", b"\xff", b"\xfe", b"\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r", b"\n", b"\x1a",
    b"\xc0\x80",
)  # fmt: skip
_NUMBERS = (
    0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1,
    2**64 - 1,
)  # fmt: skip
_TEXTS = (
    "", " ", ".", "..", "../../x", "/etc/passwd", "/dev/zero", "a\0b", "\ud800", "\ufeff", "x" * 300,
    "\u202e", "1" * 5000, "--5", "2026-01-45", "\u00b2", "\n", "\t,;\"'", "s3://x/y", "http://", "nan",
    "1e999", "~", "%s{}",
)  # fmt: skip
JSON_VALUES = (
    "null", "true", "false", "-1", "0", "1", "2", "1.5", "-0.0", "1e308", "5e-324", "1e999", "NaN",
    "-Infinity", str(2**31), str(2**63), str(-(2**63)), str(2**64), str(10**30), "9" * 5000, "1e-400", "[]",
    "{}", "[[]]", "[null]", '{"a": 1}', '["a", 1]', '{"k": 1, "k": 2}', "[0, 0, 0, 0]", "[1, 2, 3]",
    *(json.dumps(text) for text in _TEXTS), '"\\ud83d\\ude00"', '"\\udc00"', '"\\u0000"',
    '"' + "x" * 70_000 + '"', "[" * 100 + "]" * 100,
)  # fmt: skip
"""In place of any value, all of them JSON as Python reads it."""
_BROKEN = (
    "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * DEEP, '{"a":' * DEEP, "tru", "'x'",
    '"never ended', "1.", "// note", "01", "+1", "0x10", "undefined", "", "\\", "{,}", "[1,]", '"\\x"',
)  # fmt: skip
_YAML_VALUES = (
    "&a [*a]", "&a {b: *a}", "*nowhere", '!!python/object/apply:os.system ["x"]', "!!binary aGk=",
    "!!binary '*'", "2026-01-45", "2026-11-28", "1:60:60", "1_000", "0x_", "0o9", "0b", ".nan", "-.inf",
    "~", "<<", "!!set {a}", "!!float x", "{<<: 1}", "{? [a] : 1}", "{a: 1, a: 2}", "!!int x",
    "!!timestamp x", "[" * 300, "!!omap [a: 1]", "{[1]: 2}", "=", "'", "|",
)  # fmt: skip
_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)


# ---------------------------------------------------------------- bytes
def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, insertions, repetitions, numbers at their place: one to four of them."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _BYTES[rng.randrange(len(_BYTES))](found, rng)
    return bytes(found[: 1 << 20])


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 0xFF, 0x20, 0x7F, rng.randrange(256)))


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 2, 4, 16, 512, rng.randrange(1, len(data) + 2)))]


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice((rng.randbytes(rng.choice((1, 2, 8, 64))), rng.choice(_ODD_BYTES)))


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((1, 8, 64, 512))]
    data[start:start] = part * rng.choice((1, 2, 30))


def _splice(data: bytearray, rng: random.Random) -> None:
    size = rng.choice((4, 16, 64, 512))
    start, at = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    data[at : at + size] = data[start : start + size]


def _number(data: bytearray, rng: random.Random) -> None:
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(_NUMBERS) % (1 << 8 * size)
    at = rng.randrange(max(1, len(data) - size + 1))
    data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))


_BYTES = (_flip, _flip, _set, _cut, _remove, _insert, _repeat, _splice, _number)


# ---------------------------------------------------------------- texts
def change_encoding(data: bytes, rng: random.Random) -> bytes:
    """The text in another encoding, with a mark, with other ends of lines."""
    text = data.decode("utf-8", "replace")
    return rng.choice(
        (
            lambda: codecs.BOM_UTF8 + data,
            lambda: codecs.BOM_UTF8 * 2 + data,
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-32-le"),
            lambda: data.replace(b"\n", b"\r\n"),
            lambda: data.replace(b"\n", b"\r"),
            lambda: data.replace(b"a", b"\xe4"),
            lambda: data.replace(b" ", b"\0"),
            lambda: data + b"\0" * rng.choice((1, 512, 5000)),
            lambda: data + b"\n" * 3000,
            lambda: b" " * 5000 + data,
            lambda: data * 3,
            lambda: b"",
        )
    )()


def change_lines(data: bytes, rng: random.Random) -> bytes:
    """Lines that are gone, there twice, swapped, indented, or of something else."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            lines[at] = b""
        elif kind == 1:
            lines[at:at] = [lines[at]] * rng.choice((1, 1, 50))
        elif kind == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 3:
            lines[at] = rng.choice((b" ", b"  ", b"\t", b"- ", b"# ", b'"')) + lines[at]
        elif kind == 4:
            lines[at] = lines[at] + rng.choice((b" ", b",", b":", b"\r", b"\\", b'"', b"x" * 70_000))
        elif kind == 5:
            lines[at] = rng.choice(JSON_VALUES + _BROKEN).encode("utf-8", "surrogatepass")
        elif kind == 6:
            lines[at] = change_bytes(lines[at], rng)
        else:
            lines[at] = lines[other][: rng.randrange(len(lines[other]) + 1)] + lines[at]
    return b"\n".join(lines)


def change_cells(data: bytes, rng: random.Random) -> bytes:
    """A table of texts with other cells, more or fewer of them, other quotes and separators."""
    mark = b"\t" if b"\t" in data.split(b"\n")[0] else b","
    rows = [line.split(mark) for line in data.split(b"\n")]
    for _ in range(rng.choice((1, 1, 2, 3))):
        row = rng.choice(rows)
        at, kind = rng.randrange(len(row)), rng.randrange(7)
        if kind < 3:
            row[at] = rng.choice(_TEXTS + JSON_VALUES).encode("utf-8", "surrogatepass")
        elif kind == 3:
            row[at:at] = [row[at]] * rng.choice((1, 2, 3000))
        elif kind == 4 and len(row) > 1:
            del row[at]
        elif kind == 5:
            row[at] = b'"' + row[at] + rng.choice((b'"', b"", b'"x', b'""', b"\n", b'"\n"'))
        else:
            row[at] = rng.choice(rng.choice(rows))
    other = rng.choice((mark, mark, mark, mark, b";", b"\0"))
    return b"\n".join(other.join(row) for row in rows)


# ---------------------------------------------------------------- JSON and YAML
def change_tree(value: Any, rng: random.Random, raw: Callable[[str], Any], texts: tuple[str, ...]) -> Any:
    """Nested lists and dictionaries, changed in one place.

    Args:
        value: they are changed themselves.
        rng: chooses.
        raw: what stands for a text that is written as it is.
        texts: that may stand in the place of a value.
    """
    holders: list[Any] = [[value]]
    level: list[Any] = [value]
    while level:
        inner = [one for one in level if isinstance(one, dict | list) and one]
        holders += inner
        level = [item for one in inner for item in (one.values() if isinstance(one, dict) else one)]
    root = holders[0]
    holder = rng.choice(holders)
    key = rng.choice([*holder]) if isinstance(holder, dict) else rng.randrange(len(holder))
    kind = rng.randrange(10)
    if kind < 5:
        holder[key] = raw(rng.choice(texts))
    elif kind == 5 and holder is not root:
        del holder[key]
    elif kind == 6:
        other = rng.choice(holders)
        holder[key] = json.loads(json.dumps(other, default=str)) if other is not root else [holder[key]]
    elif kind == 7 and isinstance(holder, dict):
        holder[rng.choice(("", "id", "x" * 300, "\ud800", "a.b", "__class__", "-1", str(key) + " "))] = (
            holder[key]
        )
    elif kind == 7:
        holder[key:key] = [holder[key]] * rng.choice((1, 2, 300))
    elif kind == 8:
        holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
    else:
        holder[key] = rng.choice(_TEXTS)
    return root[0]


class _Raw:
    """Texts that are written in the place of marks."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def __call__(self, text: str) -> str:
        self._texts.append(text)
        return f"@{len(self._texts) - 1}@"

    def dumps(self, value: Any) -> bytes:
        text = json.dumps(value, ensure_ascii=False)
        for number, raw in enumerate(self._texts):
            text = text.replace(f'"@{number}@"', raw)
        return text.encode("utf-8", "surrogatepass")


def _other_json(data: bytes, rng: random.Random, texts: tuple[str, ...]) -> bytes:
    value, raw = json.loads(data), _Raw()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = change_tree(value, rng, raw, texts)
    return raw.dumps(value)


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Another value in JSON; now and then it is none any more."""
    texts = _BROKEN if rng.random() < 0.08 else JSON_VALUES
    return _mixed(data, rng, lambda given, rng: _other_json(given, rng, texts))


def change_json_lines(data: bytes, rng: random.Random) -> bytes:
    """The same for a line of many."""

    def change(given: bytes, rng: random.Random) -> bytes:
        lines = given.splitlines()
        at = rng.randrange(len(lines))
        lines[at] = change_json(lines[at], rng) if lines[at].strip() else b"{}"
        return b"\n".join(lines) + rng.choice((b"\n", b""))

    return _mixed(data, rng, change)


def change_yaml(data: bytes, rng: random.Random) -> bytes:
    """YAML: its values as flow style, its lines, anchors that hold one another."""
    if rng.random() < 0.03:
        return rng.choice((_LAUGHS.encode() + data, data + b"\n" + _LAUGHS.encode()))

    def change(given: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            name, colon, _ = (line := rng.choice(given.split(b"\n"))).partition(b":")
            new = (
                name + colon + b" " + rng.choice(_YAML_VALUES + JSON_VALUES).encode("utf-8", "surrogatepass")
            )
            return given.replace(line, new, 1)
        value = yaml.load(given, yaml.CSafeLoader)
        return _other_json(json.dumps(value, default=str).encode(), rng, JSON_VALUES + _YAML_VALUES)

    return _mixed(data, rng, change)


def change_table(data: bytes, rng: random.Random) -> bytes:
    """CSV and TSV."""
    return _mixed(data, rng, change_cells)


def change_text(data: bytes, rng: random.Random) -> bytes:
    """Plain lines."""
    return _mixed(data, rng, change_lines)


def _mixed(data: bytes, rng: random.Random, change: Change) -> bytes:
    """A change of what stands in a text mostly, else of its lines, its encoding or its bytes."""
    draw = rng.random()
    if draw < 0.65:
        return change(data, rng)
    return (change_bytes if draw < 0.85 else change_lines if draw < 0.95 else change_encoding)(data, rng)
