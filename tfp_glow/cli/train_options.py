"""The options of `tfp-glow train`. Nothing here imports TensorFlow."""

import argparse
from pathlib import Path

from tfp_glow.cli.options import (
    PRECISIONS,
    add_data_dir,
    add_limit,
    add_num_noise_samples,
    add_seed,
    positive_integer,
    positive_number,
)

__all__ = ["add_model", "add_recipe", "add_train"]

_WITH_RAY = ("num_workers", "max_failures")
_WITH_RESUME = ("resume", "data_dir", "quiet", "save_minutes", "strategy", *_WITH_RAY)


def add_train(parser: argparse.ArgumentParser) -> None:
    """Options of `train`; those that are not given are the preset's."""
    parser.check = _check_train
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="digits, photos, folder:PATH for your own pictures, a .npy or .npz file "
        "of images, imagenet_npz:PATH for image-net.org's resized ones, or a data set "
        "of TensorFlow Datasets",
    )
    parser.add_argument(
        "--output", type=Path, metavar="RUN", help="run folder to write"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with a training that was stopped or killed, instead of --dataset "
        "and --output: all other options but --strategy are those that it began with",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run in RUN"
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="model and training, see `tfp-glow presets` (default: the data set's own, "
        "else small)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--image-size",
        type=positive_integer,
        metavar="N",
        help="of pictures of any size: cut a square out of each and resize it to N x N",
    )
    parser.add_argument(
        "--crop",
        metavar="NAME",
        help="center, the square in the middle, or random, of two thirds of the "
        "shorter side, anywhere in training pictures (default: the preset's)",
    )
    add_limit(parser, "train on the first N images only, for a quick try")
    add_seed(parser, "of weights, noise and order of images")
    add_num_noise_samples(parser)
    parser.add_argument(
        "--save-minutes",
        type=positive_number,
        default=10.0,
        metavar="X",
        help="save the state of the training so often within an epoch, besides at its "
        "beginning (default: %(default)g)",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="no progress bar: one line an epoch, for log files",
    )

    parser.add_argument(
        "--strategy",
        choices=["mirrored", "multi-worker", "ray"],
        help="train on all GPUs of this machine, with the processes that the "
        "environment variable TF_CONFIG names, or with workers of Ray, which start "
        "again and go on where one is lost; the batch size is that of all together",
    )
    parser.add_argument(
        "--num-workers",
        type=positive_integer,
        metavar="N",
        help="with --strategy ray: how many, which all see the folder of RUN",
    )
    parser.add_argument(
        "--max-failures",
        type=int,
        default=3,
        metavar="N",
        help="with --strategy ray: how often they start again (default: %(default)s)",
    )

    training = add_recipe(parser)
    training.add_argument(
        "--no-guard",
        dest="guard",
        action="store_const",
        const=False,
        help="neither skip steps whose loss or gradient blows up nor go back to good "
        "weights after several of them",
    )

    model = add_model(parser)
    model.add_argument(
        "--conditional",
        action="store_true",
        help="condition on the class labels of the data set",
    )
    model.add_argument(
        "--weight-y",
        type=float,
        metavar="X",
        help="with --conditional: train a classifier too, with this weight in the loss",
    )


def add_recipe(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Numbers of a training that are not given are the preset's."""
    training = parser.add_argument_group("training, instead of the preset's")
    training.add_argument("--epochs", type=positive_integer, metavar="N")
    training.add_argument("--batch-size", type=positive_integer, metavar="N")
    training.add_argument("--learning-rate", type=positive_number, metavar="X")
    training.add_argument(
        "--decay",
        choices=["cosine", "constant"],
        help="what becomes of the learning rate after the warm-up",
    )
    training.add_argument(
        "--clip-norm",
        type=positive_number,
        metavar="X",
        help="largest norm of the gradient of all weights together; history.csv has "
        "its mean, gradient_norm",
    )
    return training


def add_model(
    parser: argparse.ArgumentParser, *, dtype: str = "float32", memory: str = "auto"
) -> argparse._ArgumentGroup:
    """Arguments of a model that are not given are the preset's.

    Args:
        parser: What gets the options.
        dtype: What the help says of the default.
        memory: The same.

    Returns:
        Their group.
    """
    model = parser.add_argument_group("model, instead of the preset's")
    model.add_argument("--num-levels", type=int, metavar="N")
    model.add_argument("--num-steps", type=int, metavar="N", help="steps of each level")
    model.add_argument(
        "--hidden-channels", type=int, metavar="N", help="width of coupling networks"
    )
    model.add_argument(
        "--coupling", metavar="NAME", help="affine, additive or logistic_mixture"
    )
    model.add_argument(
        "--permutation", metavar="NAME", help="invertible_conv, shuffle or reverse"
    )
    model.add_argument(
        "--scale",
        metavar="NAME",
        help="sigmoid, openai/glow's, or bounded, so that samples do not explode",
    )
    model.add_argument(
        "--dequantization",
        choices=["uniform", "variational"],
        help="variational: a small flow learns the noise (default: uniform)",
    )
    model.add_argument(
        "--dtype",
        choices=PRECISIONS,
        help=f"mixed_bfloat16: coupling networks in bfloat16 (default: {dtype})",
    )
    model.add_argument(
        "--memory",
        choices=["auto", "stored", "reversible"],
        help="reversible: activations are rebuilt and not stored, so that a deep "
        f"model fits; auto chooses by what the machine has (default: {memory})",
    )
    model.add_argument(
        "--unroll",
        action="store_true",
        default=None,
        help="a level's steps follow one another instead of being one loop: longer to "
        "compile, but a loop copies stored activations on a GPU",
    )
    model.add_argument(
        "--num-bits",
        type=int,
        metavar="N",
        help="bits of a value to model (default: those of the data set)",
    )
    return model


def _check_train(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """A training needs a data set and a folder, or goes on with what it began with."""
    if options.strategy == "ray" and options.num_workers is None:
        parser.error("--strategy ray needs --num-workers")
    if options.max_failures < 0:
        parser.error(f"--max-failures must be 0 or more, not {options.max_failures}")
    for name in _WITH_RAY:
        is_given = getattr(options, name) != parser.get_default(name)
        if is_given and options.strategy != "ray":
            parser.error(f"--{name.replace('_', '-')} needs --strategy ray")
    if options.resume is None:
        missing = [
            f"--{name}"
            for name in ("dataset", "output")
            if getattr(options, name) is None
        ]
        if missing:
            parser.error(
                f"the following arguments are required: {', '.join(missing)} (or "
                "--resume)"
            )
        return
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if value != parser.get_default(name) and name not in _WITH_RESUME
    ]
    if given:
        parser.error(
            f"--resume goes on with the options that the run began with: leave "
            f"{', '.join(given)} out"
        )
