"""`tfp-glow interpolate`: the images between two."""

import argparse

import numpy as np

from tfp_glow.cli.picture_input import load_picture
from tfp_glow.cli.run_folder import load_run
from tfp_glow.cli.strip import strip_files, strip_name, write_strips
from tfp_glow.latents import interpolate

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Goes from one picture to another and prints where that is shown.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If a file named by `--output` is there.
        FileNotFoundError: If there is no run, or no such picture.
        ImportError: If `--mp4` is asked for and its library is missing.
        OSError: If a file cannot be written.
        ValueError: If a picture, a label or a level cannot be, or the run is damaged.
    """
    trained = load_run(arguments.run_folder)
    names = (arguments.first, arguments.last)
    first, last = (load_picture(name, trained, arguments) for name in names)
    method = "spherical" if arguments.spherical else "linear"
    stem = f"interpolation-{first.name_in_files}-{last.name_in_files}-{method}"
    files = strip_files(arguments, trained.path / strip_name(stem, arguments))
    images = interpolate(
        trained.model,
        first.image,
        last.image,
        arguments.steps,
        method=method,
        levels=arguments.levels,
        labels=None if first.label is None else [first.label, last.label],
    )
    weights = np.linspace(0.0, 1.0, arguments.steps)
    title = f"{first.name} to {last.name}, {method}"
    write_strips(files, {title: images.numpy()}, weights)
