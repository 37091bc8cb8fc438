"""Pictures re-encoded on request, a perceptual hash that finds near-duplicates, names of pictures in other
corpora, and the pictures of evaluations, which no corpus may hold."""

import io
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from xfm.core.errors import UserError, amount, excerpt, printable
from xfm.core.files import read_text
from xfm.core.paths import home_path
from xfm.core.processes import cores
from xfm.data.folders import scan_folder
from xfm.data.image_formats import BROKEN, Header, ImageError, ImageFormat, open_with_pillow
from xfm.data.images import PICTURE_SUFFIXES, checked_header, decode, read_image, upright
from xfm.data.tables.json_list import is_list, listed_items, read_plain_pickle
from xfm.data.tables.records import unreadable

QUALITY = 90
"""Of what is shrunk, where nobody said."""


def shrunk(header: Header, max_side: int) -> tuple[int, int]:
    """Width and height of the upright picture with sides of at most `max_side` pixels (0: any)."""
    width, height = header.width, header.height
    longer = max(width, height)
    if not max_side or longer <= max_side:
        return width, height
    share = max_side / longer
    return max(1, round(width * share)), max(1, round(height * share))


def encoded(data: bytes, header: Header, size: tuple[int, int], quality: int | None) -> bytes:
    """The upright picture in another size as a baseline JPEG without metadata."""
    picture = loaded(data, header, size)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=QUALITY if quality is None else quality)
    return written.getvalue()


def loaded(data: bytes, header: Header, size: tuple[int, int], whole: bool = True) -> Image.Image:
    """An upright RGB picture of at least a size, of a `whole` JPEG at the smallest scale; or ImageError."""
    if whole and header.format is ImageFormat.JPEG and header.mode in ("RGB", "L"):
        with suppress(*BROKEN):
            picture = open_with_pillow(data, header.format)
            assert isinstance(picture, JpegImageFile)
            picture.draft(None, size if header.orientation < 5 else (size[1], size[0]))
            picture.load()
            shown = picture if picture.mode == "RGB" else picture.convert("RGB")
            if header.orientation == 1:
                return shown
            pixels = upright(torch.from_numpy(np.array(shown)).permute(2, 0, 1), header.orientation)
            return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return Image.fromarray(decode(data).permute(1, 2, 0).contiguous().numpy())


_SIDE, _LOW = 32, 8
_BLOCK = 2048
"""Hashes that are compared with as many others at once."""


def perceptual_hash(data: bytes, header: Header) -> int:
    """64-bit hash of an upright picture; ImageError where it does not decode."""
    return hash_of(loaded(data, header, (2 * _SIDE, 2 * _SIDE)))


def hash_of(picture: Image.Image) -> int:
    """Hash of a decoded picture."""
    from scipy.fft import dctn

    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    waves = np.asarray(dctn(np.asarray(small, dtype=np.float64), norm="ortho"))[:_LOW, :_LOW]
    # What is flat has nothing but noise of rounding there, of either sign.
    bits = waves > max(float(np.median(waves)), 1e-6)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_earlier(hashes: np.ndarray, distance: int) -> np.ndarray:
    """[N] int64 place of an earlier uint64 hash that is within `distance` bits of each, -1 without one."""
    unique, places, own = np.unique(hashes, return_index=True, return_inverse=True)  # the first place of each
    found = places[own]
    found[places] = -1
    for first, second in _near(unique, unique, distance):
        early, late = places[first], places[second]
        found[late[early < late]] = early[early < late]
    return found


def near_any(hashes: np.ndarray, others: np.ndarray, distance: int) -> np.ndarray:
    """[N] bool: the hash is within `distance` bits of one of [M] others."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    near = np.zeros(len(unique), dtype=bool)
    for first, _ in _near(unique, np.unique(others), distance):
        near[first] = True
    return near[inverse]


def _near(left: np.ndarray, right: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of near hashes in two arrays, maybe repeated. Of two hashes that differ in d bits, one of d + 1
    bands of bits is equal: only such are compared."""
    bands = distance + 1
    edges = [64 * band // bands for band in range(bands + 1)]
    for low, high in pairwise(edges):
        mask = np.uint64((1 << (high - low)) - 1)
        left_keys, right_keys = ((side >> np.uint64(low)) & mask for side in (left, right))
        left_order, right_order = (np.argsort(keys, kind="stable") for keys in (left_keys, right_keys))
        keys, starts, counts = np.unique(left_keys[left_order], return_index=True, return_counts=True)
        firsts, lasts = (np.searchsorted(right_keys[right_order], keys, side) for side in ("left", "right"))
        for at in np.flatnonzero(lasts > firsts):
            own = left_order[starts[at] : starts[at] + counts[at]]
            other = right_order[firsts[at] : lasts[at]]
            for up in range(0, len(own), _BLOCK):
                for across in range(0, len(other), _BLOCK):
                    rows, columns = own[up : up + _BLOCK], other[across : across + _BLOCK]
                    differ = np.bitwise_count(left[rows, None] ^ right[None, columns])
                    first, second = np.nonzero(differ <= distance)
                    yield rows[first], columns[second]


# ---------------------------------------------------------------- names in other corpora
_FLICKR = re.compile(r"(?:^|\.)(?:static)?flickr\.com$")
_PHOTO = re.compile(r"(\d{4,})_[0-9a-f]{6,}")
_COCO = re.compile(r"(?:^|[/_])(?:COCO_(?:train|val|test)20\d\d_)(\d{12})(?=\D|$)")
_COCO_2017 = re.compile(r"(?:^|/)(\d{12})\.jpg$")
_NUMBER = re.compile(r"(?:^|/)(\d{5,19})\.jpg$")


def by_address(address: object) -> tuple[str, ...]:
    """Name of a photograph by its address on Flickr."""
    if not isinstance(address, str) or "flickr" not in address:
        return ()
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return ()
    found = _PHOTO.search(parts.path.rpartition("/")[2])
    return (f"flickr:{found[1]}",) if found and _FLICKR.search(host) else ()


def by_file(name: str) -> Iterator[str]:
    """Names of a picture by its file name, whatever corpus it is of."""
    if found := _COCO.search(name) or _COCO_2017.search(name):
        yield f"coco:{int(found[1])}"
    elif found := _NUMBER.search(name):
        yield f"flickr:{int(found[1])}"


_TRAINED_ON = ("train", "restval")
"""Splits of the files of Karpathy and of `refer` that are no evaluation."""


def evaluated(places: Sequence[str]) -> tuple[set[str], list[int]]:
    """Names, such as coco:139, and hashes of the pictures that files and folders name or hold; a note on
    stderr says how many cannot be read. Folders; pictures; COCO's annotations (all pictures) or Karpathy's
    (val and test); RefCOCO's `refs(unc).p` (not train); a list of objects with `image`, as X-VLM's; `.txt`
    with a name such as coco:139 a line."""
    names: set[str] = set()
    pictures: list[Path] = []
    for place in places:
        path = home_path(place)
        if path.is_dir():
            found = [path / name for name in scan_folder(path)[0]]
            if not found:
                raise UserError(f"--evaluation: {path} holds no pictures; check the path")
            pictures += found
        elif not path.is_file():
            raise UserError(f"--evaluation: {path} does not exist; check the path")
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            pictures.append(path)
        else:
            names |= _named(path)
    names |= {name for path in pictures for name in by_file(path.name)}
    with ThreadPoolExecutor(cores()) as pool:
        outcomes = [*pool.map(_hash_or_flaw, pictures)]
    unread = [f"{path} ({one})" for path, one in zip(pictures, outcomes, strict=True) if isinstance(one, str)]
    if unread:
        told = f"{amount(len(unread), 'picture')} of --evaluation cannot be read, and known by name at most"
        print(f"Note: {told}: {printable(unread[0])}", file=sys.stderr, flush=True)
    return names, sorted({one for one in outcomes if not isinstance(one, str)})


def _hash_or_flaw(path: Path) -> int | str:
    try:
        data = read_image(path)
        return perceptual_hash(data, checked_header(data))
    except ImageError as error:
        return excerpt(str(error), 200)


def _named(path: Path) -> set[str]:
    if path.suffix == ".p":
        refs = read_plain_pickle(path)
        told = [ref for ref in (refs if isinstance(refs, list) else ()) if isinstance(ref, dict)]
        numbers = [ref.get("image_id") for ref in told if ref.get("split") not in _TRAINED_ON]
        # Others, of a pickle, nobody can print.
        found = {f"coco:{one}" for one in numbers if isinstance(one, int) and abs(one) < 1 << 63}
    elif path.suffix == ".txt":
        with unreadable(path):
            lines = read_text(path, encoding="utf-8-sig").splitlines()
        found = {line.strip() for line in lines if ":" in line}
    elif path.suffix == ".json":
        found = {*_of_annotations(path)}
    else:
        raise UserError(f"--evaluation: {path} is of an unknown kind; give .json, .p, .txt or folders")
    if not found:
        raise UserError(f"--evaluation: {path} names no pictures of an evaluation; is it the official file?")
    return found


def _of_annotations(path: Path) -> Iterator[str]:
    if is_list(path):  # of X-VLM and its relatives
        for _, item in listed_items(path):
            yield from by_file(str(item.get("image") or "") if isinstance(item, dict) else "")
        return
    for _, item in listed_items(path, "images"):
        if not isinstance(item, dict) or item.get("split") in _TRAINED_ON:
            continue
        number = item.get("cocoid", item.get("id"))
        if number is not None:
            yield f"coco:{number}"
            yield from by_address(item.get("flickr_url"))
        else:
            yield from by_file(str(item.get("filename") or ""))
