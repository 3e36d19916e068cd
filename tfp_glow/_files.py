"""Files and folders that are there whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

__all__ = ["add_version", "replacing"]


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Gives a name to write to; what is written then takes the place of a file.

    At any time, also after the process is killed or the machine stops, the old file is
    there or the new one.

    Args:
        file: The file to be.

    Raises:
        OSError: If it cannot be written, with its name.
    """
    partial = file.with_name(f".partial-{file.name}")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, file)
    except OSError as error:
        if error.errno is None:  # NumPy's and HDF5's have a text alone
            raise OSError(errno.EIO, str(error), str(file)) from error
        if error.filename is None:  # a write of a part
            error.filename = str(file)
        raise
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(file.parent)


def add_version(folder: Path, write: Callable[[Path], None]) -> Path:
    """Adds a folder with the next number to a folder of numbered ones.

    Who watches the folder sees the number when all is there: till then it has a name
    that begins with a dot, which no server takes for a version. Where the process is
    killed, such a folder stays behind.

    Args:
        folder: The folder of versions, which need not exist.
        write: Called with an empty folder to write to.

    Returns:
        The numbered folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{uuid4().hex}"
    partial.mkdir()
    try:
        write(partial)
        for path in partial.rglob("*"):
            if path.is_file():
                _sync(path)
        version = _rename_to_next_number(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # where there are versions
            folder.rmdir()
        raise
    _sync_folder(folder)
    return version


def _rename_to_next_number(partial: Path) -> Path:
    folder = partial.parent
    while True:
        numbers = [int(c.name) for c in folder.iterdir() if c.name.isdecimal()]
        version = folder / str(max(numbers, default=0) + 1)
        try:
            return partial.rename(version)
        except OSError:
            if not version.exists():  # or else another export has just taken it
                raise


def _sync(file: Path) -> None:
    with file.open("rb+") as written:
        os.fsync(written.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # the folder is a file too, elsewhere it cannot be opened
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
