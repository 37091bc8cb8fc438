"""Requests that mean harm, or are mistakes: a line or two each, with the statuses that are right for them."""

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.data.picture_kinds import chunk, saved


@dataclass(frozen=True)
class Attack:
    """A request."""

    name: str
    told: Any
    statuses: tuple[int, ...] = (422,)
    route: str = "/v1/embeddings"
    says: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> Any:
        return self.told() if callable(self.told) else self.told


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def encoded(form: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    return saved(picture or noise(40), form, **options)


def noise(side: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


# ---------------------------------------------------------------- files
PNG = b"\x89PNG\r\n\x1a\n"


def flat_png(width: int, height: int, rows: int | None = None, before: bytes = b"") -> bytes:
    """A grey picture of that size in a few kilobytes; fewer rows than it claims, where they are given."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    packed, line = zlib.compressobj(1), bytes(width + 1)
    data = b"".join(packed.compress(line) for _ in range(height if rows is None else rows)) + packed.flush()
    return PNG + head + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    packed, part = zlib.compressobj(1), bytes(1 << 20)
    return b"".join(packed.compress(part) for _ in range(size >> 20)) + packed.flush()


def with_zip(data: bytes) -> bytes:
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("../../evil.py", "import os")
    return out.getvalue()


def animation(form: str, frames: int = 60) -> bytes:
    others = [noise(24, seed) for seed in range(1, frames)]
    return encoded(form, noise(24), save_all=True, append_images=others)


def scans(count: int) -> bytes:
    data = encoded("JPEG", noise(600), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def huge_gif() -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + encoded("GIF")[13:]


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + head + bytes(100)


SCRIPT = b"<script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
XXE = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>'
FILES: Mapping[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "huge-header": (lambda: flat_png(60_000, 60_000, 1), (422,)),
    "bomb-beyond-the-limit": (lambda: flat_png(9000, 9000), (422,)),
    "bomb-within-the-limit": (lambda: flat_png(8000, 8000), (200,)),
    "text-bomb": (lambda: flat_png(8, 8, before=chunk(b"zTXt", b"a\0\0" + zeros(256 << 20))), (200, 422)),
    "wrong-checksum": (lambda: flat_png(8, 8)[:-6] + b"xx" + flat_png(8, 8)[-4:], (200, 422)),
    "png-of-missing-rows": (lambda: flat_png(100, 100, 40), (200,)),
    "png-cut": (lambda: encoded("PNG")[:500], (422,)),
    "jpeg-of-many-scans": (lambda: scans(400), (200, 422)),
    "animated-gif": (lambda: animation("GIF"), (200,)),
    "gif-of-a-huge-screen": (huge_gif, (422,)),
    "bmp-of-the-largest-size": (lambda: bmp(2**31 - 1, 2**31 - 1), (422,)),
    "html-behind-a-png": (lambda: encoded("PNG") + SCRIPT, (200,)),
    "png-and-zip": (lambda: with_zip(encoded("PNG")), (200,)),
    "svg": (lambda: SVG, (422,)),
    "svg-with-entities": (lambda: XXE, (422,)),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (r) file\n", (422,)),
    "pickle": (lambda: b"\x80\x04cos\nsystem\n(S'id'\ntR.", (422,)),
    "netpbm-of-a-huge-size": (lambda: b"P6 99999 99999 255\n", (422,)),
    "nothing": (lambda: b"", (422,)),
}
PICTURES = [
    Attack(f"picture-{name}", lambda make=make: {"input": [data_url(make())]}, statuses)
    for name, (make, statuses) in FILES.items()
]  # fmt: skip
GOOD = data_url(encoded("PNG"))
URLS = [
    Attack(f"url-{name}", {"input": [{"image": url}]}, statuses)
    for name, url, statuses in (
        ("without-data", "data:", (422,)), ("without-base64", "data:image/png,abc", (422,)),
        ("spaces", GOOD[:60] + " " + GOOD[60:], (422,)), ("percent", GOOD.replace("=", "%3D") + "%0a", (422,)),
        ("capitals", "DATA:" + GOOD[5:], (200,)), ("of-html", GOOD.replace("image/png", "text/html"), (200,)),
        ("surrogate", GOOD[:60] + "\ud800", (422,)),
        ("path", "/etc/passwd", (422,)), ("relative", "../../../etc/passwd", (422,)), ("nul", "a\0.png", (422,)),
        ("file", "file:///etc/passwd", (422,)), ("windows", "C:\\windows\\win.ini", (422,)),
        ("unc", "\\\\host\\share\\a.png", (422,)), ("loopback", "http://127.0.0.1/a.png", (422,)),
        ("metadata", "http://169.254.169.254/latest/meta-data/", (422,)), ("ipv6", "http://[::1]/a", (422,)),
        ("broken-ipv6", "http://[::1/a", (422,)), ("decimal", "http://2130706433/", (422,)),
        ("gopher", "gopher://127.0.0.1:6379/_FLUSHALL", (422,)), ("ftp", "ftp://a/b.png", (422,)),
        ("user", "http://images.example.org@127.0.0.1/", (422,)), ("port", "http://a:99999999/", (422,)),
    )
]  # fmt: skip

# ---------------------------------------------------------------- shapes
DEEP = 100_000
SURROGATE = b'"\\ud800"'
SHAPES = [
    Attack("deep-lists", b"[" * DEEP, (400, 422)),
    Attack("deep-within", b'{"input": "a", "x": ' + b"[" * 900 + b"]" * 900 + b"}", (200, 400)),
    Attack("deep-document", b'{"query": "a", "documents": [{"text": "b", "x": ' + b"[" * 900 + b"]" * 900
        + b'}], "return_documents": true}', (200, 400), "/v2/rerank"),
    Attack("huge-number", b'{"input": "a", "dimensions": ' + b"9" * 6000 + b"}", (400, 422)),
    Attack("negative", {"input": "a", "dimensions": -1}), Attack("zero", {"input": "a", "dimensions": 0}),
    Attack("infinite", b'{"text": "a", "min_score": 1e999}', route="/search"),
    Attack("not-a-number", b'{"text": "a", "min_score": NaN}', route="/search"),
    Attack("many-hits", {"text": "a", "top_k": 10**9}, route="/search"),
    Attack("twice-the-same-key", b'{"input": 3, "input": "a"}', (200,)),
    Attack("not-utf-8", b'{"input": "\xff\xfe"}', (400, 422)), Attack("utf-16", '{"input": "a"}'.encode("utf-16"), (200, 400)),
    Attack("half-a-pair", b'{"input": [' + SURROGATE + b"]}"), Attack("half-a-key", b'{' + SURROGATE + b': 1, "input": 3}'),
    Attack("half-a-condition", b'{"text": "a", "where": ["name=\\ud800"]}', route="/search"),
    Attack("half-an-option", b'{"input": {"text": "a"}, "options": {' + SURROGATE + b": 1}}", route="/v1/tasks/embed"),
    Attack("nul", {"input": "a\0b"}, (200,)), Attack("controls", {"input": "\x1b[2J\r\n"}, (200,)),
    Attack("long-text", {"input": "x" * 100_000}, says="characters"),
    Attack("longest-text", lambda: {"input": "x " * 10_000_000}, says="characters"),
    Attack("many-inputs", {"input": ["a"] * 100_000}, says="256 inputs"),
    Attack("many-documents", {"query": "a", "documents": ["a"] * 1_000_000}, route="/v2/rerank", says="256 inputs"),
    Attack("many-pairs", {"text_1": ["a"] * 10_000, "text_2": ["a"] * 10_000}, route="/score", says="256 inputs"),
    Attack("uneven-pairs", {"text_1": ["a"] * 2, "text_2": ["a"] * 3}, route="/score"),
    Attack("many-keys", lambda: {"input": "a", **{str(n): n for n in range(200_000)}}, (200,)),
    Attack("too-large", lambda: b'{"input": "' + b"x" * (40 << 20) + b'"}', (413,)),
    *(Attack(f"input-{name}", {"input": value}) for name, value in (("number", 3), ("true", True), ("null", None),
        ("object", {}), ("tokens", [[1, 2, 3]]), ("numbers", [1, 2]), ("nested", [["a"]]), ("text-number", {"text": 3}),
        ("image-number", {"image": 3}), ("image-list", {"image": [GOOD]}), ("both", {"text": "a", "image": GOOD}))),
    *(Attack(f"body-{name}", body, (400, 422)) for name, body in (("empty", b""), ("list", b"[]"), ("null", b"null"),
        ("text", b'"a"'), ("xml", XXE), ("pickle", b"\x80\x04."), ("cut", b'{"input": "a'), ("nul", b"\0" * 1000))),
    *(Attack(f"kind-{name}", b'{"input": "a"}', (200, 400, 415, 422), headers={"content-type": kind}) for name, kind in (
        ("text", "text/plain"), ("form", "application/x-www-form-urlencoded"), ("broken", "a/b/c;;"), ("pickle", "application/x-pickle"),
        ("utf-7", "application/json; charset=utf-7"), ("long", "a" * 5000))),
    Attack("packed", zlib.compress(b'{"input": "a"}'), (400, 422), headers={"content-encoding": "deflate"}),
]  # fmt: skip
TASK = "/v1/tasks/"
ZERO = f"{TASK}zero-shot-image-classification"
OPTIONS = [
    Attack(f"option-{name}", {"input": given, "options": options}, route=route)
    for name, route, given, options in (
        ("many-labels", ZERO, {"image": GOOD}, {"candidate_labels": [str(n) for n in range(5000)]}),
        ("long-label", ZERO, {"image": GOOD}, {"candidate_labels": ["a" * 100_000, "b"]}),
        ("no-labels", ZERO, {"image": GOOD}, {}), ("labels-number", ZERO, {"image": GOOD}, {"candidate_labels": 3}),
        ("format-string", ZERO, {"image": GOOD}, {"candidate_labels": ["a"], "hypothesis_template": ["{0.__class__}"]}),
        ("unknown", ZERO, {"image": GOOD}, {"__class__": 1, "candidate_labels": ["a"]}),
        ("whole-vocabulary", f"{TASK}fill-mask", {"text": "a <mask>"}, {"top_k": 0}),
        ("no-mask", f"{TASK}fill-mask", {"text": "a"}, {}), ("true", f"{TASK}fill-mask", {"text": "a <mask>"}, {"top_k": True}),
        ("field-of-none", f"{TASK}grounding", {"image": GOOD, "text": "a", "path": "/etc/passwd"}, {}),
        ("field-missing", f"{TASK}grounding", {"text": "a"}, {}), ("path", f"{TASK}grounding", {"image": "/etc/passwd", "text": "a"}, {}),
    )
]  # fmt: skip
TRAVERSAL = ("../../etc/passwd", "file:///etc/passwd", "a\0b", "http://a/b", "x" * 1_000_000, "")
NAMES = [
    *(Attack(f"model-{n}", {"input": "a", "model": name}, (404,)) for n, name in enumerate(TRAVERSAL)),
    *(Attack(f"index-{n}", {"text": "a", "index": name}, route="/search") for n, name in enumerate(TRAVERSAL)),
    *(Attack(f"task-{n}", {"input": {}}, (404, 405, 422), f"{TASK}{name}") for n, name in enumerate((
        "..%2f..%2fetc%2fpasswd", "%2e%2e/models", "..", "%00", "a%0d%0aX-Evil:1", "__class__", "x" * 5000, "%ff", ""))),
]  # fmt: skip
CONDITIONS = [
    Attack(f"where-{n}", {"text": "a", "where": where}, (200, 422), "/search")
    for n, where in enumerate((
        ["name=' OR 1=1 --"], ["name=x'; DROP TABLE shop; --"], ["name=\") OR (\"1\"=\"1"], ["1=1"], ["name=1 OR 1=1"],
        ["name) OR (1=1"], ["name; DROP TABLE x=1"], ["\"name\"=0.png"], ["name=%"], ["name=\\'"], ["name=`id`"],
        ["name=$(id)"], ["name=\0"], ["name!=\u2019"], ["key=0"], ["vector=0"], ["name<"], [""], ["="], ["name==x"],
        ["a" * 4000 + "=1"], ["name=" + "," * 4000], ["name=" + ",".join("x" * 1000)], ["name=x"] * 16,
        ["name=" + "(" * 4000], ["name=/*"], ["name=a" + " OR name=a" * 300], ["name <>= 1"],
    ))
] + [
    Attack("where-too-many", {"text": "a", "where": ["name=x"] * 10_000}, route="/search"),
    Attack("where-too-long", {"text": "a", "where": ["name=" + "x" * 100_000]}, route="/search"),
    Attack("where-no-list", {"text": "a", "where": "name=x"}, route="/search"),
]  # fmt: skip


def one_query_many_documents() -> dict[str, Any]:
    return {"query": data_url(encoded("BMP", noise(1200))), "documents": [f"{n} red" for n in range(250)]}


def one_picture_many_times() -> dict[str, Any]:
    return {"input": [data_url(encoded("BMP", noise(150)))] * 250}


def many_bombs() -> dict[str, Any]:
    return {"input": [data_url(flat_png(7900, 8000 - n, 1)) for n in range(8)]}


COSTLY = [
    Attack("one-query-many-documents", one_query_many_documents, (200,), "/v2/rerank"),
    Attack("one-query-many-pairs", lambda: {"text_1": one_query_many_documents()["query"], "text_2": ["a"] * 250}, (200,), "/score"),
    Attack("one-picture-many-times", one_picture_many_times, (200,)),
    Attack("many-bombs", many_bombs, says="pixels together"),
]  # fmt: skip
ATTACKS = [*SHAPES, *OPTIONS, *NAMES, *CONDITIONS, *URLS, *PICTURES, *COSTLY]
