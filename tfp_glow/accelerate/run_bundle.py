"""`python -m tfp_glow.accelerate run`: a bundle's own program, in a process of its own.

There it finds the modules that it was exported with, and no TensorFlow.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tfp_glow.accelerate.on_card.run import make_parser

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Runs the program.

    Args:
        arguments: With `rest`, all that was typed behind `run`.

    Returns:
        Its exit status.

    Raises:
        FileNotFoundError: If there is no bundle.
    """
    bundle, *others = arguments.rest or ["--help"]
    if bundle.startswith("-"):
        make_parser().print_help()
        return 0 if bundle in ("-h", "--help") else 2
    program = Path(bundle) / "run.py"
    if not program.is_file():
        raise FileNotFoundError(
            f"{bundle} is no bundle: it has no run.py. "
            "`python -m tfp_glow.accelerate export PRESET BUNDLE` writes one."
        )
    return subprocess.run([sys.executable, program, *others], check=False).returncode
