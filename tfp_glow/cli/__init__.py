"""The command line `tfp-glow`: train, evaluate, sample and export without code.

Each command is a module of this package with a function `run(arguments)`, which returns
None or an exit status. It is imported when it is asked for: reading the help waits for
no TensorFlow.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tfp_glow._start import import_flow
from tfp_glow.cli.parser import make_parser

__all__ = ["console", "end_process", "main", "run_command"]

_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it.


def console() -> NoReturn:
    """Runs a command as a program, see `main` and `end_process`."""
    end_process(main())


def end_process(status: int) -> NoReturn:
    """Ends the process with a status; after Ctrl-C it dies of SIGINT.

    A shell has 130 for both, and for the second ends its own loop or script as well.

    Args:
        status: What `main` returned.

    Raises:
        KeyboardInterrupt: After Ctrl-C: Python ends a process so by itself.
        SystemExit: Else.
    """
    if status == _INTERRUPTED:
        sys.excepthook = lambda *_: None  # There is nothing to be told.
        raise KeyboardInterrupt
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What stands behind `tfp-glow`; taken from the process when not given.

    Returns:
        The exit status: 0; 1 after an error, which is told in one message, or where
        `check` found something wrong; 130 after Ctrl-C, 143 where SIGTERM stopped
        a training. With `TFP_GLOW_DEBUG` set, an
        error is raised instead.

    Raises:
        SystemExit: With status 2 where `arguments` cannot be understood, and with 0
            after `--help` and `--version`.
    """
    parsed = make_parser().parse_args(arguments)
    module = f"tfp_glow.cli.{parsed.command.replace('-', '_')}"
    needs_flow = parsed.command not in ("presets", "serve")
    return run_command("tfp-glow", module, parsed, needs_flow=needs_flow)


def run_command(
    program: str, module: str, parsed: argparse.Namespace, *, needs_flow: bool
) -> int:
    """Runs a command that was understood.

    Args:
        program: What an error is told by.
        module: Name of the module whose function `run` is the command.
        parsed: What `run` takes.
        needs_flow: Whether it needs TensorFlow Probability, Keras, and what of the
            package imports them.

    Returns:
        The exit status, see `main`.
    """
    # TensorFlow's C++ parts read it once, when they are loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        if needs_flow:
            import_flow()
        status = importlib.import_module(module).run(parsed)
    except KeyboardInterrupt as interrupt:
        return getattr(interrupt, "exit_status", _INTERRUPTED)
    except Exception as error:
        if os.environ.get("TFP_GLOW_DEBUG") or not isinstance(error, _told()):
            raise
        text = str(error) or type(error).__name__
        print(f"{program}: error: {text}", file=sys.stderr)
        return 1
    return status or 0


def _told() -> tuple[type[Exception], ...]:
    """Errors of which the message is enough; others are mistakes of ours."""
    tensorflow = sys.modules.get("tensorflow")  # such as one record cut short
    of_tensorflow = (tensorflow.errors.OpError,) if tensorflow else ()
    return (
        ImportError,
        MemoryError,
        NotImplementedError,
        OSError,
        TypeError,
        ValueError,
        *of_tensorflow,
    )
