"""How does the peak memory of training grow with depth?

`memory="reversible"` keeps no activations, so what a deeper model adds should be no
more than its parameters, their gradients and Adamax's two slots. Each peak is that of a
process that has trained three steps, imports and initialisation included; of the
reversible ones the median of three, which differed by 6 to 50 MB.

    python benchmarks/memory_against_depth.py
"""

from harness import (
    Contender,
    Median,
    at_most,
    bar_table,
    make_parser,
    measure,
    report,
    table,
)

SHAPE = {
    "event_shape": [32, 32, 3],
    "num_levels": 3,
    "hidden_channels": 256,
    "batch_size": 64,
}
REVERSIBLE, STORED, TFB = "tfp_glow, reversible", "tfp_glow, stored", "tfb.Glow"
OURS, THEIRS = "tfp_glow_contender:train", "tfb_contender:train"


def make_contenders(shape: dict, depth: int) -> dict[str, Contender]:
    """All contenders at one depth, by the names of their rows."""
    shape = {**shape, "num_steps": depth}
    return {
        REVERSIBLE: Contender(OURS, {**shape, "memory": "reversible"}),
        STORED: Contender(OURS, {**shape, "memory": "stored"}, rounds=1),
        TFB: Contender(THEIRS, shape, rounds=1),
    }


def growth(shallow: Median, deep: Median) -> tuple[float, float]:
    """Megabytes that depth adds, and those of parameters, gradients and two slots."""
    parameters = deep["num_parameters"] - shallow["num_parameters"]
    return deep["peak_megabytes"] - shallow["peak_megabytes"], 16 * parameters / 1e6


def main() -> None:
    """Measures all and prints two tables."""
    arguments = make_parser(__doc__, rounds=3).parse_args()
    shape, rounds, depths = SHAPE, arguments.rounds, (8, 32)
    if arguments.quick:
        shape, rounds, depths = {**SHAPE, "batch_size": 8}, 1, (2, 4)
    shallow, deep = (
        measure(make_contenders(shape, depth), rounds=rounds, calls=2)
        for depth in depths
    )
    grown = {name: growth(shallow[name], deep[name]) for name in shallow}
    peaks = table(
        [
            "contender",
            *(f"{depth} steps a level, MB" for depth in depths),
            "growth, MB",
            "4 x 4 bytes x new parameters, MB",
            "ratio",
        ],
        [
            [
                name,
                shallow[name]["peak_megabytes"],
                deep[name]["peak_megabytes"],
                measured,
                necessary,
                measured / necessary,
            ]
            for name, (measured, necessary) in grown.items()
        ],
    )
    measured, necessary = grown[REVERSIBLE]
    what = f"{REVERSIBLE}: growth / parameters, gradients, slots"
    aims = bar_table([at_most(what, measured / necessary, 1.1)])
    report(
        "memory_against_depth",
        [peaks, aims],
        list(deep.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
