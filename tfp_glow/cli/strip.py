"""Images that lead from one to another: a PNG strip, and an animation on request."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfp_glow.cli.animation import require_video, save_gif, save_mp4
from tfp_glow.cli.output import output_files
from tfp_glow.plots import image_strips

__all__ = ["strip_files", "write_strip"]


def strip_files(arguments: argparse.Namespace, default: Path) -> list[Path]:
    """The files that were asked for, the PNG file first.

    Args:
        arguments: With `output`, `overwrite`, `gif` and `mp4`.
        default: The PNG file without `--output`.

    Raises:
        FileExistsError: If one is there and may not be replaced.
        ImportError: If an MP4 file is asked for and its library is missing.
    """
    if arguments.mp4:
        require_video()
    others = [".gif"] * arguments.gif + [".mp4"] * arguments.mp4
    return output_files(arguments, default, others)


def write_strip(
    files: Sequence[Path], title: str, images: np.ndarray, weights: Sequence[float]
) -> None:
    """Writes images to files, and prints the files' names.

    Args:
        files: What `strip_files` returned.
        title: What stands above the strip.
        images: `uint8` `[N, H, W, C]`.
        weights: What stands below each.
    """
    for file in files:
        if file.suffix == ".gif":
            save_gif(images, file)
        elif file.suffix == ".mp4":
            save_mp4(images, file)
        else:
            captions = [f"{weight:.3g}" for weight in weights]
            image_strips({title: images}, captions).savefig(file)
        print(file)
