"""Images that lead from one to another: a PNG strip, and an animation on request."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfp_glow.cli.animation import require_video, save_gif, save_mp4
from tfp_glow.cli.latent_options import NUM_STEPS
from tfp_glow.cli.output import file_name, name_of, output_files, written
from tfp_glow.plots import image_strips, tile

__all__ = ["strip_files", "strip_name", "write_strips"]


def strip_name(stem: str, arguments: argparse.Namespace) -> str:
    """The name of a PNG file without `--output`: another one for other options.

    Args:
        stem: What the strip shows.
        arguments: With `steps`, `levels`, `label`, `dataset` and `split`, and perhaps
            `strength` and `attributes`.
    """
    parts = [stem]
    if getattr(arguments, "strength", 1.0) != 1.0:
        parts.append(f"strength{arguments.strength:g}")
    if arguments.label is not None:
        parts.append(f"label{arguments.label}")
    if arguments.levels is not None:
        parts.append("levels" + ",".join(map(str, arguments.levels)))
    if arguments.steps != NUM_STEPS:
        parts.append(f"steps{arguments.steps}")
    if getattr(arguments, "attributes", None) is not None:
        parts.append(name_of(arguments.attributes))
    parts += [name for name in (arguments.dataset, arguments.split) if name is not None]
    return file_name("-".join(parts))


def strip_files(
    arguments: argparse.Namespace, default: Path, others: Iterable[str] = ()
) -> list[Path]:
    """The files that were asked for, the PNG file first.

    Args:
        arguments: With `output`, `overwrite`, `gif` and `mp4`.
        default: The PNG file without `--output`.
        others: What the names of other files of the command end in; they come last.

    Raises:
        FileExistsError: If one is there and may not be replaced.
        ImportError: If an MP4 file is asked for and its library is missing.
    """
    if arguments.mp4:
        require_video()
    animations = [".gif"] * arguments.gif + [".mp4"] * arguments.mp4
    return output_files(arguments, default, [*animations, *others])


def write_strips(
    files: Sequence[Path], rows: Mapping[str, np.ndarray], weights: Sequence[float]
) -> None:
    """Writes images to files, and prints the files' names.

    Args:
        files: What `strip_files` returned, without the others.
        rows: Images `uint8` `[N, H, W, C]`, by what stands above their strip. In an
            animation several rows are a square, each image with those before and after
            it in its place.
        weights: What stands below each.

    Raises:
        OSError: If a file cannot be written.
    """
    frames = next(iter(rows.values()))
    if len(rows) > 1:
        together = zip(*rows.values(), strict=True)
        frames = np.stack([tile(np.stack(images), None) for images in together])
    for file in files:
        with written(file) as partial:
            if file.suffix == ".gif":
                save_gif(frames, partial)
            elif file.suffix == ".mp4":
                save_mp4(frames, partial)
            else:
                captions = [f"{weight:.3g}" for weight in weights]
                image_strips(rows, captions).savefig(partial)
        print(file)
