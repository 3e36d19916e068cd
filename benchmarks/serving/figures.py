"""What the scripts of this folder share: their options, and tables in its README."""

import argparse
import importlib.metadata
import platform
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness
from worker import busy_seconds

__all__ = ["Figures", "make_parser", "verdict"]

DISTRIBUTIONS = {
    "tensorflow": "TensorFlow",
    "kserve": "KServe",
    "fastapi": "FastAPI",
    "uvicorn": "uvicorn",
    "grpcio": "gRPC",
}


def make_parser(description: str) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="exported by `tfp-glow export RUN DIR`; random weights when not given",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small model, briefly: a try of the script",
    )
    parser.add_argument(
        "--write", action="store_true", help="write the tables into README.md too"
    )
    return parser


def verdict(what: str, found: object, aim: str, *, reached: bool) -> list[object]:
    """A row of the table of what was aimed at."""
    return [what, found, aim, "yes" if reached else "**no**"]


class Figures:
    """Tables, with a line on what they were measured on and who else was at work."""

    def __init__(self) -> None:
        """Begins to count the processor's time."""
        self._started = time.monotonic(), _seconds_of_others()
        self._tables = []
        self.failed = False

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Adds a table."""
        self._tables.append(harness.table(columns, rows))

    def verdicts(self, rows: Sequence[Sequence[object]]) -> None:
        """Adds a table of rows by `verdict`."""
        self.table(["", "measured", "aim", "reached"], rows)
        self.failed |= any(row[-1] != "yes" for row in rows)

    def report(self, name: str, *, write: bool) -> int:
        """Prints all, and writes it into README.md where that is wanted.

        Args:
            name: Of the markers there.
            write: Whether to write.

        Returns:
            1 if an aim was not reached, else 0.
        """
        started, others = self._started
        found = {
            "versions": {"Python": platform.python_version()}
            | {n: importlib.metadata.version(d) for d, n in DISTRIBUTIONS.items()},
            "cores_of_others": (_seconds_of_others() - others)
            / (time.monotonic() - started),
        }
        readme = Path(__file__).with_name("README.md")
        harness.report(name, self._tables, [found], write=write, readme=readme)
        return int(self.failed)


def _seconds_of_others() -> float:
    """Of the processor, given neither to this process nor to children that ended."""
    usages = map(resource.getrusage, [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN])
    return busy_seconds() - sum(usage.ru_utime + usage.ru_stime for usage in usages)
