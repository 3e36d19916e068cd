"""How the C library keeps memory that TensorFlow has freed."""

import ctypes
import os

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
    try:
        libc = ctypes.CDLL(None)
        # Only glibc has this function; others have `mallopt` with other numbers.
        libc.gnu_get_libc_version  # noqa: B018
        set_option = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return
    set_option(_M_MMAP_MAX, 0)
    set_option(_M_TRIM_THRESHOLD, _LARGEST)
    set_option(_M_TOP_PAD, _PAD)
