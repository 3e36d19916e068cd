"""Where a command writes what it was asked for."""

import argparse
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tfp_glow._files import replacing

__all__ = [
    "beginning",
    "check_place",
    "file_name",
    "name_of",
    "output_files",
    "telling_what_to_do",
    "written",
]

_OTHERS = {".bmp", ".gif", ".jpeg", ".jpg", ".mp4", ".npy", ".npz", ".tiff", ".webp"}
_MAX_BYTES = 150  # of a name without its suffix; most file systems take 255 of a whole


def output_files(
    arguments: argparse.Namespace, default: Path, others: Iterable[str] = ()
) -> list[Path]:
    """The PNG file to write, and what lies beside it.

    Args:
        arguments: With `output`, of which an end in a slash says that it is a folder,
            and `overwrite`.
        default: The PNG file without `--output`, which is replaced unasked.
        others: What the names of other files of the command end in.

    Returns:
        The PNG file and the others, in a folder that is there.

    Raises:
        FileExistsError: If a file of `--output` is there and may not be replaced.
        PermissionError: If the folder cannot be written to.
        ValueError: If `--output` names a file of another kind.
    """
    picture = Path(arguments.output or default)
    if picture.is_dir() or (arguments.output or "").endswith(("/", os.sep)):
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
    check_place(picture.parent, "Name a file in another folder with --output.")
    picture.parent.mkdir(parents=True, exist_ok=True)
    return files


def check_place(folder: Path, advice: str) -> None:
    """Checks, without a change, that there can be files in a folder.

    Args:
        folder: The folder, which need not exist.
        advice: What to do where there cannot.

    Raises:
        FileExistsError: If it is a file, or what it is to be in.
        PermissionError: If it cannot be written to.
    """
    folders = (folder, *folder.absolute().parents)
    there = next(path for path in folders if os.path.exists(path))
    if not there.is_dir():
        raise FileExistsError(f"{there} is a file. {advice}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"There is no permission to write to {there}. {advice}")


@contextmanager
def written(file: Path) -> Iterator[Path]:
    """`replacing`, where an error says what to do.

    Raises:
        OSError: If the file cannot be written.
    """
    with telling_what_to_do(file), replacing(file) as partial:
        yield partial


@contextmanager
def telling_what_to_do(file: Path) -> Iterator[None]:
    """Says what to do where a file of a command cannot be written.

    Raises:
        OSError: If it cannot.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{file} cannot be written: {error.strerror}. Make room, or name a file "
            "elsewhere with --output."
        ) from error


def file_name(text: str) -> str:
    """The name of a PNG file: no folders, and a checksum for what would be too much."""
    text = text.replace("/", "-")
    encoded = os.fsencode(text)
    if len(encoded) > _MAX_BYTES:
        text = f"{beginning(text, _MAX_BYTES - 9)}_{zlib.crc32(encoded):08x}"
    return f"{text}.png"


def name_of(file: Path) -> str:
    """What stands for a file in names of others: its stem, a checksum of its path."""
    checksum = zlib.crc32(os.fsencode(file.resolve()))
    return f"{beginning(file.stem)}_{checksum:08x}"


def beginning(text: str, num_bytes: int = 40) -> str:
    """What there is room for of a text among others."""
    return os.fsencode(text)[:num_bytes].decode("utf-8", "ignore")
