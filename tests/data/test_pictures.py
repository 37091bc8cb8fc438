"""Real-life pictures are read as a viewer shows them, or named: sizes, early ends, and what means harm."""

import contextlib
import resource
import struct
import sys
import time
import zlib
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from tests.alike import thorough
from tests.data.conftest import PICTURE
from tests.data.picture_kinds import base, chunk, heic, kinds, saved
from tests.refusals import expect_refusal
from xfm.data.images import ImageError, checked_header, decode, image_size, load_image, rgb_of

KINDS = kinds()


@pytest.mark.parametrize("name", KINDS)
def test_read_as_a_viewer_shows_it_or_named(name: str) -> None:
    kind = KINDS[name]
    if kind.shown is None:
        with pytest.raises(ImageError, match=kind.words):
            decode(kind.data)
        return
    pixels = decode(kind.data).permute(1, 2, 0).numpy()
    assert pixels.shape == kind.shown.shape
    assert np.abs(pixels.astype(int) - kind.shown).mean() <= kind.tolerance
    header = checked_header(kind.data)
    assert (header.height, header.width) == kind.shown.shape[:2]


def test_size_and_pixels_are_those_of_the_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    assert image_size(tmp_path / "a.jpg") == (40, 30)
    assert torch.equal(load_image(tmp_path / "a.jpg"), decode(PICTURE))
    with expect_refusal("40 x 30 pixels, more than the limit of 1199"):
        load_image(tmp_path / "a.jpg", max_pixels=1199)


@cache
def small(format: str) -> bytes:
    return heic(base(24, 24)) if format == "HEIF" else saved(base(24, 24), format)


def test_a_jpeg_that_is_refined_for_ever():
    """A quarter of a megabyte of scans that change nothing took hours; some more than usual do no harm."""
    data = saved(Image.new("L", (4000, 4000), 128), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    began = time.process_time()
    with pytest.raises(ImageError, match=r"\d+ scans, which would take long"):
        decode(data[:end] + data[last:end] * 1000 + data[end:])
    assert time.process_time() - began < 2
    assert decode(data[:end] + data[last:end] * 30 + data[end:]).shape == (3, 4000, 4000)


def directory(*entries: tuple[int, int, int, int]) -> bytes:
    """The head and the one directory of a TIFF: tag, type, count and value (or place) of each entry."""
    found = b"".join(struct.pack(">HHII", *entry) for entry in sorted(entries))
    return b"MM\0*" + struct.pack(">IH", 8, len(entries)) + found


def tiff(*entries: tuple[int, int, int, int], more: int = 0) -> bytes:
    plain = ((256, 4, 1, 60), (257, 4, 1, 40), (258, 3, 1, 8 << 16), (262, 3, 1, 1 << 16))
    return directory(*plain, *entries) + bytes(4 + more)


def tiled(width: int, height: int, across: int, down: int, tiles: int) -> bytes:
    body = zlib.compress(bytes(across * down))
    tags = [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1), (322, across), (323, down)]
    first = 8 + 2 + 12 * 10 + 4
    lists = [(324, 4, tiles, first), (325, 4, tiles, first + 4 * tiles)]
    values = [first + 8 * tiles] * tiles + [len(body)] * tiles
    head = directory(*((tag, 4, 1, value) for tag, value in tags), *lists)
    return head + bytes(4) + struct.pack(f">{2 * tiles}I", *values) + body


BOMBS = {
    "values that overlap": tiff(*((1000 + n, 7, 4_000_000, 8) for n in range(2000)), more=4_000_000),
    "a value of many fractions": tiff((282, 5, 500_000, 200), more=4_100_000),
    "one tile for every column": tiled(16 * 256, 16, 16, 1_000_000, 256),  # took half a minute
    "directories in a ring": tiff((0x8769, 4, 1, 8), (273, 4, 1, 8), more=99),
    "a huge screen": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + small("GIF")[10:],
}


@thorough
@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_claim_much_cost_little(name):
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(ImageError):  # another process reads a TIFF, and may find a picture in it
        decode(BOMBS[name])
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


CRUMBS = {
    "JPEG: EXIF": b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + bytes(10),
    "JPEG: padding": b"\xff",
    "JPEG: markers without a body": b"\xff\xf0",
    "PNG: texts": chunk(b"tEXt", b"a\0b"),
    "GIF: comments": b"!\xfe\1a\0",
}


@pytest.mark.parametrize("name", CRUMBS)
def test_a_file_of_nothing_but_small_pieces(name):
    """Pillow goes through them one by one: 8 MB of the first took half a minute, 64 MB half an hour."""
    format, piece = name.split(":")[0], CRUMBS[name]
    data = small(format)
    place = {"JPEG": 2, "PNG": 33, "GIF": 13 + (3 << (data[10] % 8 + 1))}[format]

    def of(size: int) -> bytes:
        return data[:place] + piece * (size // len(piece)) + data[place:]

    began = time.process_time()
    with pytest.raises(ImageError, match=r"header is broken \(it has more than [0-9,]+ (segm|block|chunk)"):
        decode(of(16 << 20))
    assert time.process_time() - began < 2
    if "markers" not in name:  # of which the decoder takes none
        assert decode(of(1500)).shape == (3, 24, 24)


def test_a_missing_decoder_is_named_with_its_remedy(monkeypatch):
    heif = small("HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with expect_refusal("pillow-heif is not installed: pip install 'xfm[heif]'", kind=ImageError):
        decode(heif)


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "PA", "CMYK"])
@pytest.mark.parametrize("at_once", [1, 1000])
def test_large_pictures_are_converted_in_strips(mode, clear, at_once, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (61, 43, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).convert(mode)
    if clear and mode in ("L", "P", "RGB"):
        picture.info["transparency"] = (1, 2, 3) if mode == "RGB" else 7
    whole = rgb_of(picture.copy())
    monkeypatch.setattr("xfm.data.image_formats.AT_ONCE", at_once)
    strips = rgb_of(picture)
    assert torch.equal(strips, whole)
    assert strips.is_contiguous()
