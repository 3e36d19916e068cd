"""What a process is started for, where that decides what it has to import."""

import sys
from pathlib import Path

__all__ = ["needs_no_flow"]

_SAYS = {"-h", "--help", "--version"}


def needs_no_flow() -> bool:
    """Whether this process is the command `tfp-glow`, and only serves or gives help.

    Python imports a package before it imports a module of it. A server, which needs no
    bijector, would wait for Keras and TensorFlow Probability and hold them in memory;
    who reads the help would wait for TensorFlow.

    Example:
        >>> needs_no_flow()
        False
    """
    program = Path(sys.argv[0]).stem
    # While Python looks for the module behind `-m`, that stands in for its file.
    is_module = program == "-m" and "tfp_glow.cli" in sys.orig_argv
    if program != "tfp-glow" and not is_module:
        return False
    arguments = sys.argv[1:]
    return arguments[:1] in ([], ["serve"]) or not _SAYS.isdisjoint(arguments)
