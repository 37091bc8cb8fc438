"""Readers of files that nobody has checked, in the process of `xfm.core.sandbox`."""

import io
import json
import os
import pickle
import struct
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from xfm.core.errors import UserError

if TYPE_CHECKING:
    from pyarrow import Array

_PIECE, _MOST_ROWS = 32 << 20, 512
"""Bytes and rows that are given back at a time; a row may hold pictures."""
_FREE, _TIMES = 1_000_000, 64
"""Values of lists that any file may have, and how many a larger one may have for each of its bytes."""


# ---------------------------------------------------------------- Parquet
def parquet_footer(path: str) -> Iterator[bytes]:
    """As JSON: names of the columns, rows and bytes of each group, and what `datasets` says of them."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        told = file.metadata
        groups = [told.row_group(number) for number in range(told.num_row_groups)]
        kept = (file.schema_arrow.metadata or {}).get(b"huggingface", b"")
        yield json.dumps(
            {
                "columns": file.schema_arrow.names,
                "rows": [group.num_rows for group in groups],
                "bytes": [group.total_byte_size for group in groups],
                "features": kept.decode(errors="replace"),
            }
        ).encode()


def parquet_batches(path: str, groups: Sequence[int], columns: Sequence[str]) -> Iterator[memoryview]:
    """Batches of the columns of some groups of rows, each a stream of Arrow's IPC."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    size = os.path.getsize(path)
    most = max(_FREE, _TIMES * size)
    with ParquetFile(path, buffer_size=1 << 20) as file:  # chunks of columns are read piece by piece
        for group in groups:
            told = file.metadata.row_group(group)
            rows = max(1, min(_MOST_ROWS, _PIECE * told.num_rows // max(1, told.total_byte_size)))
            for batch in file.iter_batches(rows, [group], columns, use_threads=False):
                if (values := sum(map(_listed_values, batch.columns))) > most:
                    raise ValueError(f"its lists hold {values} values, and the file has {size} bytes")
                out = pyarrow.BufferOutputStream()
                with pyarrow.ipc.new_stream(out, batch.schema) as stream:
                    stream.write_batch(batch)
                yield memoryview(out.getvalue())


def _listed_values(array: "Array") -> int:
    """Values in lists, which may take no bytes each."""
    from pyarrow import types

    kind: Any = array
    if types.is_struct(array.type):
        return sum(_listed_values(kind.field(number)) for number in range(array.type.num_fields))
    if types.is_list(array.type) or types.is_large_list(array.type) or types.is_map(array.type):
        return len(kind.values) + _listed_values(kind.values)
    return 0


# ---------------------------------------------------------------- TIFF
def tiff_header(data: str) -> Iterator[bytes]:
    """As JSON: width and height, upright, and Pillow's mode."""
    picture = _tiff(data)
    if picture.mode in ("I", "F"):
        kind = "fractions" if picture.mode == "F" else "numbers of 32 bits"
        told = "whose black and white are not told; save it with 8 or 16 bits a channel"
        raise UserError(f"the picture is a TIFF of {kind}, {told}")
    yield json.dumps([*picture.size, picture.mode]).encode()


def tiff_pixels(data: str) -> Iterator[bytes]:
    """RGB, some rows at a time; Pillow turns them as the file says."""
    from xfm.data.image_formats import rgb_strips

    picture = _tiff(data)
    picture.load()
    yield from (strip.tobytes() for strip in rgb_strips(picture))


def _tiff(data: str) -> Any:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

    content = b64decode(data)
    file, tags = io.BytesIO(content), ImageFileDirectory_v2(content[: 16 if 43 in content[2:4] else 8])
    file.seek(tags.next)
    tags.load(file)
    preview = tags.get(254, 0) & 1 and 330 in tags  # of what other directories hold
    if preview or 0xC612 in tags or content[8:10] == b"CR":
        raise UserError("the picture is camera RAW, which is read from files of its suffix, such as .dng")
    return TiffImageFile(io.BytesIO(content))


# ---------------------------------------------------------------- camera RAW
def camera_raw(path: str) -> Iterator[bytes]:
    """As JSON: the sensor's width and height in pixels. Then a JPEG that its EXIF turns upright: the preview
    where it has a side of 1,024 pixels or half as many as the sensor, else the sensor's in half size."""
    import rawpy
    from PIL.Image import Exif, fromarray
    from PIL.JpegImagePlugin import JpegImageFile

    from xfm.core.files import read_bytes
    from xfm.data.image_formats import BROKEN

    data = read_bytes(path, 1 << 30)
    with rawpy.imread(io.BytesIO(data)) as raw:
        sensor, turns, told = (raw.sizes.width, raw.sizes.height), raw.sizes.flip, Exif()
        yield json.dumps(sensor).encode()
        try:
            jpeg = bytes(raw.extract_thumb().data)
            size = JpegImageFile(io.BytesIO(jpeg)).size
        except (rawpy.LibRawError, *BROKEN):  # there is none, or a bitmap: these are small
            jpeg, size = b"", (0, 0)
        # LibRaw fills up a preview that is cut with what its memory held before.
        if jpeg[-256:] not in data or max(size) < min(1024, max(sensor) // 2):
            pixels = raw.postprocess(half_size=True, use_camera_wb=True)
            if not pixels.any():  # of tiles that are not there LibRaw says nothing
                raise ValueError("its pixels are missing")
            fromarray(pixels.squeeze()).save(written := io.BytesIO(), "JPEG", quality=95, subsampling=0)
            yield written.getvalue()
            return
        upright = turns & 4 and (size[0] < size[1]) != (sensor[0] < sensor[1])
        told[0x0112] = 1 if upright else (1, 2, 4, 3, 5, 8, 6, 7)[turns & 7]
        block = told.tobytes()
        yield b"\xff\xd8\xff\xe1" + struct.pack(">H", 2 + len(block)) + block + jpeg[2:]


# ---------------------------------------------------------------- EXIF
def exif(path: str) -> Iterator[bytes]:
    """As JSON: when (YYYY:MM:DD hh:mm:ss) and with what camera a photograph was taken, and nothing else."""
    from PIL.ExifTags import IFD, Base
    from PIL.Image import Exif

    from xfm.core.files import read_bytes
    from xfm.data.image_formats import ImageFormat, format_of, open_with_pillow

    data, told = read_bytes(path, 1 << 30), Exif()
    if (found := format_of(data)) is None:  # RAW: what its preview says, or LibRaw in its place
        import rawpy

        with rawpy.imread(io.BytesIO(data)) as raw:
            data = bytes(raw.extract_thumb().data)
    if found is not ImageFormat.TIFF:
        data = open_with_pillow(data, found or ImageFormat.JPEG).info.get("exif") or b""
    told.load(data)
    block = told.get_ifd(IFD.Exif)
    taken = block.get(Base.DateTimeOriginal) or block.get(Base.DateTimeDigitized)
    if not taken and found is None and str(told.get(Base.DateTime)) > "1971":  # LibRaw's 0 is no day
        taken = told.get(Base.DateTime)
    yield json.dumps([str(one or "") for one in (taken, told.get(Base.Model))]).encode()


# ---------------------------------------------------------------- pickles
class _PlainUnpickler(pickle.Unpickler):
    """A pickle is a program: this one knows no names, so that no function or class can be called."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def plain_pickle(path: str) -> Iterator[bytes]:
    """As JSON: lists, mappings, texts and numbers; strings of Python 2 are read as UTF-8."""
    with open(path, "rb") as file:
        content = _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    try:
        yield json.dumps(content).encode()
    except ValueError as error:
        raise pickle.UnpicklingError("it holds a number of thousands of digits, or itself") from error
