"""What a training leaves in its run folder besides the model."""

import argparse
import math
import os
import platform
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow import data
from tfp_glow._files import replacing
from tfp_glow.cli.baselines import gaussian_bits_per_dim, histogram_bits_per_dim
from tfp_glow.cli.inference import draw, held_out_split, measure
from tfp_glow.cli.recipe import Fitted
from tfp_glow.cli.report import run_report
from tfp_glow.cli.run_folder import STATE, write_json
from tfp_glow.dequantization import bin_centers, quantize
from tfp_glow.glow_model import GlowModel
from tfp_glow.plots import sample_sheet, training_curves
from tfp_glow.presets import Preset
from tfp_glow.version import __version__

__all__ = ["measure_baselines", "write_results"]

_TEMPERATURES = (0.6, 0.7, 0.8, 0.9, 1.0)
_NUM_SHOWN = 25


def write_results(
    arguments: argparse.Namespace,
    info: data.DatasetInfo,
    settings: Preset,
    fitted: Fitted,
    baselines: dict[str, dict[str, Any]],
    images: np.ndarray,
    labels: np.ndarray | None,
) -> None:
    """Measures the best epoch on held-out images, draws, and prints a summary."""
    best = fitted.best
    model = best.model_of_best
    metrics = {
        "dataset": info.name,
        "note": info.note,
        "held_out": {
            "split": held_out_split(info),
            **measure(
                model,
                images,
                labels,
                num_noise_samples=arguments.num_noise_samples,
            ),
        },
        "baselines": baselines,
        "validation_bits_per_dim": best.best_bits_per_dim,
        "best_epoch": best.best_epoch,
        "num_epochs": len(fitted.history["loss"]),
        "trainable_parameters": sum(
            math.prod(variable.shape) for variable in model.trainable_variables
        ),
        "training_seconds": round(fitted.seconds, 1),
        "machine": _machine(),
        "num_rollbacks": int(fitted.history.get("num_rollbacks", [0])[-1]),
        "versions": _versions(),
    }
    write_json(arguments.output / "metrics.json", metrics)
    with replacing(arguments.output / "training.png") as partial:
        training_curves(fitted.history).savefig(partial)
    _save_samples(model, images[:_NUM_SHOWN], arguments.output / "samples.png")
    report = run_report(
        arguments.output, metrics, settings.epochs, model.glow.num_classes
    )
    (arguments.output / STATE).unlink()  # There is nothing more to go on with.
    print(f"\n{report}")


def measure_baselines(
    train: np.ndarray, images: np.ndarray, num_bits: int
) -> dict[str, dict[str, Any]]:
    """What simple models reach on held-out images after the training images."""
    gaussian, note = gaussian_bits_per_dim(train, images, num_bits)
    histogram = histogram_bits_per_dim(train, images, num_bits)
    return {
        "gaussian": {"bits_per_dim": gaussian, "note": note},
        "histogram": {"bits_per_dim": histogram, "note": ""},
    }


def _save_samples(model: GlowModel, images: np.ndarray, file: Path) -> None:
    """Draws samples at several temperatures beside real images of as many bits."""
    num_classes = model.glow.num_classes
    labels = np.arange(_NUM_SHOWN) % num_classes if num_classes else None
    real = quantize(bin_centers(images, model.num_bits), model.num_bits).numpy()
    samples = {t: draw(model, _NUM_SHOWN, t, labels=labels) for t in _TEMPERATURES}
    with replacing(file) as partial:
        sample_sheet(real, samples).savefig(partial)


def _machine() -> str:
    """What the training ran on."""
    devices = tf.config.list_physical_devices("GPU")
    names = [
        tf.config.experimental.get_device_details(device).get("device_name", "GPU")
        for device in devices
    ]
    cores = f"{os.cpu_count()} {platform.machine()} cores"
    return ", ".join([cores, *names])


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "tensorflow_probability": tfp.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "tfp_glow": __version__,
    }
