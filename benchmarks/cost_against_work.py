"""Does the cost of a training step grow as the work does, and no faster?

CPU seconds a step against the steps of a level, the image's size and the batch, with
stored and with reversible memory. The exponent is log(ratio of seconds) / log(ratio of
steps, pixels or images): 1 is linear, and less means that some of the cost is fixed.

    python benchmarks/cost_against_work.py
"""

import math
from itertools import pairwise
from pathlib import Path

from harness import (
    Contender,
    Median,
    bar_table,
    make_parser,
    measure,
    report,
    table,
)
from matplotlib.figure import Figure

BASE = {
    "event_shape": [32, 32, 3],
    "num_levels": 3,
    "num_steps": 4,
    "hidden_channels": 128,
    "batch_size": 16,
}
MEMORIES = ("stored", "reversible")
IMAGE = Path(__file__).with_suffix(".png")

# What is varied, how it enters the shape, and values. The work of an image is its
# pixels: four times as many where its side is doubled.
STEPS, PIXELS, BATCH = "steps a level", "pixels", "images in a batch"
QUANTITIES = {
    STEPS: (lambda k: {"num_steps": k}, [4, 8, 16, 32]),
    PIXELS: (lambda n: {"event_shape": [math.isqrt(n)] * 2 + [3]}, [256, 1024, 4096]),
    BATCH: (lambda b: {"batch_size": b}, [1, 4, 16, 64]),
}


def make_contenders(quantities: dict) -> dict[tuple, Contender]:
    """Each point, by what is varied, memory and value."""
    return {
        (quantity, memory, value): Contender(
            "tfp_glow_contender:train",
            {**BASE, **change(value), "memory": memory},
        )
        for quantity, (change, values) in quantities.items()
        for memory in MEMORIES
        for value in values
    }


def exponent(small: Median, large: Median, ratio: float) -> float:
    """That of CPU seconds, where the work has grown by a ratio."""
    return math.log(large["cpu_seconds"] / small["cpu_seconds"]) / math.log(ratio)


def cost_table(found: dict[tuple, Median], quantities: dict) -> str:
    """Each point, and how its seconds have grown from the one above it."""
    rows = []
    for quantity, (_, values) in quantities.items():
        for previous, value in zip([None, *values[:-1]], values, strict=True):
            row = [quantity, value]
            for memory in MEMORIES:
                point = found[quantity, memory, value]
                row += [point["cpu_seconds"], point["wall_seconds"]]
                row += [point["peak_megabytes"], ""]
                if previous is not None:
                    small = found[quantity, memory, previous]
                    row[-1] = f"{exponent(small, point, value / previous):.3f}"
            rows.append(row)
    columns = ["CPU s a step", "wall s a step", "peak MB", "exponent"]
    named = [f"{memory}, {column}" for memory in MEMORIES for column in columns]
    return table(["", "value", *named], rows)


def aims(found: dict[tuple, Median], quantities: dict) -> str:
    """The largest exponents, and what was aimed at."""
    rows = []
    for quantity, (_, values) in quantities.items():
        for memory in MEMORIES:
            points = [found[quantity, memory, value] for value in values]
            largest = max(
                exponent(*pair, b / a)
                for pair, (a, b) in zip(pairwise(points), pairwise(values), strict=True)
            )
            verdict = "yes" if largest <= 1 else "no"
            what = f"largest exponent of {quantity}, {memory}"
            rows.append([what, f"{largest:.3f}", "at most 1", verdict])
    return bar_table(rows)


def plot(found: dict[tuple, Median], quantities: dict, path: Path) -> None:
    """Draws seconds against work, both logarithmic, beside a line of slope 1."""
    figure = Figure(figsize=(9, 3), layout="tight")
    axes = figure.subplots(1, len(quantities), sharey=True)
    for axis, (quantity, (_, values)) in zip(axes, quantities.items(), strict=True):
        for memory, marker in zip(MEMORIES, "os", strict=True):
            seconds = [found[quantity, memory, v]["cpu_seconds"] for v in values]
            axis.loglog(values, seconds, marker=marker, label=memory)
        linear = [seconds[-1] * value / values[-1] for value in values]
        axis.loglog(values, linear, "k:", label="linear")
        axis.set_xlabel(quantity)
        axis.set_xticks(values, map(str, values))
        axis.minorticks_off()
    axes[0].set_ylabel("CPU s a step")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Measures all points, prints a table and draws them."""
    arguments = make_parser(__doc__, rounds=2).parse_args()
    quantities, calls = QUANTITIES, 10
    if arguments.quick:
        quantities, calls = {k: (c, v[:2]) for k, (c, v) in quantities.items()}, 3
    contenders = make_contenders(quantities)
    found = {}
    for memory in MEMORIES:  # those whose ratios are taken, in turns
        points = {p: c for p, c in contenders.items() if p[1] == memory}
        # All quantities vary the same model, which is measured once.
        alone = {str(c.arguments): c for c in points.values()}
        medians = measure(
            alone, rounds=arguments.rounds, calls=calls, warm_up=1, in_turns=True
        )
        found |= {point: medians[str(c.arguments)] for point, c in points.items()}
    if arguments.write:
        plot(found, quantities, IMAGE)
    report(
        "cost_against_work",
        [cost_table(found, quantities), aims(found, quantities)],
        list(found.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
