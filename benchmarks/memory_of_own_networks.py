"""Does `memory="reversible"` save memory where the networks are one's own?

The steps of a level then follow one another in the graph, which grows with them, while
activations should not: what a large batch takes more than a small one should not depend
on depth. Networks are three `keras.layers.Conv2D`. Each peak is that of a process that
has trained three steps, imports and initialisation included.

    python benchmarks/memory_of_own_networks.py
"""

from harness import Contender, Median, make_parser, measure, report, table

SHAPE = {"event_shape": [32, 32, 3], "num_levels": 3, "network_width": 256}


def make_contenders(
    depths: list[int], batches: tuple[int, int], **arguments: object
) -> dict[tuple, Contender]:
    """Contenders by steps, memory and batch."""
    kinds = [(depth, "reversible") for depth in depths] + [(depths[-1], "stored")]
    return {
        (depth, memory, batch_size): Contender(
            "tfp_glow_contender:train",
            {
                **SHAPE,
                **arguments,
                "num_steps": depth,
                "memory": memory,
                "batch_size": batch_size,
            },
        )
        for depth, memory in kinds
        for batch_size in batches
    }


def row(found: dict[tuple, Median], kind: tuple, batches: tuple) -> list[object]:
    """A line of the table."""
    small, large = (found[*kind, batch]["peak_megabytes"] for batch in batches)
    return [", ".join(map(str, kind)), small, large, large - small]


def main() -> None:
    """Measures all and prints a table."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument(
        "--xla", action="store_true", help="compile steps with XLA, at two depths"
    )
    arguments = parser.parse_args()
    if arguments.xla and arguments.write:
        parser.error("--write: README.md has no table of --xla; leave one of them out")
    depths, batches = [4, 8] if arguments.xla else [4, 8, 16], (2, 64)
    if arguments.quick:
        depths, batches = [2, 3], (2, 4)
    contenders = make_contenders(depths, batches, jit_compile=arguments.xla)
    found = measure(contenders, rounds=arguments.rounds, calls=2)
    kinds = dict.fromkeys(name[:2] for name in contenders)
    columns = ["steps a level", *(f"batch {size}, MB" for size in batches), "more, MB"]
    peaks = table(columns, [row(found, kind, batches) for kind in kinds])
    name, medians = "memory_of_own_networks", list(found.values())
    report(name, [peaks], medians, write=arguments.write)


if __name__ == "__main__":
    main()
