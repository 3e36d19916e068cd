"""`tfp-glow export`: a run as a SavedModel."""

import argparse
from pathlib import Path

import tensorflow as tf

from tfp_glow.cli.report import table
from tfp_glow.cli.run_folder import load_run

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Writes the SavedModel, and prints its signatures and how to load it.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If the folder is taken.
        FileNotFoundError: If there is no run.
        ValueError: If the run is damaged.
    """
    directory = arguments.directory
    _check_writable(directory, overwrite=arguments.overwrite)
    trained = load_run(arguments.run_folder)
    trained.model.export(directory)
    # What a server will see, and not what was meant to be written.
    signatures = tf.saved_model.load(str(directory)).signatures
    rows = [("Signature", "Inputs", "Outputs")]
    for name, function in sorted(signatures.items()):
        _, inputs = function.structured_input_signature
        rows.append((name, _specs(inputs), _specs(function.structured_outputs)))
    labels = "" if trained.model.glow.num_classes is None else ", labels=tf.range(4)"
    print(
        f"{table(rows)}\n\n"
        f"Load it with TensorFlow alone (import tensorflow as tf):\n"
        f"  model = tf.saved_model.load({str(directory)!r})\n"
        '  images = model.signatures["sample"](seed=tf.range(4), '
        f'temperature=tf.fill([4], 0.7){labels})["images"]'
    )


def _check_writable(directory: Path, *, overwrite: bool) -> None:
    """Raises `FileExistsError` where there is something that may not be replaced."""
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"{directory} is a file. Name a folder.")
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(
            f"{directory} is not empty. Name another folder, or replace the SavedModel "
            "in it with --overwrite."
        )
    if not (directory / "saved_model.pb").exists():
        raise FileExistsError(
            f"--overwrite replaces a SavedModel, and {directory} holds something else. "
            "Name another folder."
        )


def _specs(specs: dict[str, tf.TensorSpec]) -> str:
    return ", ".join(
        f"{name} {spec.dtype.name} [{', '.join(str(n or 'B') for n in spec.shape)}]"
        for name, spec in sorted(specs.items())
    )
