"""What `xfm embed` is asked. Nothing here imports more than the standard library."""

from dataclasses import dataclass
from enum import StrEnum


class VectorFormat(StrEnum):
    """Files of vectors.

    parquet: the columns row (or image, of a folder), those of --keep, warning, and vector.
    npy: arrays [N, E] of NumPy, and a file of JSON lines beside each that says whose they are.
    """

    PARQUET = "parquet"
    NPY = "npy"


@dataclass(frozen=True)
class EmbedConfig:
    """Which files `xfm embed` writes.

    Attributes:
        format: parquet, or npy: arrays of NumPy, with JSON lines that say whose the vectors are.
    """

    format: VectorFormat = VectorFormat.PARQUET
