"""`tfp-glow import-openai`: a run folder from a checkpoint of openai/glow."""

import argparse
from shlex import quote

from tfp_glow import data
from tfp_glow.cli.inference import check_same_shape
from tfp_glow.cli.report import next_commands
from tfp_glow.cli.run_folder import (
    FORMAT_VERSION,
    check_writable,
    complete_run,
    model_config,
    save_model,
)
from tfp_glow.openai import load_openai_checkpoint
from tfp_glow.version import __version__

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Loads the checkpoint, writes the run and prints what to do with it.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If the run folder is taken.
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the checkpoint is damaged, of another model, or does not fit an
            option; or if the data set has images of another shape.
    """
    folder = arguments.run_folder
    check_writable(folder, overwrite=arguments.overwrite)
    model = load_openai_checkpoint(
        arguments.checkpoint,
        arguments.image_size,
        num_bits=arguments.num_bits,
        weight_y=arguments.weight_y,
        use_ema=arguments.use_ema,
    )
    name = None
    if arguments.dataset is not None:
        image_size = (
            arguments.image_size if data.is_resizable(arguments.dataset) else None
        )
        info = data.describe(
            arguments.dataset, data_dir=arguments.data_dir, image_size=image_size
        )
        check_same_shape(info, model)
        name = info.name  # of a folder the whole path
    config = {
        "format_version": FORMAT_VERSION,
        "tfp_glow_version": __version__,
        "dataset": name,
        "data_dir": arguments.data_dir,
        "imported_from": str(arguments.checkpoint.resolve()),
        "import_options": _options(arguments),
        "model": model_config(model),
    }
    with complete_run(folder, config, overwrite=arguments.overwrite):
        save_model(model, folder / "model.keras")
    model.summary()
    commands = next_commands(
        folder, model.glow.num_classes, names_dataset=arguments.dataset is not None
    )
    print(f"\n{folder / 'model.keras'}\n\n{commands}")


def _options(arguments: argparse.Namespace) -> str:
    """What was typed behind the two folders, to be typed again."""
    options = f"--image-size {arguments.image_size} --num-bits {arguments.num_bits}"
    if arguments.weight_y:
        options += f" --weight-y {arguments.weight_y}"
    if arguments.use_ema:
        options += " --use-ema"
    for name in ("dataset", "data_dir"):
        if value := getattr(arguments, name):
            options += f" --{name.replace('_', '-')} {quote(value)}"
    return options
