"""What does a sample cost?

Seconds of a call under `tf.function` after warm-up, and from the start of a process to
the end of its first call. Nothing is trained, and no coupling's cost depends on that.

    python benchmarks/sampling.py
"""

from harness import (
    Contender,
    Median,
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
    "num_steps": 32,
    "hidden_channels": 512,
    "batch_size": 16,
}
# The model of the paper's samples of 256 x 256; on a GPU one took 130 ms.
LARGE_SHAPE = {
    "event_shape": [256, 256, 3],
    "num_levels": 6,
    "num_steps": 32,
    "hidden_channels": 512,
    "batch_size": 1,
    "coupling": "additive",
}
PAPER_SECONDS = 0.13
FLOAT32, MIXED = "tfp_glow", "tfp_glow, bfloat16 networks"
MERGED = "tfp_glow, merged"
CONVOLUTIONS = "convolutions alone"
TFB, LARGE = "tfb.Glow", "tfp_glow, 256 x 256 x 3, 6 x 32 additive, batch 1"


def make_contenders(shape: dict, large_shape: dict) -> dict[str, Contender]:
    """All contenders, by the names of their rows."""
    ours = "tfp_glow_contender:sample"
    return {
        FLOAT32: Contender(ours, shape),
        MERGED: Contender(ours, {**shape, "merged": True}),
        MIXED: Contender(ours, {**shape, "mixed": True}),
        TFB: Contender("tfb_contender:sample", shape),
        CONVOLUTIONS: Contender(
            "convolutions:forward_alone", {**shape, "dtype": "float32"}
        ),
        LARGE: Contender(ours, large_shape),
    }


def aims(found: dict[str, Median]) -> str:
    """What was aimed at."""
    return ratio_table(
        [
            ratio_row(found, FLOAT32, TFB, 0.85),
            ratio_row(found, MERGED, FLOAT32),
            ratio_row(found, MIXED, TFB, 0.60),
            ratio_row(found, FLOAT32, TFB, 0.40, of_first_call=True),
            ratio_row(found, CONVOLUTIONS, FLOAT32),
            ratio_row(found, CONVOLUTIONS, TFB),
        ]
    )


def main() -> None:
    """Measures all and prints two tables."""
    arguments = make_parser(__doc__, rounds=1).parse_args()
    shape, large_shape, rounds, calls = SHAPE, LARGE_SHAPE, arguments.rounds, 6
    if arguments.quick:
        shape, large_shape = ({**s, "num_steps": 2} for s in (shape, large_shape))
        rounds, calls = 1, 3
    contenders = make_contenders(shape, large_shape)
    found = measure(contenders, rounds=rounds, calls=calls, warm_up=1, in_turns=True)
    costs = table(
        [
            "contender",
            "CPU s a call",
            "wall s a call",
            "end of first call, s",
            "peak MB",
            "parameters",
        ],
        [
            [
                name,
                row["cpu_seconds"],
                row["wall_seconds"],
                row["first_seconds"],
                row["peak_megabytes"],
                row["num_parameters"],
            ]
            for name, row in found.items()
        ]
        + [["the paper's, on a GTX 1080 Ti", "", PAPER_SECONDS, "", "", ""]],
    )
    report(
        "sampling",
        [costs, aims(found)],
        list(found.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
