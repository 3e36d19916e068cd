"""`python -m tfp_glow.accelerate import`: a run folder of what a bundle left."""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_glow.accelerate.on_card.pieces import FORMAT_VERSION, read
from tfp_glow.cli.report import measured, next_commands
from tfp_glow.cli.run_folder import (
    check_writable,
    complete_run,
    model_config,
    save_model,
    write_json,
)
from tfp_glow.glow_model import GlowModel
from tfp_glow.version import __version__

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Writes the run, and prints its figures and what to do with it.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If the run folder is taken.
        FileNotFoundError: If a bundle, its result or a piece of it is missing.
        ValueError: If something is damaged, of another bundle or another version.
    """
    folder, bundle = arguments.run_folder, arguments.bundle
    output = arguments.result or bundle / "result"
    check_writable(folder, overwrite=arguments.overwrite)
    manifest = _read_json(bundle / "manifest.json", "export PRESET BUNDLE")
    for name, ours in (
        ("format_version", FORMAT_VERSION),
        ("tfp_glow_version", __version__),
    ):
        if manifest.get(name) != ours:
            raise ValueError(
                f"{bundle} was exported by another version of tfp_glow. Received: "
                f"{name}={manifest.get(name)!r}; this is {ours!r}. Import it with the "
                "version that exported it."
            )
    result = _read_json(output / "result.json", "run BUNDLE DATA")
    weights, about = read(output / "weights")
    for part, found in (("result.json", result), ("weights", about)):
        if found["bundle"] != manifest["bundle"] or found["step"] != result["step"]:
            raise ValueError(
                f"{output / part} was left by another bundle or at another step. Name "
                "the folder with --result."
            )
    config = dict(manifest["config"])
    recipe = {k: v for k, v in result["recipe"].items() if k in config["training"]}
    # How the weights were trained says nothing of how this machine is to.
    model = GlowModel.from_config({**config["model"], "memory": "auto", "unroll": None})
    _assign(model, manifest["weights"], weights)
    config |= {
        "dataset": result["dataset"],
        "training": {**config["training"], **recipe},
        "model": model_config(model),
    }
    with complete_run(folder, config, overwrite=arguments.overwrite):
        save_model(model, folder / "model.keras")
        write_json(folder / "metrics.json", _metrics(model, result))
        if (output / "history.csv").is_file():
            shutil.copyfile(output / "history.csv", folder / "history.csv")
    figures = result["held_out"]
    print(
        f"{measured(figures)} bits/dim on {figures['num_images']:,} {figures['split']} "
        f"images, as measured on {result['device']}.\n\n{next_commands(folder, None)}"
    )


def _read_json(file: Path, command: str) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no {file}. `python -m tfp_glow.accelerate {command}` writes it."
        )
    return json.loads(file.read_text(encoding="utf-8"))


def _assign(model: GlowModel, names: list[str], weights: dict[str, np.ndarray]) -> None:
    for variable, name in zip(model.weights, names, strict=True):
        value = weights[name]
        if value.shape != tuple(variable.shape):
            raise ValueError(
                f"{name} must be of shape {tuple(variable.shape)}. Received: "
                f"{value.shape}. The bundle is of another model."
            )
        variable.assign(tf.cast(value, variable.dtype))


def _metrics(model: GlowModel, result: dict[str, Any]) -> dict[str, Any]:
    """As `tfp-glow train` writes them, of what was measured on the device."""
    num_epochs = math.ceil(result["epochs"])
    return {
        "dataset": result["dataset"],
        "note": result["note"],
        "held_out": result["bound"],
        "held_out_single_draw": result["held_out"],
        "baselines": {},
        "best_epoch": num_epochs,  # the last: nothing was chosen by held-out images
        "num_epochs": num_epochs,
        "num_steps": result["step"],
        "num_train_images": result["num_train_images"],
        "trainable_parameters": sum(
            math.prod(v.shape) for v in model.trainable_variables
        ),
        "training_seconds": result["seconds"],
        "compile_seconds": result["compile_seconds"],
        "machine": result["device"],
        "num_rollbacks": 0,
        "versions": {
            "jax": result["jax"],
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "tfp_glow": __version__,
        },
    }
