"""Names under which several corpora know one picture: COCO's number, Visual Genome's, Flickr's."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

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
