"""Where SavedModels lie in a folder: `NAME/VERSION/`, or the folder is one."""

import re
from pathlib import Path

from tfp_glow._names import NAME_RULE, is_model_name

__all__ = ["ModelFolder"]

_VERSION = re.compile(r"[0-9]{1,15}")
_FILE = "saved_model.pb"

Versions = dict[int, Path]


class ModelFolder:
    """A folder to look for models in, again and again.

    It is one of three: a folder of models with a folder for each version, as TensorFlow
    Serving and `tfp-glow export` have it; the folder of one model, with its versions;
    or a SavedModel, which then is version 1, unless its folder is named by a number.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        """Takes a folder.

        Args:
            path: The folder.
            name: A name for its model, if it holds one; else that of the folder.

        Raises:
            OSError: If it is no folder, or cannot be read.
            ValueError: If the name cannot be one in an address, or is not needed.
        """
        self.path = path.resolve()
        self._name = name
        self._is_model = (self.path / _FILE).is_file()
        self._holds_versions = not self._is_model and bool(_versions(self.path))
        if self._is_model or self._holds_versions:
            self._check_name(self._only_name())
        elif name is not None:
            raise ValueError(
                f"--name is for the folder of one model, and {path} may hold several, "
                "whose folders name them."
            )

    def look(self) -> dict[str, Versions]:
        """Returns the folders of all versions of all models, by name and number.

        Raises:
            OSError: If the folder cannot be read.
        """
        if self._is_model:
            version = self.path.name if _VERSION.fullmatch(self.path.name) else "1"
            return {self._only_name(): {int(version): self.path}}
        folders = {}
        if self._holds_versions:
            folders[self._only_name()] = self.path
        else:
            for folder in sorted(self.path.iterdir()):
                if is_model_name(folder.name) and folder.is_dir():
                    folders[folder.name] = folder
        models = {
            name: self._inside(_versions(folder)) for name, folder in folders.items()
        }
        return {name: versions for name, versions in models.items() if versions}

    def state(self, version: Path) -> tuple[tuple[str, int, int], ...]:
        """What tells whether files of a version have changed: names, sizes and times.

        Raises:
            OSError: If a file cannot be read, or went away.
            ValueError: If one is a link that leads out of the folder.
        """
        files = sorted(version.rglob("*"))
        for file in files:
            if not file.resolve().is_relative_to(self.path):
                raise ValueError(f"{file} is a link that leads out of {self.path}.")
        stats = [file.stat() for file in files]
        return tuple(
            (str(file), stat.st_size, stat.st_mtime_ns)
            for file, stat in zip(files, stats, strict=True)
        )

    def _inside(self, versions: Versions) -> Versions:
        """Those that are no link out of the folder."""
        return {
            number: folder
            for number, folder in versions.items()
            if folder.resolve().is_relative_to(self.path)
        }

    def _only_name(self) -> str:
        if self._name is not None:
            return self._name
        folder = self.path
        if self._is_model and _VERSION.fullmatch(folder.name):
            folder = folder.parent
        return folder.name

    def _check_name(self, name: str) -> None:
        if not is_model_name(name):
            raise ValueError(
                f"The name of a model must be of {NAME_RULE}. Received: {name!r}. Give "
                "it another with --name."
            )


def _versions(folder: Path) -> Versions:
    """Folders named by a number that hold a SavedModel."""
    return {
        int(child.name): child
        for child in sorted(folder.iterdir())
        if _VERSION.fullmatch(child.name) and (child / _FILE).is_file()
    }
