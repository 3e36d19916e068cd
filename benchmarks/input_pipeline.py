"""Do images come faster than a training step takes them?

Batches of `tfp_glow.data`, decoded, cut, shuffled and mirrored, one after another with
nothing else to do; and training steps whose images are there already.

    python benchmarks/input_pipeline.py --data-dir DIR
"""

import sys

import tensorflow_datasets as tfds
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

from tfp_glow.presets import PRESETS

CIFAR10 = "cifar10, prepared by TFDS"
CENTER = "folder of JPEGs, 256 x 256 to 64 x 64"
RANDOM = f"{CENTER}, --crop random"
SMALL_STEP = "step of cifar10-small"
PAPER_STEP = "step of 3 x 32 x 512, batch 16"
# Which images the model of a step is trained on.
NEEDS = [(CIFAR10, SMALL_STEP), (CIFAR10, PAPER_STEP), (CENTER, PAPER_STEP)]


def make_contenders(
    data_dir: str | None, *, quick: bool
) -> tuple[dict[str, Contender], dict[str, int]]:
    """All that can run, by the names of their rows, and the images of a call."""
    small = PRESETS["cifar10-small"]
    small_shape = {"event_shape": [32, 32, 3], **small.model}
    paper_shape = {**small_shape, **PRESETS["cifar10"].model}
    del paper_shape["num_bits"]  # of the model's images, not of the flow
    if quick:
        small_shape |= {"num_steps": 1}
        paper_shape |= {"num_steps": 1, "hidden_channels": 64}
    # Four fifths are training pictures, which are whole batches.
    num_pictures = small.batch_size * (10 if quick else 60) // 8
    folder = {"num_pictures": num_pictures, "size": 256, "image_size": 64}
    pipeline, step = "input_contender", "tfp_glow_contender:train"
    rows = {
        CIFAR10: (f"{pipeline}:prepared", {"name": "cifar10", "data_dir": data_dir}),
        CENTER: (f"{pipeline}:folder", {**folder, "crop": "center"}),
        RANDOM: (f"{pipeline}:folder", {**folder, "crop": "random"}),
        SMALL_STEP: (step, small_shape),
        PAPER_STEP: (step, paper_shape),
    }
    if not tfds.builder("cifar10", data_dir=data_dir).is_prepared():
        print("cifar10 is not prepared: left out. Name --data-dir.", file=sys.stderr)
        del rows[CIFAR10]
    sizes = dict.fromkeys(rows, small.batch_size) | {PAPER_STEP: 16}
    contenders = {
        name: Contender(build, {**arguments, "batch_size": sizes[name]})
        for name, (build, arguments) in rows.items()
    }
    return contenders, sizes


def cost_table(found: dict[str, Median], sizes: dict[str, int]) -> str:
    """Images a second, and what a thousand of them cost."""
    return table(
        ["contender", "images a second", "CPU s a thousand images", "peak MB"],
        [
            [
                name,
                sizes[name] / row["wall_seconds"],
                1000 * row["cpu_seconds"] / sizes[name],
                row["peak_megabytes"],
            ]
            for name, row in found.items()
        ],
    )


def aims(found: dict[str, Median], sizes: dict[str, int]) -> str:
    """What was aimed at, in wall seconds an image."""
    seconds = {name: row["wall_seconds"] / sizes[name] for name, row in found.items()}
    return bar_table(
        [
            at_most(f"{images} / {step}", seconds[images] / seconds[step], 1.0)
            for images, step in NEEDS
            if images in seconds
        ]
    )


def main() -> None:
    """Measures all and prints two tables."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--calls", type=int, default=100, help="batches of a pipeline")
    parser.add_argument("--data-dir", help="folder of prepared TensorFlow Datasets")
    arguments = parser.parse_args()
    rounds, calls = arguments.rounds, arguments.calls
    if arguments.quick:
        rounds, calls = 1, 3
    contenders, sizes = make_contenders(arguments.data_dir, quick=arguments.quick)
    steps = {name: contenders.pop(name) for name in (SMALL_STEP, PAPER_STEP)}
    found = measure(contenders, rounds=rounds, calls=calls, warm_up=3)
    found |= measure(steps, rounds=rounds, calls=min(calls, 10), warm_up=3)
    report(
        "input_pipeline",
        [cost_table(found, sizes), aims(found, sizes)],
        list(found.values()),
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
