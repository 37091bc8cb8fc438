"""Names of pictures in other corpora, and the pictures of evaluations, which no corpus may hold."""

import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xfm.core.errors import UserError, amount, excerpt, printable
from xfm.core.files import read_text
from xfm.core.paths import home_path
from xfm.core.processes import cores
from xfm.corpora.images import perceptual_hash
from xfm.data.folders import scan_folder
from xfm.data.image_formats import PictureError
from xfm.data.images import PICTURE_SUFFIXES, checked_header, read_picture
from xfm.data.tables.json_list import is_list, listed_items, read_plain_pickle
from xfm.data.tables.records import unreadable

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


_TRAINED_ON = frozenset(("train", "restval"))
"""Splits of the files of Karpathy and of `refer` that are no evaluation."""


def evaluated(places: Sequence[str]) -> tuple[set[str], list[int]]:
    """Names, such as coco:139, and hashes of the pictures that files and folders name or hold; a note on
    stderr says how many cannot be read.

    Folders; pictures; COCO's annotations (all pictures) or Karpathy's (val and test); RefCOCO's `refs(unc).p`
    (not train); a list of objects with `image`, as X-VLM's; `.txt` with a name such as coco:139 a line.
    """
    names: set[str] = set()
    pictures: list[Path] = []
    for place in places:
        path = home_path(place)
        if path.is_dir():
            found = [path / name for name in scan_folder(path).pictures]
            if not found:
                raise UserError(f"--evaluation: {path} holds no pictures; check the path")
            pictures += found
        elif not path.is_file():
            raise UserError(f"--evaluation: {path} does not exist; check the path")
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            pictures.append(path)
        else:
            names |= {*_named(path)}
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
        data = read_picture(path)
        return perceptual_hash(data, checked_header(data))
    except PictureError as error:
        return excerpt(str(error), 200)


def _named(path: Path) -> Iterator[str]:
    if path.suffix == ".p":
        found = {*_of_references(read_plain_pickle(path))}
    elif path.suffix == ".txt":
        with unreadable(path):
            lines = read_text(path, encoding="utf-8-sig").splitlines()
        found = {line.strip() for line in lines if ":" in line}
    elif path.suffix == ".json":
        found = {*_of_annotations(path)}
    else:
        raise UserError(
            f"--evaluation: {path} is of an unknown kind; give .json, .p, .txt or folders of pictures"
        )
    if not found:
        raise UserError(
            f"--evaluation: {path} names no pictures that are evaluated; is it the official file?"
        )
    yield from found


def _is_trained_on(item: dict[str, Any]) -> bool:
    split = item.get("split")
    return isinstance(split, str) and split in _TRAINED_ON


def _of_references(refs: Any) -> Iterator[str]:
    for ref in refs if isinstance(refs, list) else ():
        number = ref.get("image_id") if isinstance(ref, dict) and not _is_trained_on(ref) else None
        if isinstance(number, int) and abs(number) < 1 << 63:  # a pickle holds numbers that nobody can print
            yield f"coco:{number}"


def _of_annotations(path: Path) -> Iterator[str]:
    if is_list(path):  # of X-VLM and its relatives
        for _, item in listed_items(path):
            yield from by_file(str(item.get("image") or "") if isinstance(item, dict) else "")
        return
    for _, item in listed_items(path, "images"):
        if not isinstance(item, dict) or _is_trained_on(item):
            continue
        number = item.get("cocoid", item.get("id"))
        if number is not None:
            yield f"coco:{number}"
            yield from by_address(item.get("flickr_url"))
        else:
            yield from by_file(str(item.get("filename") or ""))
