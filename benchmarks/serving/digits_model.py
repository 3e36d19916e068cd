"""The model that is served: the digits' architecture, or a trained one."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tfp_glow as tfg
from tfp_glow.presets import PRESETS

__all__ = ["model_folder"]


@contextlib.contextmanager
def model_folder(arguments: argparse.Namespace) -> Iterator[Path]:
    """The folder that `--model` names, or one with preset `digits` and random weights.

    Args:
        arguments: By the parser of `figures.py`; `quick` makes the model small.

    Yields:
        The folder, which holds `NAME/VERSION/`.
    """
    if arguments.model is not None:
        yield arguments.model
        return
    options = dict(PRESETS["digits"].model)
    if arguments.quick:
        options |= {"num_steps": 1, "hidden_channels": 8}
    model = tfg.GlowModel((8, 8, 1), seed=0, **options)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.02, size=variable.shape))
    with tempfile.TemporaryDirectory() as folder:
        model.export(Path(folder, "digits", "1"))
        yield Path(folder)
