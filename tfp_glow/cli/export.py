"""`tfp-glow export`: a run as a version of a served model."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfp_glow._files import add_version
from tfp_glow.cli.inference import draw
from tfp_glow.cli.options import model_name
from tfp_glow.cli.output import check_place
from tfp_glow.cli.report import table
from tfp_glow.cli.run_folder import Run, load_run, read_metrics, write_json
from tfp_glow.model_card import model_card, public_name
from tfp_glow.plots import image_grid
from tfp_glow.publishing import CARD

__all__ = ["run"]

_SAMPLES = "samples.png"
_NUM_SAMPLES = 25
_TEMPERATURE = 0.7


def run(arguments: argparse.Namespace) -> None:
    """Writes `DIR/NAME/VERSION`; prints its signatures and how to load it.

    The layout is that of TensorFlow Serving. Beside the SavedModel lie the weights as
    safetensors, the model card, the figures of the run and a grid of samples.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If something else is in `DIR/NAME`.
        FileNotFoundError: If there is no run.
        PermissionError: If `DIR` cannot be written to.
        ValueError: If the run is damaged, or its folder's name cannot be a model's.
    """
    name = arguments.name or _name_of(arguments.run_folder)
    _check_versions_alone(arguments.directory / name)
    trained = load_run(arguments.run_folder)
    policy = trained.model.dtype_policy.name
    exported = {
        "precision": arguments.precision or policy.removeprefix("mixed_"),
        "merge": arguments.merge,
    }
    metrics = {
        **read_metrics(trained.path),
        "dataset": public_name(trained.config["dataset"]),
        "export": exported,
    }

    def write(folder: Path) -> None:
        model = trained.model
        model.export(folder, precision=arguments.precision, merge=arguments.merge)
        model.save_pretrained(folder)
        _draw_samples(trained, folder / _SAMPLES)
        write_json(folder / "metrics.json", metrics)
        card = model_card(
            model,
            name,
            config=trained.config,
            metrics=metrics,
            exported=exported,
            picture=_SAMPLES,
        )
        (folder / CARD).write_text(card, encoding="utf-8")

    directory = add_version(arguments.directory / name, write)
    # What a server will see, and not what was meant to be written.
    file = directory / "saved_model.pb"
    (graph,) = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    rows = [("Signature", "Inputs", "Outputs")]
    for signature, tensors in sorted(graph.signature_def.items()):
        if tensors.inputs:  # or it is TensorFlow's own, for initialisation
            rows.append((signature, _specs(tensors.inputs), _specs(tensors.outputs)))
    num_classes = trained.model.glow.num_classes
    labels = "" if num_classes is None else f", labels=tf.range(4) % {num_classes}"
    print(
        f"{table(rows)}\n\n"
        f"{directory}\n\n"
        f"Load it with TensorFlow alone (import tensorflow as tf):\n"
        f"  model = tf.saved_model.load({str(directory)!r})\n"
        '  images = model.signatures["sample"](seed=tf.range(4), '
        f'temperature=tf.fill([4], 0.7){labels})["images"]'
    )


def _name_of(run_folder: Path) -> str:
    """The name of a run's folder, as that of a model."""
    try:
        return model_name(run_folder.resolve().name)
    except argparse.ArgumentTypeError as error:
        raise ValueError(
            f"The name of the run folder cannot be the model's: it {error}. Name it "
            "with --name."
        ) from error


def _check_versions_alone(folder: Path) -> None:
    """Raises `OSError` where no version can be, or there is something else."""
    check_place(folder, "Name another folder.")
    if not folder.exists():
        return
    names = {child.name for child in folder.iterdir()}
    others = [n for n in names if not (n.isdecimal() or n.startswith("."))]
    if others:
        raise FileExistsError(
            f"{folder} must hold versions of a model, folders whose names are numbers. "
            f"Received: {min(others)} in it. Name another folder than "
            f"{quote(str(folder.parent))}, or choose another --name."
        )


def _draw_samples(trained: Run, file: Path) -> None:
    num_classes = trained.model.glow.num_classes
    labels = np.arange(_NUM_SAMPLES) % num_classes if num_classes else None
    images = draw(trained.model, _NUM_SAMPLES, _TEMPERATURE, labels=labels)
    image_grid(images).savefig(file)


def _specs(tensors: Mapping[str, Any]) -> str:
    """Names, types and shapes of protobuf's `TensorInfo`."""
    return ", ".join(
        f"{name} {tf.dtypes.as_dtype(tensor.dtype).name} "
        f"[{', '.join(str(n or 'B') for n in tf.TensorShape(tensor.tensor_shape))}]"
        for name, tensor in sorted(tensors.items())
    )
