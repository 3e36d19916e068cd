"""Does `memory="reversible"` save memory where the networks are one's own?

The steps of a level then follow one another in the graph, which grows with them, while
activations should not: what a large batch takes more than a small one should not depend
on depth. Networks are three `keras.layers.Conv2D`. Each peak is that of a process that
has trained three steps, imports and initialisation included.

    python benchmarks/memory_of_own_networks.py
"""

from harness import Contender, Median, make_parser, measure, report, table

SHAPE = {"event_shape": [32, 32, 3], "num_levels": 3, "network_width": 256}
BATCHES = (2, 64)


def make_contenders(depths: list[int], batches: tuple) -> dict[tuple, Contender]:
    """Contenders by steps, memory, whether XLA compiles them, and batch."""
    middle, deepest = depths[-2:]
    kinds = [(depth, "reversible", False) for depth in depths]
    kinds += [(deepest, "stored", False)]
    kinds += [(depth, "reversible", True) for depth in depths if depth != deepest]
    kinds += [(middle, "stored", True)]
    return {
        (*kind, batch_size): Contender(
            "tfp_glow_contender:train",
            {
                **SHAPE,
                "num_steps": kind[0],
                "memory": kind[1],
                "jit_compile": kind[2],
                "batch_size": batch_size,
            },
        )
        for kind in kinds
        for batch_size in batches
    }


def row(found: dict[tuple, Median], kind: tuple, batches: tuple) -> list[object]:
    """A line of the table."""
    depth, memory, is_compiled = kind
    small, large = (found[*kind, batch]["peak_megabytes"] for batch in batches)
    name = f"{depth}, {memory}" + (", XLA" if is_compiled else "")
    return [name, small, large, large - small]


def main() -> None:
    """Measures all and prints a table."""
    arguments = make_parser(__doc__, rounds=1).parse_args()
    depths, batches = ([2, 3], (2, 4)) if arguments.quick else ([4, 8, 16], BATCHES)
    contenders = make_contenders(depths, batches)
    found = measure(contenders, rounds=arguments.rounds, calls=2)
    kinds = dict.fromkeys(kind[:3] for kind in contenders)
    columns = ["steps a level", *(f"batch {size}, MB" for size in batches), "more, MB"]
    peaks = table(columns, [row(found, kind, batches) for kind in kinds])
    name = "memory_of_own_networks"
    report(name, [peaks], list(found.values()), write=arguments.write)


if __name__ == "__main__":
    main()
