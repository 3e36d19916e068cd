"""`tfp-glow sample`: new images of a run, to look at and to compute with."""

import argparse

import numpy as np

from tfp_glow.cli.inference import draw, find_label
from tfp_glow.cli.options import NUM_SAMPLES
from tfp_glow.cli.output import output_files, written
from tfp_glow.cli.run_folder import load_run
from tfp_glow.plots import image_grid

__all__ = ["run"]

_MAX_SHOWN = 400  # in the PNG file; all are in the other


def run(arguments: argparse.Namespace) -> None:
    """Draws images and prints where they are.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If a file named by `--output` is there.
        FileNotFoundError: If there is no run.
        OSError: If a file cannot be written.
        ValueError: If the temperature or the label cannot be, or the run is damaged.
    """
    trained = load_run(arguments.run_folder)
    num_samples = arguments.num_samples
    class_names = trained.config.get("class_names", [])
    label = find_label(arguments.label, trained.model.glow.num_classes, class_names)
    of_label = "" if label is None else f"label{label}-"
    name = f"samples-{of_label}t{arguments.temperature:g}-seed{arguments.seed}"
    if num_samples != NUM_SAMPLES:
        name += f"-num{num_samples}"
    grid, array = output_files(arguments, trained.path / f"{name}.png", [".npy"])
    images = draw(
        trained.model,
        num_samples,
        arguments.temperature,
        labels=None if label is None else np.full(num_samples, label),
        seed=arguments.seed,
    )
    with written(array) as partial:
        np.save(partial, images)
    with written(grid) as partial:
        image_grid(images[:_MAX_SHOWN]).savefig(partial)
    print(grid)
    print(array)
