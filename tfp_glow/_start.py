"""When a process imports the flow, and TensorFlow with it."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["import_flow", "waits_for_flow"]

_MODULES = {"tfp_glow.cli", "tfp_glow.accelerate"}
"""Those behind `-m` that are commands."""

_ACCEPTED = ("pandas",)
"""What Keras and TensorFlow import, where they find it, to accept its tables.

No command hands them one.
"""

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
        with _left_out(_ACCEPTED):
            importlib.reload(package)


@contextmanager
def _left_out(packages: tuple[str, ...]) -> Iterator[None]:
    """Within it they are not there; afterwards they can be imported as ever."""
    left_out = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))
    try:
        yield
    finally:
        for name in left_out:
            sys.modules.pop(name, None)
