"""Measures one contender in this process, and prints what it found as one JSON line.

The harness starts it; by hand:

    python benchmarks/worker.py '{"build": "convolutions:alone", "arguments": {...}}'
"""

import importlib
import importlib.metadata
import json
import math
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DISTRIBUTIONS = {
    "tensorflow": "TensorFlow",
    "tensorflow_probability": "TFP",
    "keras": "Keras",
    "torch": "PyTorch",
    "normflows": "normflows",
}


def seconds_since_start() -> float:
    """Wall seconds since the kernel started this process; exact to 10 ms."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Of all threads, in user and in system mode."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def busy_seconds() -> float:
    """CPU seconds of all processes of the machine since it was started."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, *interrupts = map(int, fields[:8])
    busy = user + nice + system + sum(interrupts)
    return busy / os.sysconf("SC_CLK_TCK")


def peak_megabytes() -> float:
    """Largest resident memory so far, in MB of 10^6 bytes.

    Not `ru_maxrss`, in which the peak of the parent before `exec` counts too.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6


def measure(
    build: str,
    arguments: dict,
    calls: int = 1,
    warm_up: int = 0,
    *,
    in_turns: bool = False,
) -> dict[str, object]:
    """Builds a subject, calls it for the first time, warms it up, and times it.

    Args:
        build: `"module:function"`, which returns a `Subject`.
        arguments: Of that function.
        calls: How many calls are timed, one after another.
        warm_up: How many calls come before those, the first apart.
        in_turns: Whether it waits for a line of standard input before each of the
            calls instead, makes one that is not timed first, says when it is ready and
            when a call is done, and ends with the input.

    Returns:
        What was found, by name: of the seconds of a call the mean of those one after
        another, the median of those in turns.
    """
    started, busy = time.perf_counter(), busy_seconds() - cpu_seconds()
    module, function = build.split(":")
    subject = getattr(importlib.import_module(module), function)(**arguments)
    values = [subject.call()]
    found = {
        "first_seconds": seconds_since_start(),
        "first_cpu_seconds": cpu_seconds(),
    }
    values += [subject.call() for _ in range(warm_up)]
    cpus, walls, turns_of_others = [], [], 0.0
    for turn in _turns() if in_turns else [calls] * (calls > 0):
        if in_turns:  # caches hold what others left there
            values.append(subject.call())
        others = busy_seconds() - cpu_seconds()
        cpu, wall = cpu_seconds(), time.perf_counter()
        values += [subject.call() for _ in range(turn)]
        cpus.append((cpu_seconds() - cpu) / turn)
        walls.append((time.perf_counter() - wall) / turn)
        turns_of_others += busy_seconds() - cpu_seconds() - others
    seconds = time.perf_counter() - started
    of_others = busy_seconds() - cpu_seconds() - busy
    if in_turns:  # between them the other contenders are at work
        seconds, of_others = sum(walls), turns_of_others
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{build} gave a number that is not finite: {values}.")
    return found | {
        "cpu_seconds": statistics.median(cpus or [0.0]),
        "wall_seconds": statistics.median(walls or [0.0]),
        "cores_of_others": of_others / max(seconds, 1e-9),
        "peak_megabytes": peak_megabytes(),
        "value": values[-1],
        "num_variables": subject.num_variables,
        "num_parameters": subject.num_parameters,
        "versions": versions(),
        **subject.facts(),
    }


def _turns() -> Iterator[int]:
    """One call for each line that comes."""
    print("ready", flush=True)
    for _ in sys.stdin:
        yield 1
        print("done", flush=True)


def versions() -> dict[str, str]:
    """Versions of Python and of those libraries that this process has imported."""
    found = {"Python": platform.python_version()}
    for module, name in DISTRIBUTIONS.items():
        if module in sys.modules:
            found[name] = importlib.metadata.version(module)
    return found


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))), flush=True)
