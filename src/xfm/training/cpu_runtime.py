"""Settings of the process that make repeated steps on a CPU faster."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


KERNEL_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def prepare_process() -> None:
    """Keep freed memory and oneDNN's kernels of all shapes (it forgets after 1,024); before the first
    computation."""
    os.environ.setdefault(KERNEL_CACHE, "8192")
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory; False without glibc. Mapping and zeroing it anew took a third of a
    small model's step."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(option, value) == 1 for option, value in settings)
