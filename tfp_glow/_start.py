"""When a process imports the flow, and TensorFlow with it."""

import importlib
import sys
from pathlib import Path

__all__ = ["import_flow", "waits_for_flow"]

_MODULES = {"tfp_glow.cli", "tfp_glow.accelerate"}
"""Those behind `-m` that are commands."""

_is_wanted = False


def waits_for_flow() -> bool:
    """Whether this process is a command of ours that has not asked for the flow yet.

    Python imports a package before it imports a module of it. Who reads the help or has
    mistyped an option would wait for TensorFlow; a server, which needs no bijector,
    would hold Keras and TensorFlow Probability in memory.

    Example:
        >>> waits_for_flow()
        False
    """
    if _is_wanted or "--multiprocessing-fork" in sys.orig_argv:
        return False
    program = Path(sys.argv[0]).stem
    # While Python looks for the module behind `-m`, that stands in for its file.
    is_module = program == "-m" and not _MODULES.isdisjoint(sys.orig_argv)
    return program == "tfp-glow" or is_module


def import_flow() -> None:
    """Imports what was waited for, if it was.

    `waits_for_flow` cannot say: meanwhile the file of `-m` may have been found.
    """
    global _is_wanted
    _is_wanted, package = True, sys.modules["tfp_glow"]
    if not hasattr(package, "GlowModel"):
        importlib.reload(package)
