"""Settings of the process that make repeated steps on a CPU faster."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


KERNEL_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def prepare_process() -> None:
    """Keep freed memory, and the kernels of all shapes that occur: by default oneDNN forgets after 1,024.

    Call it before the first computation; a capacity that is set already stays.
    """
    os.environ.setdefault(KERNEL_CACHE, "8192")
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory instead of giving it back to the system.

    A CPU training step allocates and frees the same large tensors over and over. By default glibc maps each
    one afresh, and the system zeroes its pages every time: a third of a small model's step went there.

    Returns:
        Whether the C library took the settings (only glibc has them).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(option, value) == 1 for option, value in settings)
