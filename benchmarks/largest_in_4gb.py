"""What is the largest batch, and the largest image, that trains within 4 GB?

The peak resident memory of a process that trains two steps. A probe that passes the
limit is killed at once. The largest is found by doubling, and then by halving the
interval to an eighth of its lower end. This takes an hour: `tfb.Glow` needs a minute to
trace each probe.

    python benchmarks/largest_in_4gb.py
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import (
    Contender,
    Median,
    make_parser,
    report,
    table,
    worker_command,
    worker_environment,
)

BASE = {
    "event_shape": [32, 32, 3],
    "num_levels": 3,
    "num_steps": 32,
    "hidden_channels": 512,
    "batch_size": 1,
}
OURS, THEIRS = "tfp_glow_contender:train", "tfb_contender:train"
CONTENDERS = {
    "tfp_glow, reversible": (OURS, {"memory": "reversible"}),
    "tfp_glow, stored": (OURS, {"memory": "stored"}),
    "tfb.Glow": (THEIRS, {}),
}


def train_within(contender: Contender, limit_bytes: float) -> dict | None:
    """What the worker found in two training steps; None where it passed the limit."""
    process = subprocess.Popen(
        worker_command(contender, calls=1, warm_up=0),
        env=worker_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        if _peak_bytes(process.pid) > limit_bytes:
            process.kill()
            break
        time.sleep(0.02)
    output, errors = process.communicate()
    if process.returncode > 0:
        raise RuntimeError(f"{contender} failed:\n{errors[-3000:]}")
    if process.returncode < 0:
        return None
    run = json.loads(output.splitlines()[-1])
    return run if run["peak_megabytes"] * 1e6 <= limit_bytes else None


def _peak_bytes(pid: int) -> int:
    """`VmHWM` of another process; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) * 1024 if peak else 0


def largest(
    make: Callable[[int], Contender], limit_bytes: float, start: int, multiple: int
) -> tuple[int, dict]:
    """The largest size that trains within a limit, to an eighth.

    Args:
        make: Makes a contender of a size.
        limit_bytes: Of resident memory.
        start: The first size that is tried, a multiple.
        multiple: Sizes are multiples of it.

    Returns:
        The size, and what its worker found; 0 and nothing where none trains.
    """
    found = {0: {}}

    def trains(size: int) -> bool:
        contender = make(size)
        run = train_within(contender, limit_bytes)
        outcome = f"{run['peak_megabytes']:.0f} MB" if run else "too much"
        print(contender.build, contender.arguments, outcome, file=sys.stderr)
        if run:
            found[size] = run
        return run is not None

    high = start
    while trains(high):
        high *= 2
    while high - max(found) > max(multiple, max(found) // 8):
        middle = (max(found) + high) // 2 // multiple * multiple
        if not trains(middle):
            high = middle
    return max(found), found[max(found)]


def make_contender(name: str, base: dict, **change: object) -> Contender:
    """A contender with something about its base changed."""
    build, memory = CONTENDERS[name]
    return Contender(build, {**base, **memory, **change})


def main() -> None:
    """Searches for each contender and prints a table."""
    parser = make_parser(__doc__, rounds=None)
    parser.add_argument("--limit-gigabytes", type=float, default=4.0)
    arguments = parser.parse_args()
    base, limit_bytes = BASE, arguments.limit_gigabytes * 1e9
    if arguments.quick:
        base, limit_bytes = {**BASE, "num_steps": 1}, 1.2e9
    rows, medians = [], []
    for name in CONTENDERS:
        make = partial(make_contender, name, base)
        batch, run = largest(
            lambda n, make=make: make(batch_size=n), limit_bytes, start=8, multiple=1
        )
        side, run_of_side = largest(
            lambda n, make=make: make(event_shape=[n, n, 3]),
            limit_bytes,
            start=32,
            multiple=2 ** base["num_levels"],
        )
        rows.append(
            [
                name,
                batch,
                run.get("peak_megabytes", ""),
                f"{side} x {side}",
                run_of_side.get("peak_megabytes", ""),
            ]
        )
        medians += [Median([r]) for r in (run, run_of_side) if r]
    columns = [
        "contender",
        "largest batch of 32 x 32",
        "its peak, MB",
        "largest image, batch 1",
        "its peak, MB",
    ]
    report("largest_in_4gb", [table(columns, rows)], medians, write=arguments.write)


if __name__ == "__main__":
    main()
