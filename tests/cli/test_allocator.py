"""What freed memory costs when it is needed again, in processes of their own."""

import ctypes
import subprocess
import sys

import pytest

from tfp_glow.cli import allocator

# Allocates and frees 64 MB a second time: page faults are those of giving it back.
COUNT = """
import ctypes, resource, runpy

{prepare}
libc = ctypes.CDLL(None)
malloc, memset, free = libc.malloc, libc.memset, libc.free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = malloc(2**26)
    memset(block, 1, 2**26)
    free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEEP = "runpy.run_path({file!r})['keep_freed_memory']()"
PAGES = 2**26 // 4096


def page_faults(prepare: str, environment: dict[str, str]) -> int:
    code = COUNT.format(prepare=prepare)
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(printed.stdout)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="needs glibc"
)
def test_freed_memory_is_kept_unless_the_environment_says_how():
    keep = KEEP.format(file=allocator.__file__)
    assert page_faults("", {}) >= PAGES
    assert page_faults(keep, {}) < PAGES / 100
    assert page_faults(keep, {"MALLOC_MMAP_THRESHOLD_": "65536"}) >= PAGES
