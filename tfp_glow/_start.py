"""What a process is started for, where that decides what it has to import."""

import sys
from pathlib import Path

__all__ = ["needs_no_flow"]

_COMMANDS = {"tfp_glow.cli": "serve", "tfp_glow.accelerate": "run"}
"""Modules behind `-m`, and of each the command that needs no flow."""

_SAYS = {"-h", "--help", "--version"}


def needs_no_flow() -> bool:
    """Whether this process is a command of ours that needs no flow for what it does.

    That is a server, what runs without TensorFlow, or help.

    Python imports a package before it imports a module of it. A server, which needs no
    bijector, would wait for Keras and TensorFlow Probability and hold them in memory;
    who reads the help would wait for TensorFlow.

    Example:
        >>> needs_no_flow()
        False
    """
    program = Path(sys.argv[0]).stem
    # While Python looks for the module behind `-m`, that stands in for its file.
    modules = _COMMANDS.keys() & set(sys.orig_argv) if program == "-m" else set()
    if program != "tfp-glow" and not modules:
        return False
    command = _COMMANDS[modules.pop() if modules else "tfp_glow.cli"]
    arguments = sys.argv[1:]
    return arguments[:1] in ([], [command]) or not _SAYS.isdisjoint(arguments)
