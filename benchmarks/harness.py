"""Runs contenders in processes of their own, in turn, and makes tables of medians."""

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Contender",
    "Median",
    "at_most",
    "bar_table",
    "has_bfloat16",
    "has_normflows",
    "machine",
    "make_parser",
    "measure",
    "provenance",
    "publish",
    "ratio_row",
    "ratio_table",
    "report",
    "table",
    "worker_command",
    "worker_environment",
]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Contender:
    """Something to measure.

    Attributes:
        build: `"module:function"` in this folder, which returns a `Subject`.
        arguments: Of that function.
        python: Interpreter that has what the module imports.
        rounds: In how many rounds it takes part, at most.
    """

    build: str
    arguments: dict = field(default_factory=dict)
    python: str = sys.executable
    rounds: int = 1000


class Median(dict):
    """What the worker prints, the median over the rounds of each number."""

    def __init__(self, runs: Sequence[dict]) -> None:
        """Takes what each round has given."""
        super().__init__(
            {
                key: value
                if isinstance(value, dict)
                else statistics.median(run[key] for run in runs)
                for key, value in runs[0].items()
            }
        )


def make_parser(description: str, rounds: int | None) -> argparse.ArgumentParser:
    """The options that every benchmark has; `--rounds` not where that is None."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    if rounds is not None:
        parser.add_argument(
            "--rounds", type=int, default=rounds, help="processes of each contender"
        )
    parser.add_argument(
        "--quick", action="store_true", help="a small model once: a try of the script"
    )
    parser.add_argument(
        "--write", action="store_true", help="write the table into README.md too"
    )
    return parser


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16."""
    return not _flags().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def has_normflows(python: str) -> bool:
    """Whether an interpreter finds normflows; says what to do where it does not."""
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('normflows') is None)"
    found = subprocess.run([python, "-c", code], check=False).returncode == 0
    if not found:
        print(
            f"{python} has no normflows, which is left out: pip install "
            "'.[benchmarks]', or name an interpreter that has it, --torch-python PATH.",
            file=sys.stderr,
        )
    return found


def measure(
    contenders: dict[Hashable, Contender],
    *,
    rounds: int,
    calls: int = 1,
    warm_up: int = 0,
    in_turns: bool = False,
) -> dict[Hashable, Median]:
    """Runs all contenders one after another, and that as often as there are rounds.

    Args:
        contenders: By the names of their rows.
        rounds: Processes of each.
        calls: Calls in a process that are timed.
        warm_up: Calls before those, the first apart.
        in_turns: Whether the processes of a round stay, and take turns with each call,
            in another order each time: a machine that is slow for minutes is so for
            all of them.

    Returns:
        The medians, by the same names, in the same order.
    """
    runs = {name: [] for name in contenders}
    for number in range(rounds):
        now = {n: c for n, c in contenders.items() if number < c.rounds}
        found = (_run_in_turns if in_turns else _run_each)(now, calls, warm_up)
        for name, run in found:
            runs[name].append(run)
            print(f"round {number + 1}, {name}: {_brief(run)}", file=sys.stderr)
    return {name: Median(found) for name, found in runs.items()}


def _run_each(
    contenders: dict[Hashable, Contender], calls: int, warm_up: int
) -> Iterator[tuple[Hashable, dict]]:
    for name, contender in contenders.items():
        yield name, run_worker(contender, calls=calls, warm_up=warm_up)


def _run_in_turns(
    contenders: dict[Hashable, Contender], calls: int, warm_up: int
) -> Iterator[tuple[Hashable, dict]]:
    with ExitStack() as stack:
        workers = {}
        for name, contender in contenders.items():
            workers[name] = stack.enter_context(_Worker(contender, warm_up))
            workers[name].wait_for("ready")
        # What runs before leaves its mark, on caches and clocks: nobody has one place.
        order, shuffled = list(workers.values()), random.Random(0)
        for _ in range(calls):
            shuffled.shuffle(order)
            for worker in order:
                worker.call()
        for name, worker in workers.items():
            yield name, worker.end()


class _Worker:
    """A process that calls its contender when it is told to."""

    def __init__(self, contender: Contender, warm_up: int) -> None:
        self._contender = contender
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            worker_command(contender, warm_up=warm_up, in_turns=True),
            env=worker_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def call(self) -> None:
        try:
            self._process.stdin.write("call\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        self.wait_for("done")

    def wait_for(self, word: str) -> None:
        for line in self._process.stdout:
            if line.strip() == word:
                return
        raise self._failure()

    def end(self) -> dict:
        printed, _ = self._process.communicate()
        if self._process.returncode:
            raise self._failure()
        return json.loads(printed.splitlines()[-1])

    def _failure(self) -> RuntimeError:
        self._errors.seek(0)
        return RuntimeError(f"{self._contender} failed:\n{self._errors.read()[-3000:]}")


def run_worker(contender: Contender, *, calls: int, warm_up: int) -> dict:
    """Measures a contender once, in a fresh process."""
    process = subprocess.run(
        worker_command(contender, calls=calls, warm_up=warm_up),
        env=worker_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"{contender} failed:\n{process.stderr[-3000:]}")
    return json.loads(process.stdout.splitlines()[-1])


def worker_environment() -> dict[str, str]:
    """This process's environment, but bytecode is kept, not compiled each time."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def worker_command(contender: Contender, **arguments: object) -> list[str]:
    """The command that measures a contender, with arguments of `worker.measure`."""
    task = {"build": contender.build, "arguments": contender.arguments, **arguments}
    return [contender.python, str(FOLDER / "worker.py"), json.dumps(task)]


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers with three digits."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def at_most(what: str, measured: float, bar: float) -> list[str]:
    """A row of `bar_table`: a ratio that should not be larger."""
    verdict = "yes" if measured <= bar else "no"
    return [what, f"{measured:.2f}x", f"at most {bar:.2f}x", verdict]


def bar_table(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table of what was aimed at."""
    return table(["ratio", "measured", "aim", "reached"], rows)


def ratio_row(
    found: dict[Hashable, Median],
    one: str,
    other: str,
    bar: float | None = None,
    *,
    of_first_call: bool = False,
    counts: bool = True,
) -> list[str]:
    """A row of `ratio_table`: the seconds of one contender over those of another.

    Args:
        found: Their medians.
        one: Name of the one.
        other: Name of the other.
        bar: What the ratio should not exceed: of CPU seconds, or of wall seconds until
            the end of the first call.
        of_first_call: Which of the two.
        counts: Whether the other is fast enough itself for the ratio to say much.
    """
    keys = ("cpu_seconds", "wall_seconds")
    if of_first_call:
        keys = ("first_cpu_seconds", "first_seconds")
    cpu, wall = (found[one][key] / found[other][key] for key in keys)
    what = f"{one} / {other}" + (", first call" if of_first_call else "")
    row = [what, f"{cpu:.3g}x", f"{wall:.3g}x"]
    if bar is None:
        return [*row, "", ""]
    reached = "yes" if (wall if of_first_call else cpu) <= bar else "no"
    if not counts:
        reached += ", but does not count"
    kind = "wall" if of_first_call else "CPU"
    return [*row, f"{kind}, at most {bar:.2f}x", reached]


def ratio_table(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table of ratios of seconds, and of what was aimed at."""
    return table(["ratio of seconds", "CPU", "wall", "aim", "reached"], rows)


def report(
    name: str,
    tables: Sequence[str],
    medians: Sequence[dict],
    *,
    write: bool,
    readme: Path = FOLDER / "README.md",
) -> None:
    """Prints tables and what they were measured on; writes them into a README.md.

    Args:
        name: As for `publish`.
        tables: In Markdown.
        medians: Of which the versions are taken.
        write: As for `publish`.
        readme: As for `publish`.
    """
    text = "\n\n".join([*tables, provenance(medians)])
    publish(name, text, write=write, readme=readme)


def publish(name: str, text: str, *, write: bool, readme: Path) -> None:
    """Prints a text; writes it between two markers of a file.

    Args:
        name: Of the markers there, `<!-- begin NAME -->` and `<!-- end NAME -->`.
        text: In Markdown.
        write: Whether to write.
        readme: Where to.
    """
    print(text)
    if write:
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = readme.read_text(encoding="utf-8").partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{readme} has no lines `{begin.strip()}` and `{end}`.")
        readme.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def provenance(medians: Sequence[dict], where: str | None = None) -> str:
    """On what, and with what, medians were measured, in one line.

    It says so where other processes had so much of the machine that it spoils figures;
    where contenders take turns, as far as timed calls are concerned.

    Args:
        medians: Of which the versions are taken.
        where: The machine and the day; this one and today when not given.
    """
    versions = {k: v for median in medians for k, v in median["versions"].items()}
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    others = max(median["cores_of_others"] for median in medians)
    warning = "" if others < 0.1 else f" Others kept up to {others:.1f} cores busy."
    return f"{where or machine()}; {libraries}.{warning}"


def machine() -> str:
    """The processor, its cores that this process may use, and the day."""
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores, {datetime.date.today().isoformat()}"


def _processor() -> str:
    model = next(_cpuinfo("model name"), platform.machine())
    known = {"avx512f": "AVX-512", "avx2": "AVX2"}
    named = [name for flag, name in known.items() if flag in _flags()][:1]
    named += ["bfloat16"] * has_bfloat16()
    return f"{model} ({', '.join(named)})" if named else model


def _flags() -> set[str]:
    """What the processor has instructions for, as Linux names it on x86 and on ARM."""
    found = (next(_cpuinfo(key), "") for key in ("flags", "Features"))
    return {flag for text in found for flag in text.split()}


def _cpuinfo(key: str) -> Iterator[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            yield value.strip()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _brief(run: dict) -> str:
    return ", ".join(
        f"{key} {_cell(value)}" for key, value in run.items() if key != "versions"
    )
