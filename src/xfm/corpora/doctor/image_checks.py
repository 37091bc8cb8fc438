"""Pictures that do not decode, end early or show one colour, checked at the smallest sufficient scale."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from xfm.config.doctor import DoctorConfig
from xfm.corpora.doctor.findings import Finding, Issue
from xfm.corpora.judging import looks_whole
from xfm.corpora.likeness import hash_of
from xfm.corpora.recoding import drafted
from xfm.data.picture_formats import Header, PictureError
from xfm.data.picture_pixels import rows_there
from xfm.data.pictures import checked_header, decode, read_picture

_SCALE = (64, 64)
"""A JPEG is decoded no smaller: as for the perceptual hash of `xfm prepare`, which is the same."""
_GREY, _FLAT = 128, 4
_LEAST_GREY = 2


class ImageCheck(NamedTuple):
    """Digest (64 bits), upright size in pixels (0 if undecodable), perceptual hash, and issues of a picture.

    The hash is None of an undecodable picture and of one of one colour.
    """

    digest: int
    width: int = 0
    height: int = 0
    likeness: int | None = None
    found: tuple[Issue, ...] = ()


def check_image(data: bytes, config: DoctorConfig) -> ImageCheck:
    """Check the bytes of a picture.

    All of a JPEG's code is read, to find scans that end early, at a smaller scale; what does not end as a
    whole file does is decoded as in training.
    """
    digest = short_digest(data)
    try:
        header = checked_header(data)
        picture, flaw = _decoded(data, header)
    except PictureError as error:
        return ImageCheck(digest, found=(Issue(Finding.PICTURE, str(error)),))
    found = [Issue(Finding.CUT, flaw)] if flaw else []
    found += _odd_sides(header, config)
    if flat := all(high - low <= _FLAT for low, high in _extremes(picture)):
        found.append(Issue(Finding.FLAT, "all of it has one colour"))
    return ImageCheck(digest, header.width, header.height, None if flat else hash_of(picture), tuple(found))


@lru_cache(maxsize=256)  # rows of one picture follow one another
def check_image_file(path: Path, config: DoctorConfig) -> ImageCheck:
    """Check a file; an unreadable one counts as undecodable."""
    try:
        return check_image(read_picture(path), config)
    except PictureError as error:
        return ImageCheck(0, found=(Issue(Finding.PICTURE, str(error)),))


def short_digest(data: bytes) -> int:
    """64 bits of a digest."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _decoded(data: bytes, header: Header) -> tuple[Image.Image, str | None]:
    small = drafted(data, header, _SCALE) if looks_whole(data, header) else None
    if small is not None:
        return small, _grey_end(small) if header.orientation == 1 else None
    found = decode(data)
    return Image.fromarray(found.pixels.permute(1, 2, 0).contiguous().numpy()), found.flaw


def _grey_end(picture: Image.Image) -> str | None:
    """The flaw of a JPEG that was cut and given an end, whose decoder makes the rest grey.

    A first row of grey means grey paper.
    """
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)  # [3, H, W]
    height, half = pixels.shape[1], pixels.shape[2] // 2
    there = rows_there(pixels, _GREY)
    if there == 0 or height - there < _LEAST_GREY or bool((pixels[:, 0, half:] == _GREY).all()):
        return None
    return f"the picture ends early: {there / height:.0%} of its rows are there, the others are grey"


def _odd_sides(header: Header, config: DoctorConfig) -> list[Issue]:
    short, long = sorted((header.width, header.height))
    shown, found = f"{header.width} x {header.height} pixels", list[Issue]()
    if short < config.min_side:
        found.append(Issue(Finding.SMALL, shown, -short))
    if long > config.max_aspect * short:
        found.append(Issue(Finding.LONG, shown, long / short))
    return found


def _extremes(picture: Image.Image) -> list[tuple[int, int]]:
    found = picture.getextrema()
    return found  # pyright: ignore[reportReturnType]  # of RGB, a pair a channel
