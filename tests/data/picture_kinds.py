"""Pictures as people have them: how each is to be read, or what the message about it must say."""

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2
from pillow_heif import HeifImageFile, register_heif_opener

WIDTH, HEIGHT = 60, 40
CUT = "header is broken|does not decode"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What a viewer does for each orientation."""


@dataclass(frozen=True)
class Kind:
    """A file.

    Attributes:
        name: of the file, which may lie about the format.
        data: the bytes.
        shown: [H, W, 3] uint8, what a viewer shows; None of what cannot be used.
        words: what the message about it must say.
        tolerance: mean difference from `shown`.
    """

    name: str
    data: bytes
    shown: np.ndarray | None = None
    words: str = ""
    tolerance: float = 0.5


def base(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.copy().save(buffer, kind, **options)  # a copy, as saving leaves traces in a picture
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def reference(data: bytes) -> np.ndarray:
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    layer = picture.convert("RGBA")
    page = Image.new("RGBA", layer.size, "white")
    return np.array(Image.alpha_composite(page, layer).convert("RGB"))


def turned(orientation: int) -> np.ndarray:
    picture = base()
    return np.array(picture.transpose(TURNS[orientation]) if orientation in TURNS else picture)


def heic(picture: Image.Image, **options: object) -> bytes:
    register_heif_opener()  # for writing: what is read here is read by classes
    return saved(picture, "HEIF", quality=100, chroma=444, **options)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks)


def size_chunk(width: int, height: int, bits: int = 8) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)


def sixteen_bit_png(values: np.ndarray) -> bytes:
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(size_chunk(width, height, 16), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


_XYZ_TO_RGB = (32_406, -15_372, -4986, -9689, 18_758, 415, 557, -2040, 10_570)  # ten-thousandths


def dng(picture: Image.Image, orientation: int = 1, preview: bytes = b"") -> bytes:
    """What a sensor sees of a picture behind filters in red, green and blue, as Adobe's DNG has it."""
    light = ((np.asarray(picture) / 255 + 0.099) / 1.099) ** (1 / 0.45) * 65_535  # of BT.709
    sensor = light[..., 1].astype(np.uint16)
    sensor[::2, ::2], sensor[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    tags, matrix = ImageFileDirectory_v2(), tuple(IFDRational(one, 10_000) for one in _XYZ_TO_RGB)
    for tag, kind, value in (
        (254, 4, 0), (272, 2, "X-100"), (274, 3, orientation), (0x828D, 3, (2, 2)), (0x828E, 1, b"\0\1\1\2"),
        (0x8769, 4, {0x9003: "2024:06:15 12:00:00"}), (0xC612, 1, b"\1\4\0\0"), (0xC614, 2, "X-100"),
        (0xC61D, 3, 65_535), (0xC621, 10, matrix), (0xC628, 5, (IFDRational(1),) * 3), (0xC65A, 3, 21),
    ):  # fmt: skip
        tags[tag], tags.tagtype[tag] = value, kind
    data = saved(Image.fromarray(sensor), "TIFF", tiffinfo=tags)
    data = data.replace(struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHIHH", 262, 3, 1, 32_803, 0))
    if preview:  # in a second directory, whose place stands at the end of the first
        more, end = ImageFileDirectory_v2(), 10 + 12 * int.from_bytes(data[8:10], "little")
        width, height = Image.open(io.BytesIO(preview)).size
        more.update({256: width, 257: height, 258: 8, 259: 7, 262: 6, 273: 0, 277: 3, 279: len(preview)})
        data = data[:end] + struct.pack("<I", len(data)) + data[end + 4 :] + more.tobytes(len(data)) + preview
    return data


def late_exif(orientation: int) -> bytes:
    plain, body = saved(base(), "PNG"), exif(orientation).removeprefix(b"Exif\0\0")
    return plain[:-12] + png((b"eXIf", body))[8:] + plain[-12:]


def alike(name: str, data: bytes, tolerance: float = 0.5) -> Kind:
    return Kind(name, data, reference(data), tolerance=tolerance)


def oriented(orientation: int, kind: str, **options: object) -> bytes:
    return saved(base(), kind, exif=exif(orientation), **options)


def _oriented() -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for o in range(1, 9):
        found |= {
            f"jpeg {o}": Kind("a.jpg", oriented(o, "JPEG", quality=95), turned(o), tolerance=3),
            f"png {o}": Kind("a.png", oriented(o, "PNG"), turned(o)),
            f"webp {o}": Kind("a.webp", oriented(o, "WEBP", lossless=True), turned(o)),
            f"tiff {o}": Kind("a.tif", saved(base(), "TIFF", tiffinfo={0x0112: o}), turned(o)),
            f"heic {o}": Kind("IMG_1.HEIC", heic(base(), exif=exif(o)), turned(o), tolerance=4),
            f"avif {o}": Kind("a.avif", oriented(o, "AVIF", quality=95), turned(o), tolerance=4),
        }
    found["png, late exif 6"] = Kind("a.png", late_exif(6), turned(6))
    found["lzw tiff 8"] = alike("a.tiff", saved(base(), "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 8}))
    broken = saved(base(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    found["broken exif"] = Kind("a.png", broken, np.array(base()))
    return found


def _modes() -> dict[str, Kind]:
    picture, grey = base(), base().convert("L")
    fade = Image.linear_gradient("L").resize(picture.size)
    see_through = picture.copy()
    see_through.putalpha(fade)
    shown = reference(saved(see_through, "PNG"))
    palette, key = picture.quantize(32), Image.new("RGB", (5, 4), (1, 2, 3))
    deep = np.array(picture).astype(np.uint16) * 257
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey_alpha = grey.copy()
    grey_alpha.putalpha(fade)
    levels = np.array(grey).astype(np.uint16) * 257
    grey_deep, swapped = Image.fromarray(levels), Image.fromarray(levels.astype(">u2"))
    return {
        "progressive": alike("a.jpg", saved(picture, "JPEG", progressive=True), 1.5),
        "cmyk": alike("a.jpg", saved(picture.convert("CMYK"), "JPEG"), 1.5),
        "grey png": alike("a.png", saved(grey, "PNG")),
        "grey jpeg": alike("a.jpg", saved(grey, "JPEG"), 1.5),
        "icc profile": alike("a.jpg", saved(picture, "JPEG", icc_profile=profile), 1.5),
        "16-bit grey png": Kind("a.png", saved(grey_deep, "PNG"), np.array(grey.convert("RGB"))),
        "16-bit grey tiff": Kind("a.tif", saved(grey_deep, "TIFF"), np.array(grey.convert("RGB"))),
        "16-bit png": Kind("a.png", sixteen_bit_png(deep), np.array(picture)),
        "palette": alike("a.png", saved(palette, "PNG")),
        "palette, transparent": alike("a.png", saved(palette, "PNG", transparency=3)),
        "transparent png": alike("logo.png", saved(see_through, "PNG")),
        "lossy webp": alike("a.webp", saved(picture, "WEBP", quality=95), 1.5),
        "transparent webp": alike("logo.webp", saved(see_through, "WEBP", lossless=True)),
        "grey and alpha": alike("a.png", saved(grey_alpha, "PNG")),
        "colour key": alike("a.png", saved(key, "PNG", transparency=(1, 2, 3))),
        "1 bit": alike("scan.png", saved(picture.convert("1"), "PNG")),
        "1-bit fax": alike("scan.tif", saved(picture.convert("1"), "TIFF", compression="group4")),
        "1 x 1": alike("a.png", saved(Image.new("RGB", (1, 1), "red"), "PNG")),
        "bmp": alike("a.bmp", saved(picture, "BMP")),
        "palette bmp": alike("a.bmp", saved(palette, "BMP")),
        "lzw tiff": alike("a.tif", saved(picture, "TIFF", compression="tiff_lzw")),
        "tiff of pages": alike("a.tif", saved(picture, "TIFF", save_all=True, append_images=[grey])),
        "big-endian tiff": Kind("a.tif", saved(swapped, "TIFF"), np.array(grey.convert("RGB"))),
        "bigtiff": alike("a.tif", saved(picture, "TIFF", big_tiff=True)),
        "cmyk tiff": alike("a.tif", saved(picture.convert("CMYK"), "TIFF")),
        "transparent heic": Kind("a.heic", heic(see_through), shown, tolerance=4),
    }


def _animated() -> dict[str, Kind]:
    frames = [base(), Image.new("RGB", (WIDTH, HEIGHT), "blue")]
    options = {"save_all": True, "append_images": frames[1:], "duration": 100}
    return {
        "gif": alike("a.gif", saved(base(), "GIF")),
        "animated gif": alike("a.gif", saved(frames[0], "GIF", **options)),
        "apng": Kind("a.png", saved(frames[0], "PNG", **options), np.array(base())),
        "animated webp": Kind("a.webp", saved(frames[0], "WEBP", lossless=True, **options), np.array(base())),
        "transparent gif": alike("a.gif", saved(base().quantize(16), "GIF", transparency=2)),
    }


def _misnamed() -> dict[str, Kind]:
    jpeg, whole = saved(base(), "JPEG"), np.array(base())
    return {
        "jpeg named png": Kind("a.png", jpeg, whole, tolerance=5),
        "webp named jpg": Kind("a.jpg", saved(base(), "WEBP", lossless=True), whole),
        "heic named jpg": Kind("IMG_2.JPG", heic(base()), whole, tolerance=4),
        "gif named jpeg": alike("a.jpeg", saved(base(), "GIF")),
        "empty": Kind("a.jpg", b"", words="empty file"),
        "text": Kind("a.jpg", b"a text that somebody named .jpg\n", words="looks like a text"),
        "svg": Kind("a.png", b'<?xml version="1.0"?><svg xmlns="x"/>', words="looks like an SVG drawing"),
        "web page": Kind("a.jpg", b"<!DOCTYPE html><html>404</html>", words="looks like a web page"),
        "lfs": Kind("a.jpg", b"version https://git-lfs.github.com/spec/v1\n", words="git lfs pull"),
        "pdf": Kind("a.jpg", b"%PDF-1.7\n", words="looks like a PDF"),
        "noise": Kind("a.jpg", bytes(range(128, 256)), words="not a JPEG, PNG"),
    }


def _unusable() -> dict[str, Kind]:
    huge = png(size_chunk(30_000, 30_000), (b"IDAT", b""))
    fractions = saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    whole = saved(Image.fromarray(np.zeros((4, 4), np.int32)), "TIFF")
    screen = (gif := saved(base(), "GIF"))[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:]
    arithmetic = bytearray(saved(base(), "JPEG"))
    arithmetic[arithmetic.index(b"\xff\xc0") + 1] = 0xC3  # a lossless JPEG, of which no browser knows
    return {
        "huge": Kind("a.png", huge, words="set XFM_MAX_PIXELS=900000000"),
        "gif of a huge screen": Kind("a.gif", screen, words="65535 x 65535 pixels, more than the limit"),
        "tiff of fractions": Kind("a.tif", fractions, words="TIFF of fractions"),
        "tiff of 32 bits": Kind("a.tif", whole, words="save it with 8 or 16 bits"),
        "lossless jpeg": Kind("a.jpg", bytes(arithmetic), words="does not decode"),
        "png cut short": Kind("a.png", saved(base(), "PNG")[:900], words="does not decode"),
        "gif cut short": Kind("a.gif", saved(base(), "GIF")[:1200], words="does not decode"),
        "webp cut short": Kind("a.webp", saved(base(), "WEBP", lossless=True)[:900], words="does not decode"),
        "tiff cut short": Kind("a.tif", saved(base(), "TIFF")[:900], words=CUT),
        "heic cut short": Kind("a.heic", heic(base())[:900], words=CUT),
        "avif cut short": Kind("a.avif", saved(base(), "AVIF")[:500], words=CUT),
    }


def _cut() -> dict[str, Kind]:
    """A JPEG that ends somewhere."""
    picture = base(96, 120)
    whole = saved(picture, "JPEG", quality=90)
    start = whole.index(b"\xff\xda") + 14
    found: dict[str, Kind] = {}
    for place in (4, *range(20, 100, 20)):
        data = whole[: start + (len(whole) - start) * place // 100 - 2]
        found[f"cut at {place} %"] = Kind("a.jpg", data, words="does not decode")
    found["cut in its header"] = Kind("a.jpg", whole[:400], words=CUT)
    slow = saved(picture, "JPEG", progressive=True, quality=90)
    found["progressive, cut"] = Kind("a.jpg", slow[: len(slow) * 7 // 10], words="does not decode")
    return found


@cache
def kinds() -> dict[str, Kind]:
    assert HeifImageFile.format == "HEIF"
    return _oriented() | _modes() | _animated() | _misnamed() | _unusable() | _cut()
