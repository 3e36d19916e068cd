"""Which variant of Glow gets furthest in the same time, and is it the paper's order?

Six variants of a small model, each trained for the same wall seconds on the same images
in the same order, one after another, in processes of their own. Held-out bits/dim are
compared image by image. In the paper's figure 3 invertible 1x1 convolutions end below
shuffled channels, these below reversed ones, and affine couplings below additive ones.

    python benchmarks/side_by_side.py --data-dir DIR
"""

import tempfile
from pathlib import Path

import numpy as np
from harness import Contender, Median, make_parser, measure, report, table

AFFINE = "affine, 1x1"
ADDITIVE, SHUFFLE, REVERSE = "additive, 1x1", "affine, shuffle", "affine, reverse"
VARIATIONAL, MIXTURE = "variational noise", "logistic mixture, 1x1"
VARIANTS = {
    AFFINE: {"permutation": "invertible_conv", "coupling": "affine"},
    ADDITIVE: {"coupling": "additive"},
    SHUFFLE: {"permutation": "shuffle"},
    REVERSE: {"permutation": "reverse"},
    VARIATIONAL: {"dequantization": "variational"},
    MIXTURE: {"coupling": "logistic_mixture"},
}
# More draws tighten the bound, above all of a model that learns its noise.
DRAWS = dict.fromkeys(VARIANTS, [1]) | dict.fromkeys([AFFINE, VARIATIONAL], [1, 16])
# Figure 3: the first ends lower than the second.
ORDER = [(AFFINE, SHUFFLE), (SHUFFLE, REVERSE), (AFFINE, ADDITIVE)]

Bits = dict[str, np.ndarray]
"""Bits/dim by variant, `[number of estimates, images]`, the mean over seeds."""


def train_all(rounds: int, **arguments: object) -> tuple[dict[str, Median], Bits]:
    """Trains every variant with the seeds from 0 up to `rounds`."""
    with tempfile.TemporaryDirectory() as folder:
        files = {
            (name, seed): Path(folder, f"{number}-{seed}.npy")
            for seed in range(rounds)
            for number, name in enumerate(VARIANTS)
        }
        found = measure(
            {
                (name, seed): Contender(
                    "side_by_side_contender:train",
                    {
                        **VARIANTS[name],
                        **arguments,
                        "draws": DRAWS[name],
                        "seed": seed,
                        "file": str(file),
                    },
                )
                for (name, seed), file in files.items()
            },
            rounds=1,
            calls=0,
        )
        bits = {
            name: np.mean([np.load(files[name, s]) for s in range(rounds)], axis=0)
            for name in VARIANTS
        }
    medians = {
        name: Median([found[name, seed] for seed in range(rounds)]) for name in VARIANTS
    }
    return medians, bits


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over images and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def with_error(values: np.ndarray) -> str:
    """The same, to read."""
    return "{:.4f} ± {:.4f}".format(*mean_and_error(values))


def figures(found: dict[str, Median], bits: Bits) -> str:
    """What became of each variant."""
    return table(
        [
            "variant",
            "test bits/dim, 1 draw of noise",
            "16 draws",
            "steps",
            "s a step",
            "CPU s a step",
            "parameters",
        ],
        [
            [
                name,
                with_error(bits[name][0]),
                with_error(bits[name][1]) if len(bits[name]) > 1 else "",
                int(row["steps"]),
                row["seconds_a_step"],
                row["cpu_seconds_a_step"],
                row["num_parameters"],
            ]
            for name, row in found.items()
        ],
    )


def order(bits: Bits) -> str:
    """The paper's order beside ours."""
    rows = []
    for lower, higher in ORDER:
        difference = bits[higher][0] - bits[lower][0]
        mean, error = mean_and_error(difference)
        rows.append(
            [
                f"{lower} below {higher}",
                with_error(difference),
                f"{mean / error:+.1f}",
                verdict(mean / error),
            ]
        )
    return table(["the paper", "lower by", "in standard errors", "found"], rows)


def verdict(errors: float) -> str:
    """What a difference says that is so many standard errors from 0."""
    if abs(errors) < 2:
        return "undecided"
    return "as the paper" if errors > 0 else "not as the paper"


def main() -> None:
    """Trains all and prints two tables."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument(
        "--preset", choices=["cifar10-small", "fashion-small"], default="cifar10-small"
    )
    parser.add_argument("--data-dir", help="folder of prepared TensorFlow Datasets")
    parser.add_argument(
        "--seconds", type=float, default=180.0, help="of training, each"
    )
    parser.add_argument("--num-images", type=int, default=2000, help="of the test set")
    arguments = parser.parse_args()
    settings = {
        "preset": arguments.preset,
        "data_dir": arguments.data_dir,
        "seconds": arguments.seconds,
        "num_images": arguments.num_images,
    }
    rounds = arguments.rounds
    if arguments.quick:
        rounds = 1
        settings |= {"seconds": 1.0, "num_images": 100}
        settings |= {"num_levels": 2, "num_steps": 1, "hidden_channels": 8}
    found, bits = train_all(rounds, **settings)
    seeds = "" if rounds == 1 else f", {rounds} seeds"
    report(
        "side_by_side",
        [
            f"{settings['preset']}, {settings['seconds']:g} s of training each{seeds}, "
            f"{settings['num_images']:,} test images:",
            figures(found, bits),
            order(bits),
        ],
        list(found.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
