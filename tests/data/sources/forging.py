"""Indexes that no writer of ours has written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xfm.data.sources.shard_index import header


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
    count = len(sizes)
    numbers = {"sizes": sizes, "modified": modified or [0] * count, "ends": ends, "text_ends": text_ends}
    columns = {name: np.array(column, "<i8") for name, column in numbers.items()}
    columns["samples"] = np.frombuffer(samples or bytes(8 * count), "u1").reshape(count, -1)
    columns["names"] = np.frombuffer(b"".join(name.encode() + b"\0" for name in names), "u1")
    parts = [spans.astype("<i8"), *columns.values()]
    (folder / "index.xfm").write_bytes(header(columns, len(spans)) + b"".join(one.tobytes() for one in parts))
