"""How the C library keeps memory that TensorFlow has freed."""

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_LARGEST = 2**31 - 1
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_PAD = 2**28


def keep_freed_memory() -> None:
    """Makes glibc keep what is freed, for the next step, instead of giving it back.

    Under a strategy it gives back most of a step's memory, and the kernel must clear it
    again for the next: `benchmarks/README.md` has the figures. The process then holds
    the most that it has needed. Where the C library is another, or the environment
    tells glibc what to do (`MALLOC_...`, `GLIBC_TUNABLES`), nothing is changed.
    """
    if any(key.startswith(("MALLOC_", "GLIBC_TUNABLES")) for key in os.environ):
        return
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    # Only glibc has this function; others have `mallopt` with other numbers.
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    libc.mallopt(_M_TOP_PAD, _PAD)
