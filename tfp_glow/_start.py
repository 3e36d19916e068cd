"""What a process is started for, where that decides what it has to import."""

import sys
from pathlib import Path

__all__ = ["is_server"]


def is_server() -> bool:
    """Whether this process is `tfp-glow serve`, or `python -m tfp_glow.cli serve`.

    Python imports a package before it imports a module of it. A server, which needs no
    bijector, would wait for Keras and TensorFlow Probability and hold them in memory.

    Example:
        >>> is_server()
        False
    """
    if sys.argv[1:2] != ["serve"]:
        return False
    program = Path(sys.argv[0]).stem
    # While Python looks for the module behind `-m`, that stands in for its file.
    is_module = program == "-m" and "tfp_glow.cli" in sys.orig_argv
    return program == "tfp-glow" or is_module
