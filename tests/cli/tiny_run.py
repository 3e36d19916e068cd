"""A run that takes no training."""

from pathlib import Path

import numpy as np

from tfp_glow import GlowModel
from tfp_glow.cli.run_folder import FORMAT_VERSION, write_json


def make_run(folder: Path, **arguments: object) -> Path:
    """A run folder of a model of the digits whose every part does something."""
    tiny = {"num_bits": 4, "num_levels": 2, "num_steps": 1, "hidden_channels": 4}
    model = GlowModel((8, 8, 1), seed=0, **tiny, **arguments)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.05, size=variable.shape))
    folder.mkdir()
    model.save(folder / "model.keras")
    config = {"format_version": FORMAT_VERSION, "dataset": "digits"}
    write_json(folder / "config.json", config)
    return folder
