"""Lets TensorFlow keep the memory of tensors that are freed, not the C library.

With oneDNN TensorFlow has an allocator of its own, which does. Without, glibc holds up
to a sixth more than that would, or, under a strategy, gives most of a step's memory
back, and the kernel must clear it again for the next: `benchmarks/README.md` has the
figures. It takes effect where TensorFlow has not made its devices yet, and nothing is
set where the environment has chosen (`TF_CPU_ALLOCATOR_USE_BFC=false`, or `true`).
"""

import os

import psutil

from tfp_glow._onednn import has_onednn

_CHOICE = "TF_CPU_ALLOCATOR_USE_BFC"
_LEAST = 2**16  # what TensorFlow allows by default: 64 GB, whatever there is

if not has_onednn() and _CHOICE not in os.environ:
    megabytes = psutil.virtual_memory().total // 2**20 + 1
    os.environ[_CHOICE] = "true"
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", f"{max(megabytes, _LEAST)}")
