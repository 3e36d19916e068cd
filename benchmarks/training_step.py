"""What does a training step cost, beside other Glows and beside its convolutions?

The same levels, steps, width, batch, images and precision; loss, gradients and Adamax.
`README.md` says what differs. "Convolutions alone" are those of the coupling networks
in such a step, forward and both gradients, by TensorFlow's operation, and nothing else:
no step can be faster that computes them so.

    python benchmarks/training_step.py
"""

import sys

from harness import (
    Contender,
    Median,
    at_most,
    bar_table,
    has_bfloat16,
    has_normflows,
    make_parser,
    measure,
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
CONVOLUTIONS = "convolutions alone"
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
    """What was aimed at, in CPU seconds."""
    cpu = {name: row["cpu_seconds"] for name, row in found.items()}
    rows = [at_most(f"{STORED} / {TFB}", cpu[STORED] / cpu[TFB], 0.5)]
    if NORMFLOWS in cpu:
        rows.append(
            at_most(f"{STORED} / {NORMFLOWS}", cpu[STORED] / cpu[NORMFLOWS], 0.7)
        )
    rows += [
        at_most("reversible / stored", cpu[REVERSIBLE] / cpu[STORED], 1.35),
        at_most("bfloat16 networks / float32", cpu[MIXED] / cpu[STORED], 0.72),
    ]
    if not has_bfloat16():  # a figure without an aim
        rows[-1][2:] = ["no bfloat16 instructions", ""]
    share = cpu[CONVOLUTIONS] / cpu[STORED]
    # Without oneDNN ours are products and faster: a share above 1 says nothing.
    reached = "" if share > 1 else "yes" if share >= 0.8 else "no"
    rows.append(
        [f"{CONVOLUTIONS} / {STORED}", f"{share:.2f}", "at least 0.80", reached]
    )
    if CONVOLUTIONS_MIXED in cpu:
        share = cpu[CONVOLUTIONS_MIXED] / cpu[MIXED]
        rows.append([f"{CONVOLUTIONS_MIXED} / {MIXED}", f"{share:.2f}", "", ""])
    return bar_table(rows)


def main() -> None:
    """Measures all and prints two tables."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--calls", type=int, default=10, help="steps that are timed")
    parser.add_argument(
        "--torch-python", default=sys.executable, help="interpreter with normflows"
    )
    arguments = parser.parse_args()
    shape, rounds, calls = SHAPE, arguments.rounds, arguments.calls
    if arguments.quick:
        shape, rounds, calls = {**SHAPE, "num_steps": 1, "hidden_channels": 64}, 1, 3
    contenders = make_contenders(shape, arguments.torch_python)
    found = measure(contenders, rounds=rounds, calls=calls, warm_up=3)
    report(
        "training_step",
        [cost_table(found), aims(found)],
        list(found.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
