"""The run folder: what `tfp-glow train` writes and the other commands read."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from tfp_glow._files import replacing
from tfp_glow.cli.model_config import check_belongs, model_config
from tfp_glow.cli.output import check_place
from tfp_glow.glow_model import GlowModel
from tfp_glow.version import __version__

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

__all__ = [
    "FORMAT_VERSION",
    "STATE",
    "Run",
    "check_writable",
    "complete_run",
    "end_run",
    "load_run",
    "locked",
    "model_config",
    "read_config",
    "read_metrics",
    "read_unfinished",
    "resume_command",
    "save_model",
    "start_run",
    "telling_what_is_left",
    "write_json",
]

FORMAT_VERSION = 1
"""Of `config.json`; a later one may not be readable here."""

STATE = "state.npz"
"""Name of the file that an unfinished training goes on from."""

_WRITTEN = (
    STATE,
    ".partial-*",
    "config.json",
    "model.keras",
    "metrics.json",
    "history.csv",
    "logs",
    "samples.png",
    "training.png",
    "samples-*",
    "interpolation-*",
    "manipulation-*",
    "attributes.*",
)
_REPLACED = ".replaced"
_FOR_TRAINING = {"data_dir", "image_size", "limit", "seed", "num_noise_samples"}
_FOR_TRAINING |= {"preset", "model", "training"}
_TYPES = {
    "dataset": str | None,
    "data_dir": str | None,
    "image_size": int | None,
    "crop": str,
    "class_names": list,
    "checksums": dict,
    "preset": str,
    "model": dict,
    "training": dict,
    "imported_from": str,
    "import_options": str,
}


@dataclass(frozen=True)
class Run:
    """A trained model and where it comes from.

    Attributes:
        path: The run folder.
        config: What `config.json` holds.
        model: The model of the best epoch.
    """

    path: Path
    config: Mapping[str, Any]
    model: GlowModel


def load_run(path: Path) -> Run:
    """Loads a run.

    Args:
        path: The run folder.

    Returns:
        The run.

    Raises:
        FileNotFoundError: If it is no run folder, or has no model.
        ValueError: If a file in it is damaged, of another run, or written by a later
            version.
    """
    path = Path(path)
    config = read_config(path)
    if "imported_from" in config:
        again = (
            "Import it again: `tfp-glow import-openai "
            f"{quote(config['imported_from'])} {quote(str(path))} --overwrite "
            f"{config.get('import_options', '')}`."
        )
    else:
        again = (
            f"Train again with the options in {path / 'config.json'}, with another "
            "--output or with --overwrite."
        )
    file = path / "model.keras"
    if not file.exists() and (path / STATE).exists():
        again = f"Go on with it: `{resume_command(path)}`."
    if not file.exists():
        raise FileNotFoundError(
            f"{path} has no model.keras: its training did not reach the end of an "
            f"epoch. {again}"
        )
    try:
        model = GlowModel.from_pretrained(file)
    except ValueError as error:
        raise ValueError(f"{error} {again}") from error
    check_belongs(model, path, config)
    return Run(path, config, model)


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Checks, without a change, that a new run may be written to a folder.

    Args:
        path: The folder, which need not exist.
        overwrite: Whether a run that is there may be replaced.

    Raises:
        FileExistsError: If something is there that may not be replaced.
        OSError: If it cannot be written to.
    """
    check_place(path, "Name another folder.")
    if not path.exists() or not any(path.iterdir()):
        return
    if not overwrite:
        resume = ""
        if (path / STATE).exists():
            resume = f", or go on with it: `{resume_command(path)}`"
        raise FileExistsError(
            f"{path} is not empty. Name another folder, or replace the run in it with "
            f"--overwrite{resume}."
        )
    try:
        read_config(path)
    except (FileNotFoundError, ValueError) as error:
        raise FileExistsError(
            f"--overwrite replaces a run folder, and {path} holds something else. Name "
            "another folder."
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Makes a folder if there is none, and keeps other trainings out of it.

    Raises:
        FileExistsError: If another one is writing to it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"A run cannot be written to {path}: {error.strerror}. Name another "
            "folder, or make that one writable."
        ) from error
    if fcntl is None:
        yield
        return
    # Of the folder itself: there is no file to be left behind, and a process that is
    # killed gives it back.
    folder = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(
                f"Another training is writing to {path}. Wait for its end or stop it, "
                "or name another folder."
            ) from error
        except OSError:
            pass  # A file system that knows no such locks, as NFS of folders.
        yield
    finally:
        os.close(folder)


def start_run(path: Path, config: Mapping[str, Any]) -> None:
    """Puts an earlier run aside, where there is one, and writes the configuration."""
    path.mkdir(parents=True, exist_ok=True)
    (path / STATE).unlink(missing_ok=True)
    end_run(path)  # of a run that was killed
    for child in _written(path):
        (path / _REPLACED).mkdir(exist_ok=True)
        child.rename(path / _REPLACED / child.name)
    write_json(path / "config.json", config)


@contextmanager
def complete_run(
    path: Path, config: Mapping[str, Any], *, overwrite: bool
) -> Iterator[None]:
    """Replaces an earlier run, if there is one, by what is written meanwhile.

    Raises:
        FileExistsError: If something is there that may not be replaced, or another
            training is writing to it.
    """
    with locked(path):
        # Another command may have written to it since it was looked at.
        check_writable(path, overwrite=overwrite)
        start_run(path, config)
        try:
            yield
        finally:
            end_run(path)


@contextmanager
def telling_what_is_left(path: Path) -> Iterator[None]:
    """Says, where there is no room or no folder any more, what is left to go on with.

    Raises:
        OSError: If something cannot be written.
    """
    try:
        yield
    except OSError as error:
        is_in_path = error.filename and Path(error.filename).parent == path
        if error.errno == errno.ENOENT and is_in_path and not path.exists():
            raise OSError(
                f"{path} was removed or renamed while a training wrote to it, and "
                "nothing more can be saved. If it is still somewhere, go on with "
                "--resume of it, or else train again."
            ) from error
        if (
            error.errno not in (errno.ENOSPC, errno.EDQUOT)
            or not (path / STATE).exists()
        ):
            raise
        raise OSError(
            f"{error.strerror}: {error.filename or path}. What was saved last is "
            "intact. Make room, and go on with\n"
            f"  {resume_command(path)}"
        ) from error


def resume_command(path: Path) -> str:
    """What goes on with a run, on as many devices as it began."""
    command = f"tfp-glow train --resume {quote(str(path))}"
    try:
        strategy = read_config(path).get("strategy")
    except (FileNotFoundError, ValueError):  # who goes on with it will be told
        strategy = None
    return f"{command} --strategy {strategy}" if strategy else command


def end_run(path: Path) -> None:
    """Discards the run that was put aside, or brings it back if no model was saved."""
    replaced = path / _REPLACED
    if not replaced.exists():
        return
    if (path / STATE).exists() and not (path / "model.keras").exists():
        return  # Which of the two it is to be is not known before it goes on.
    if not (path / "model.keras").exists():
        for child in _written(path):
            if child.is_dir():
                shutil.rmtree(child)
            else:
                child.unlink()
        for child in replaced.iterdir():
            child.rename(path / child.name)
    shutil.rmtree(replaced)


def _written(path: Path) -> list[Path]:
    """What of a folder's content a run and its commands have written."""
    return [c for c in path.iterdir() if any(c.match(name) for name in _WRITTEN)]


def save_model(model: GlowModel, file: Path) -> None:
    """Writes a model so that at any time the old file is there or the new one."""
    with replacing(file) as partial:
        model.save(partial)


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON that reads well and ends with a newline."""
    with replacing(file) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """What `config.json` of a run holds.

    Raises:
        FileNotFoundError: If it is no run folder.
        ValueError: If it is damaged or was written by a later version.
    """
    file = path / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} is no run folder: it has no config.json. "
            f"`tfp-glow train --output {quote(str(path))}` makes one, or "
            "`tfp-glow import-openai`."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        is_config = {"format_version", "dataset"} <= config.keys()
    except (ValueError, AttributeError):
        is_config = False
    if not is_config:
        raise ValueError(f"{file} was not written by `tfp-glow train`, or is damaged.")
    if config["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"This version of tfp_glow reads runs of format {FORMAT_VERSION}. "
            f"Received: format_version={config['format_version']} in {file}. Upgrade "
            "tfp_glow."
        )
    for name, kind in _TYPES.items():
        if name in config and not isinstance(config[name], kind):
            raise ValueError(
                f"{file} is damaged: {name!r} must be of type "
                f"{getattr(kind, '__name__', kind)}. Received: {config[name]!r}. Mend "
                "it by hand, or train again."
            )
    return config


def read_metrics(path: Path) -> dict[str, Any]:
    """What `metrics.json` of a run holds; nothing of an imported run.

    Raises:
        ValueError: If it is damaged.
    """
    file = path / "metrics.json"
    if not file.exists():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{file} was not written by `tfp-glow train`, or is damaged: {error}."
        ) from error


def read_unfinished(path: Path) -> dict[str, Any]:
    """What `config.json` of a run holds that training can go on with.

    Raises:
        FileNotFoundError: If it is no run folder.
        ValueError: If it has come to its end, was not trained here, is damaged, or was
            begun by another version.
    """
    config = read_config(path)
    if "imported_from" in config:
        raise ValueError(f"{path} was imported, and no training of it began here.")
    if not (path / STATE).exists() and (path / "metrics.json").exists():
        raise ValueError(
            f"The training in {path} has come to its end. For a longer one, train "
            "again with more --epochs, to another --output or with --overwrite."
        )
    version = config.get("tfp_glow_version")
    if version != __version__:
        raise ValueError(
            f"{path} was begun by tfp_glow {version}, and this is {__version__}: "
            "training would not go on as it began. Install that version, or train "
            "again."
        )
    missing = _FOR_TRAINING - config.keys()
    if missing:
        raise ValueError(f"{path / 'config.json'} is damaged: it has no {missing}.")
    return config
