"""How long until the first training step is done, and does the graph grow with depth?

Wall seconds from the start of the process, so Python, the imports, the weights and the
data-dependent initialisation count, to the end of the first step of Keras's Adamax.
Afterwards the operations of the step's graph, for levels of two depths.

    python benchmarks/first_step.py
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
    "batch_size": 8,
}
KERAS = {"optimizer": "Keras"}
AUTO, REVERSIBLE = "tfp_glow", 'tfp_glow, memory="reversible"'
FIT, TFB = "tfp_glow, GlowModel.fit", "tfb.Glow"
OURS, THEIRS = "tfp_glow_contender:train", "tfb_contender:train"


def make_contenders(shape: dict) -> dict[str, Contender]:
    """All contenders, by the names of their rows."""
    return {
        AUTO: Contender(OURS, {**shape, **KERAS, "memory": "auto"}),
        REVERSIBLE: Contender(
            OURS, {**shape, **KERAS, "memory": "reversible"}, rounds=1
        ),
        FIT: Contender("tfp_glow_contender:fit", shape, rounds=2),
        TFB: Contender(THEIRS, {**shape, **KERAS}, rounds=1),
    }


def count_operations(shape: dict, depths: list[int]) -> dict[str, Median]:
    """The same contenders at lesser depths."""
    return measure(
        {
            _at(name, depth): Contender(
                contender.build,
                {**contender.arguments, "num_steps": depth},
            )
            for name, contender in make_contenders(shape).items()
            if name != FIT
            for depth in depths
        },
        rounds=1,
        calls=0,
    )


def _at(name: str, depth: int) -> str:
    return f"{name}, {depth} steps"


def main() -> None:
    """Measures all and prints three tables."""
    arguments = make_parser(__doc__, rounds=3).parse_args()
    shape, rounds, depths = SHAPE, arguments.rounds, [8]
    if arguments.quick:
        shape, rounds, depths = {**SHAPE, "num_steps": 4}, 1, [1]
    found = measure(make_contenders(shape), rounds=rounds, calls=0)
    shallow = count_operations(shape, depths)
    times = table(
        ["contender", "end of first step, s", "CPU s", "peak MB", "variables"],
        [
            [
                name,
                row["first_seconds"],
                row["first_cpu_seconds"],
                row["peak_megabytes"],
                row["num_variables"],
            ]
            for name, row in found.items()
        ],
    )
    graphs = table(
        [
            "operations in the step's graph",
            *(f"{depth} steps a level" for depth in [*depths, shape["num_steps"]]),
        ],
        [
            [
                name,
                *(int(shallow[_at(name, k)]["num_operations"]) for k in depths),
                int(row["num_operations"]),
            ]
            for name, row in found.items()
            if name != FIT
        ],
    )
    first = ratio_row(found, AUTO, TFB, 0.12, of_first_call=True)
    counts = first[-1] == "yes"
    fit = ratio_row(found, FIT, AUTO, 1.3, of_first_call=True, counts=counts)
    aims = ratio_table([first, fit])
    report(
        "first_step",
        [times, graphs, aims],
        list(found.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
