"""Names of pictures in other corpora, and the pictures of evaluations, which no corpus may hold."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from xfm.core.errors import UserError, excerpt
from xfm.core.files import read_text, write_data
from xfm.core.paths import home_path
from xfm.core.processes import cores
from xfm.corpora.images import perceptual_hash
from xfm.data.folders import scan_folder
from xfm.data.image_formats import PictureError
from xfm.data.images import PICTURE_SUFFIXES, checked_header, read_picture
from xfm.data.tables.json_list import is_list, listed_items, read_plain_pickle

_FLICKR = re.compile(r"(?:^|\.)(?:static)?flickr\.com$")
_PHOTO = re.compile(r"(\d{4,})_[0-9a-f]{6,}")
_COCO = re.compile(r"(?:^|[/_])(?:COCO_(?:train|val|test)20\d\d_)(\d{12})(?=\D|$)")
_COCO_2017 = re.compile(r"(?:^|/)(\d{12})\.jpg$")
_NUMBER = re.compile(r"(?:^|/)(\d{5,19})\.jpg$")


def coco(number: object) -> str:
    """Name of a picture of COCO."""
    return f"coco:{number}"


def genome(number: object) -> str:
    """Name of a picture of Visual Genome."""
    return f"vg:{number}"


def flickr(number: object) -> str:
    """Name of a picture on Flickr; Flickr30k's files are called by these numbers."""
    return f"flickr:{number}"


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
    return (flickr(found[1]),) if found and _FLICKR.search(host) else ()


def by_file(name: str) -> Iterator[str]:
    """Names of a picture by its file name, whatever corpus it is of."""
    if found := _COCO.search(name) or _COCO_2017.search(name):
        yield coco(int(found[1]))
    elif found := _NUMBER.search(name):
        yield flickr(int(found[1]))


_TRAINED_ON = frozenset(("train", "restval"))
"""Splits of the files of Karpathy and of `refer` that are no evaluation."""


@dataclass(frozen=True)
class EvaluationPictures:
    """Pictures of evaluations: names such as coco:139, [M] uint64 hashes, and unreadable files by reason."""

    names: frozenset[str]
    hashes: np.ndarray
    unread: Mapping[str, str]

    def save(self, path: Path) -> None:
        """Write it for other processes."""
        plain = {"names": sorted(self.names), "hashes": self.hashes.tolist(), "unread": dict(self.unread)}
        write_data(path, json.dumps(plain).encode())

    @classmethod
    def load(cls, path: Path) -> "EvaluationPictures":
        """Read what `save` wrote."""
        plain = json.loads(read_text(path, 1 << 30))
        return cls(frozenset(plain["names"]), np.array(plain["hashes"], dtype=np.uint64), plain["unread"])


def evaluated(places: Sequence[str]) -> EvaluationPictures:
    """Pictures that files and folders name or hold.

    Folders; pictures; COCO's annotations (all pictures) or Karpathy's (val and test); RefCOCO's `refs(unc).p`
    (not train); a list of objects with `image`, as X-VLM's; `.txt` with a name such as coco:139 a line.
    """
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
            names |= {*_named(path)}
    names |= {name for path in pictures for name in by_file(path.name)}
    hashes, unread = _hashes(pictures)
    return EvaluationPictures(frozenset(names), hashes, unread)


def _named(path: Path) -> Iterator[str]:
    if path.suffix == ".p":
        found = {*_of_references(read_plain_pickle(path))}
    elif path.suffix == ".txt":
        found = {line.strip() for line in _lines(path) if ":" in line}
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


def _lines(path: Path) -> list[str]:
    try:
        return read_text(path, encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"--evaluation: {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--evaluation: {path} is not UTF-8 ({error.reason}); save it as UTF-8") from error


def _is_trained_on(item: dict[str, Any]) -> bool:
    split = item.get("split")
    return isinstance(split, str) and split in _TRAINED_ON


def _of_references(refs: Any) -> Iterator[str]:
    for ref in refs if isinstance(refs, list) else ():
        number = ref.get("image_id") if isinstance(ref, dict) and not _is_trained_on(ref) else None
        if isinstance(number, int) and abs(number) < 1 << 63:  # a pickle holds numbers that nobody can print
            yield coco(number)


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
            yield coco(number)
            yield from by_address(item.get("flickr_url"))
        else:
            yield from by_file(str(item.get("filename") or ""))


def _hashes(pictures: Iterable[Path]) -> tuple[np.ndarray, dict[str, str]]:
    found: list[int] = []
    unread: dict[str, str] = {}

    def look(path: Path) -> int | str:
        try:
            data = read_picture(path)
            return perceptual_hash(data, checked_header(data))
        except PictureError as error:
            return excerpt(str(error), 200)

    pictures = [*pictures]
    with ThreadPoolExecutor(cores()) as pool:
        for path, outcome in zip(pictures, pool.map(look, pictures), strict=True):
            if isinstance(outcome, str):
                unread[str(path)] = outcome
            else:
                found.append(outcome)
    return np.array(sorted(set(found)), dtype=np.uint64), unread
