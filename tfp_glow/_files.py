"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


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
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, file)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a write of a part
            error.filename = str(file)
        raise
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":  # the folder is a file too, elsewhere it cannot be opened
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
