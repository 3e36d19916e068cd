"""Where a command writes what it was asked for."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["output_files"]

_OTHERS = {".bmp", ".gif", ".jpeg", ".jpg", ".mp4", ".npy", ".npz", ".tiff", ".webp"}


def output_files(
    arguments: argparse.Namespace, default: Path, others: Iterable[str] = ()
) -> list[Path]:
    """The PNG file to write, and what lies beside it.

    Args:
        arguments: With `output` and `overwrite`.
        default: The PNG file without `--output`, which is replaced unasked.
        others: What the names of other files of the command end in.

    Returns:
        The PNG file and the others, in a folder that is there.

    Raises:
        FileExistsError: If a file of `--output` is there and may not be replaced.
        PermissionError: If the folder cannot be written to.
        ValueError: If `--output` names a file of another kind.
    """
    picture = arguments.output or default
    if picture.is_dir():
        picture = picture / default.name
    if picture.suffix.lower() in _OTHERS:
        raise ValueError(
            f"The picture is a PNG file, and what else there is has the same name. "
            f"Received: --output {picture}. Name it {picture.with_suffix('.png')}."
        )
    if picture.suffix.lower() != ".png":
        picture = picture.with_name(f"{picture.name}.png")
    files = [picture, *map(picture.with_suffix, others)]
    if arguments.output and not arguments.overwrite:
        for file in files:
            if file.exists():
                raise FileExistsError(
                    f"{file} is there already. Name another file with --output, or "
                    "replace it with --overwrite."
                )
    picture.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(picture.parent, os.W_OK | os.X_OK):
        raise PermissionError(
            f"There is no permission to write to {picture.parent}. Name a file in "
            "another folder with --output."
        )
    return files
