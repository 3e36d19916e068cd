"""What does a training step cost, beside other Glows and beside its convolutions?

The same levels, steps, width, batch, images and precision; loss, gradients and Adamax.
`README.md` says what differs. "Convolutions alone" are those of the coupling networks
in such a step, forward and both gradients, and nothing else: by TensorFlow's operation,
or as tfp_glow computes them.

    python benchmarks/training_step.py
"""

import sys

from harness import (
    Contender,
    Median,
    has_bfloat16,
    has_normflows,
    make_parser,
    measure,
    ratio_row,
    ratio_table,
    report,
    table,
)

SHAPE = {
    "event_shape": [32, 32, 3],
    "num_levels": 3,
    "num_steps": 4,
    "hidden_channels": 512,
    "batch_size": 16,
}
STORED, REVERSIBLE = "tfp_glow, stored", "tfp_glow, reversible"
MIXED = "tfp_glow, stored, bfloat16 networks"
TFB, NORMFLOWS = "tfb.Glow", "normflows"
CONVOLUTIONS, OWN = "convolutions alone", "tfp_glow's convolutions alone"
CONVOLUTIONS_MIXED = "convolutions alone, bfloat16"


def make_contenders(shape: dict, torch_python: str) -> dict[str, Contender]:
    """All contenders that can run, by the names of their rows."""
    ours, convolutions = "tfp_glow_contender:train", "convolutions:alone"
    contenders = {
        STORED: Contender(ours, {**shape, "memory": "stored"}),
        REVERSIBLE: Contender(ours, {**shape, "memory": "reversible"}),
        MIXED: Contender(
            ours,
            {**shape, "memory": "stored", "mixed": True},
            rounds=1000 if has_bfloat16() else 1,
        ),
        TFB: Contender("tfb_contender:train", shape),
        NORMFLOWS: Contender("normflows_contender:train", shape, torch_python),
        OWN: Contender("convolutions:own_alone", shape),
        CONVOLUTIONS: Contender(convolutions, {**shape, "dtype": "float32"}),
        CONVOLUTIONS_MIXED: Contender(convolutions, {**shape, "dtype": "bfloat16"}),
    }
    if not has_normflows(torch_python):
        del contenders[NORMFLOWS]
    if not has_bfloat16():
        del contenders[CONVOLUTIONS_MIXED]
    return contenders


def cost_table(found: dict[str, Median]) -> str:
    """Each contender's cost; a step's speed counts its networks' convolutions alone."""
    flops = found[CONVOLUTIONS]["flops"]
    return table(
        [
            "contender",
            "CPU s a step",
            "wall s a step",
            "GFLOP/s",
            "GFLOP a CPU s",
            "peak MB",
            "end of first step, s",
            "variables",
            "parameters",
        ],
        [
            [
                name,
                row["cpu_seconds"],
                row["wall_seconds"],
                flops / row["wall_seconds"] / 1e9,
                flops / row["cpu_seconds"] / 1e9,
                row["peak_megabytes"],
                row["first_seconds"],
                row["num_variables"],
                row["num_parameters"],
            ]
            for name, row in found.items()
        ],
    )


def aims(found: dict[str, Median]) -> str:
    """What was aimed at."""
    rows = [ratio_row(found, STORED, TFB, 0.5)]
    if NORMFLOWS in found:
        rows.append(ratio_row(found, STORED, NORMFLOWS, 0.7))
    counts = all(row[-1] == "yes" for row in rows)
    rows.append(ratio_row(found, REVERSIBLE, STORED, 1.35, counts=counts))
    rows.append(ratio_row(found, MIXED, STORED, 0.72, counts=counts))
    if not has_bfloat16():  # a figure without an aim
        rows[-1][3:] = ["no bfloat16 instructions", ""]
    rows.append(ratio_row(found, OWN, STORED))
    share = found[OWN]["cpu_seconds"] / found[STORED]["cpu_seconds"]
    rows[-1][3:] = ["CPU, at least 0.80x", "yes" if share >= 0.8 else "no"]
    rows.append(ratio_row(found, CONVOLUTIONS, STORED))
    if CONVOLUTIONS_MIXED in found:
        rows.append(ratio_row(found, CONVOLUTIONS_MIXED, MIXED))
    return ratio_table(rows)


def main() -> None:
    """Measures all and prints two tables."""
    parser = make_parser(__doc__, rounds=2)
    parser.add_argument("--calls", type=int, default=10, help="steps that are timed")
    parser.add_argument(
        "--torch-python", default=sys.executable, help="interpreter with normflows"
    )
    arguments = parser.parse_args()
    shape, rounds, calls = SHAPE, arguments.rounds, arguments.calls
    if arguments.quick:
        shape, rounds, calls = {**SHAPE, "num_steps": 1, "hidden_channels": 64}, 1, 3
    contenders = make_contenders(shape, arguments.torch_python)
    found = measure(contenders, rounds=rounds, calls=calls, warm_up=2, in_turns=True)
    report(
        "training_step",
        [cost_table(found), aims(found)],
        list(found.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
