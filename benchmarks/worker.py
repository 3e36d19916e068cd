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
import sys
import time
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
    build: str, arguments: dict, calls: int = 1, warm_up: int = 0
) -> dict[str, object]:
    """Builds a subject, calls it for the first time, warms it up, and times it.

    Args:
        build: `"module:function"`, which returns a `Subject`.
        arguments: Of that function.
        calls: How many calls are timed.
        warm_up: How many calls come before those, the first apart.

    Returns:
        What was found, by name.
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
    cpu, wall = cpu_seconds(), time.perf_counter()
    values += [subject.call() for _ in range(calls)]
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    busy_with_others = busy_seconds() - cpu_seconds() - busy
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{build} gave a number that is not finite: {values}.")
    return found | {
        "cpu_seconds": cpu / max(calls, 1),
        "wall_seconds": wall / max(calls, 1),
        "cores_of_others": busy_with_others / (time.perf_counter() - started),
        "peak_megabytes": peak_megabytes(),
        "value": values[-1],
        "num_variables": subject.num_variables,
        "num_parameters": subject.num_parameters,
        "versions": versions(),
        **subject.facts(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of those libraries that this process has imported."""
    found = {"Python": platform.python_version()}
    for module, name in DISTRIBUTIONS.items():
        if module in sys.modules:
            found[name] = importlib.metadata.version(module)
    return found


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))), flush=True)
