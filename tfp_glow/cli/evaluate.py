"""`tfp-glow evaluate`: bits/dim of a run on held-out images."""

import argparse
import json
from math import isfinite

from tfp_glow.cli.inference import load_held_out, measure
from tfp_glow.cli.report import measured
from tfp_glow.cli.run_folder import load_run

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Measures a run and prints the figure.

    Args:
        arguments: The options of the command.

    Raises:
        FileNotFoundError: If there is no run, or its data set is gone.
        ValueError: If there is no such split, or the run is damaged.
    """
    trained = load_run(arguments.run_folder)
    held_out = load_held_out(trained, arguments)
    model = trained.model
    if arguments.dtype is not None:
        model = model.with_dtype(arguments.dtype)
    figures = {
        "dataset": held_out.dataset,
        "split": held_out.split,
        **measure(
            model,
            held_out.images,
            held_out.labels,
            seed=arguments.seed,
            num_noise_samples=arguments.num_noise_samples,
        ),
    }
    if arguments.json:
        # JSON knows no infinity; of a broken model's figures there is none.
        plain = {
            key: value if not isinstance(value, float) or isfinite(value) else None
            for key, value in figures.items()
        }
        print(json.dumps(plain, indent=2, allow_nan=False))
        return
    draws = figures["num_noise_samples"]
    print(
        f"{measured(figures)} bits/dim: mean and its standard error over "
        f"{figures['num_images']:,} {held_out.split} images of {held_out.dataset}, "
        f"{draws} draw{'s' * (draws > 1)} of noise each, seed {figures['seed']}."
    )
    if "label_bits" in figures:
        print(
            f"{figures['label_bits']:.4f} bits a label: the classifier's cross-entropy."
        )
    if held_out.note:
        print(f"Note: {held_out.note}.")
