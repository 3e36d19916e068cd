"""`tfp-glow evaluate`: bits/dim of a run on held-out images."""

import argparse
import json

from tfp_glow import data
from tfp_glow.cli.inference import held_out_split, measure
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
    dataset = trained.config["dataset"]
    data_dir = arguments.data_dir or trained.config.get("data_dir")
    info = data.describe(dataset, data_dir=data_dir)
    split = arguments.split or held_out_split(info)
    images, labels = data.load_arrays(
        dataset, split, limit=arguments.limit, data_dir=data_dir
    )
    figures = {
        "dataset": dataset,
        "split": split,
        **measure(
            trained.model,
            images,
            labels,
            seed=arguments.seed,
            num_noise_samples=arguments.num_noise_samples,
        ),
    }
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    draws = figures["num_noise_samples"]
    print(
        f"{measured(figures)} bits/dim: mean and its standard error over "
        f"{figures['num_images']:,} {split} images of {dataset}, {draws} "
        f"draw{'s' * (draws > 1)} of noise each, seed {figures['seed']}."
    )
    if info.note:
        print(f"Note: {info.note}.")
