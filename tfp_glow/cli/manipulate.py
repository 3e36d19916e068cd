"""`tfp-glow manipulate`: a picture with more or less of an attribute."""

import argparse

import numpy as np

from tfp_glow._checks import check_choice
from tfp_glow.cli.picture_input import load_picture
from tfp_glow.cli.run_folder import load_run
from tfp_glow.cli.strip import strip_files, strip_name, write_strips
from tfp_glow.latents import AttributeDirections, manipulate

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Changes a picture along an attribute and prints where that is shown.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If a file named by `--output` is there.
        FileNotFoundError: If there is no run, no such picture or no directions.
        ImportError: If `--mp4` is asked for and its library is missing.
        OSError: If a file cannot be written.
        ValueError: If a picture, an attribute, a label or a level cannot be, or a file
            is damaged.
    """
    trained = load_run(arguments.run_folder)
    known = arguments.attributes or trained.path / "attributes.npz"
    if not known.is_file():
        raise FileNotFoundError(
            f"There are no directions in {known}. `tfp-glow attributes "
            f"{arguments.run_folder}` finds them."
        )
    directions = AttributeDirections.load(known)
    check_choice("--attribute", arguments.attribute, directions.names)
    picture = load_picture(arguments.image, trained, arguments)
    stem = f"manipulation-{picture.name_in_files}-{arguments.attribute}"
    files = strip_files(arguments, trained.path / strip_name(stem, arguments))
    alphas = np.linspace(-arguments.strength, arguments.strength, arguments.steps)
    images = manipulate(
        trained.model,
        picture.image,
        directions[arguments.attribute],
        alphas,
        levels=arguments.levels,
        label=picture.label,
    )
    title = f"{picture.name}, {arguments.attribute}"
    write_strips(files, {title: images.numpy()}, alphas)
