"""Indexes that no writer of ours has written."""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def forge(
    folder: Path,
    spans: np.ndarray,
    names: Sequence[str],
    sizes: Sequence[int],
    ends: Sequence[int],
    text_ends: Sequence[int],
    modified: Sequence[int] = (),
    samples: bytes = b"",
) -> None:
    """Write an index, byte by byte as its format says, whose digest fits whatever it holds."""
    count = len(sizes)
    encoded = b"".join(name.encode() + b"\0" for name in names)
    times = np.array(list(modified) or [0] * count, "<i8")
    columns = [np.array(sizes, "<i8"), times, np.array(ends, "<i8"), np.array(text_ends, "<i8")]
    table = b"".join(column.tobytes() for column in columns)
    table += (samples or bytes(8 * count)) + bytes(32 * count) + encoded
    counts = struct.pack("<QQQ", count, len(spans), len(encoded))
    head = b"XFMINDEX" + struct.pack("<II", 1, 0) + counts + hashlib.sha256(counts + table).digest()
    (folder / "index.xfm").write_bytes(head.ljust(128, b"\0") + spans.astype("<i8").tobytes() + table)
