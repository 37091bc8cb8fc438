"""Pictures of evaluations, which no corpus may hold: names in other corpora, and perceptual hashes."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfm.core.errors import UserError, excerpt
from xfm.core.files import read_text, write_data
from xfm.core.paths import home_path
from xfm.core.processes import cores
from xfm.corpora import known_as
from xfm.corpora.likeness import perceptual_hash
from xfm.data.folders import scan_folder
from xfm.data.picture_formats import PictureError
from xfm.data.pictures import PICTURE_SUFFIXES, checked_header, read_picture
from xfm.data.tables.json_list import is_list, listed_items, read_plain_pickle

_TRAINED_ON = frozenset(("train", "restval"))
"""Splits of the files of Karpathy and of `refer` that are no evaluation."""


@dataclass(frozen=True)
class Evaluated:
    """Pictures of evaluations: names such as coco:139, [M] uint64 hashes, and unreadable files by reason."""

    names: frozenset[str]
    hashes: np.ndarray
    unread: Mapping[str, str]

    def save(self, path: Path) -> None:
        """Write it for other processes."""
        plain = {"names": sorted(self.names), "hashes": self.hashes.tolist(), "unread": dict(self.unread)}
        write_data(path, json.dumps(plain).encode())

    @classmethod
    def load(cls, path: Path) -> "Evaluated":
        """Read what `save` wrote."""
        plain = json.loads(read_text(path, 1 << 30))
        return cls(frozenset(plain["names"]), np.array(plain["hashes"], dtype=np.uint64), plain["unread"])


def evaluated(places: Sequence[str]) -> Evaluated:
    """Pictures that files and folders name or hold.

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
    names |= {name for path in pictures for name in known_as.by_file(path.name)}
    hashes, unread = _hashes(pictures)
    return Evaluated(frozenset(names), hashes, unread)


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
            yield known_as.coco(number)


def _of_annotations(path: Path) -> Iterator[str]:
    if is_list(path):  # of X-VLM and its relatives
        for _, item in listed_items(path):
            yield from known_as.by_file(str(item.get("image") or "") if isinstance(item, dict) else "")
        return
    for _, item in listed_items(path, "images"):
        if not isinstance(item, dict) or _is_trained_on(item):
            continue
        number = item.get("cocoid", item.get("id"))
        if number is not None:
            yield known_as.coco(number)
            yield from known_as.by_address(item.get("flickr_url"))
        else:
            yield from known_as.by_file(str(item.get("filename") or ""))


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
