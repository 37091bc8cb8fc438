"""Decoded pictures in memory, so that none is decoded in every epoch anew."""

import logging
import mmap
import multiprocessing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfm.core.processes import free_memory

_log = logging.getLogger(__name__)
SHARE = 0.5
"""Of the memory that is free when the cache is made it takes no more than this."""
_ENTRY = np.dtype([("key", "<i8"), ("offset", "<i8"), ("height", "<i4"), ("width", "<i4")])
_HEAD = 16  # bytes before the entries: how many there are, and how many bytes of pixels
_LEAST = 4096  # bytes of pixels for each entry that there is room for


class ImageCache:
    """Decoded images by identity, `limit` bytes at most, shared with loaders that are forked."""

    def __init__(self, limit: int) -> None:
        self._limit, self._room = limit, limit // _LEAST
        # Pages take memory once they are written.
        self._pixels = np.frombuffer(mmap.mmap(-1, max(1, limit)), np.uint8)
        table = mmap.mmap(-1, _HEAD + max(1, self._room) * _ENTRY.itemsize)
        self._head = np.frombuffer(table, np.int64, count=2)
        """Number of entries, bytes of pixels."""
        self._entries = np.frombuffer(table, _ENTRY, offset=_HEAD)
        self._lock = multiprocessing.Lock()
        self._places: dict[int, tuple[int, int, int]] = {}  # offset, height, width of those known here

    def __getstate__(self) -> dict[str, Any]:
        return ImageCache(0).__dict__ | {"_lock": None}

    def __len__(self) -> int:
        return int(self._head[0])

    def find(self, key: int) -> Tensor | None:
        """[3, H, W] uint8, the memory itself, which nobody may write to; None if the picture is not kept."""
        if key not in self._places:
            self._catch_up()
        if key not in self._places:
            return None
        offset, height, width = self._places[key]
        pixels = self._pixels[offset : offset + 3 * height * width]
        return torch.from_numpy(pixels).view(3, height, width)

    def keep(self, key: int, pixels: Tensor) -> None:
        """Keep a picture [3, H, W] uint8 if there is room."""
        if self._lock is None:
            return
        with self._lock:
            self._catch_up()
            count, used = self._head.tolist()
            if key in self._places or count == self._room or used + pixels.numel() > self._limit:
                return
            self._pixels[used : used + pixels.numel()] = pixels.flatten().numpy()
            self._entries[count] = (key, used, *pixels.shape[1:])
            self._head[:] = count + 1, used + pixels.numel()

    def _catch_up(self) -> None:
        if (known := len(self._places)) < (count := len(self)):
            for key, offset, height, width in self._entries[known:count].tolist():
                self._places[key] = (offset, height, width)


def image_cache_of(megabytes: int) -> ImageCache | None:
    """A cache of so many megabytes, or of the share of the free memory that may be taken; None for 0."""
    if not megabytes:
        return None
    free = free_memory()
    limit = min(megabytes << 20, int(SHARE * (free or 0)))
    if limit < megabytes << 20:
        told = "the free memory is unknown" if free is None else f"{free >> 20} MB of memory are free"
        said = "decoded pictures are kept in %d MB instead of data.cache_mb=%d: %s"
        _log.warning(said, limit >> 20, megabytes, told)
    try:
        return ImageCache(limit)
    except OSError as error:
        _log.warning("no decoded pictures are kept in memory (%s)", error.strerror or error)
        return None
