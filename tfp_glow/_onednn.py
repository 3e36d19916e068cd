"""Whether TensorFlow computes with oneDNN on this processor."""

import os
from functools import cache
from pathlib import Path

__all__ = ["has_onednn"]

_ONEDNN_FLAGS = {
    "amx_bf16",
    "amx_int8",
    "amx_tile",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "sve",
}
"""TensorFlow uses oneDNN by itself on processors that have one of these."""


@cache
def has_onednn() -> bool:
    """Whether TensorFlow convolves with oneDNN on this CPU, as far as can be seen."""
    option = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    if option in ("0", "1"):
        return option == "1"
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # no Linux
        return True
    return not _ONEDNN_FLAGS.isdisjoint(words)
