"""Settings of the process that make repeated steps on a CPU faster."""

import ctypes
import os
import sys

KERNEL_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def prepare_process() -> None:
    """Keep oneDNN's kernels of all shapes (it forgets after 1,024) and, with glibc, freed memory: mapping and
    zeroing it anew took a third of a small model's step. Before the first computation."""
    os.environ.setdefault(KERNEL_CACHE, "8192")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is not None:
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 * 2**20)):
            if mallopt(option, value) != 1:
                return
