"""The options of every command. Nothing here imports TensorFlow."""

import argparse
import math
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NoReturn

from tfp_glow._suggest import suggestion
from tfp_glow.version import __version__

__all__ = ["make_parser"]

_EXAMPLES = """\
examples:
  tfp-glow train --dataset digits --output runs/digits
  tfp-glow evaluate runs/digits
  tfp-glow sample runs/digits --temperature 0.8
  tfp-glow check runs/digits
  tfp-glow export runs/digits exported/digits
  tfp-glow import-openai LOGDIR runs/imported --image-size 32

`tfp-glow COMMAND --help` shows the options of a command. Set TFP_GLOW_DEBUG=1 to see
where an error comes from.
"""

_PRECISIONS = ["float32", "float64", "mixed_bfloat16"]


class _Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors say what a misspelled word may have been."""

    commands: Collection[str] = ()
    """Names of the subcommands, where there are any."""
    check: Callable[["_Parser", argparse.Namespace], None] | None = None
    """Looks at what was parsed, and may call `error`."""

    def parse_known_args(
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parses; what a command does not know is an error of that command's parser."""
        self._received = list(sys.argv[1:] if args is None else args)
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        if self.check is not None:
            self.check(self, namespace)
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Exits with status 2.

        The misspelled word is looked for in what was typed, not in `message`: where a
        required option is misspelled, argparse speaks of a missing one alone.
        """
        for received in self._received:
            name = received.split("=")[0]
            is_option = name.startswith("--")
            known = self._option_string_actions if is_option else self.commands
            if name not in known and (hint := suggestion(name, known)):
                super().error(f"{message}.{hint}")
        super().error(message)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    parser = _Parser(
        prog="tfp-glow",
        description="Glow normalizing flows: train, measure, sample, export.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, title="commands"
    )

    parser.commands = commands.choices

    def add(name: str, help: str) -> argparse.ArgumentParser:
        # Not `capitalize`, which would change the names in it.
        description = f"{help[0].upper()}{help[1:]}."
        return commands.add_parser(
            name, help=help, description=description, allow_abbrev=False
        )

    _add_train(add("train", "train a model on a data set into a run folder"))

    evaluate = add("evaluate", "measure bits/dim of a run on held-out images")
    _add_run(evaluate)
    _add_held_out(evaluate)
    _add_num_noise_samples(evaluate)
    _add_limit(evaluate, "measure on the first N images only")
    evaluate.add_argument(
        "--dtype",
        choices=_PRECISIONS,
        help="precision of the computation (default: that of the run)",
    )
    _add_seed(evaluate, "of the noise")
    evaluate.add_argument("--json", action="store_true", help="print JSON")

    sample = add("sample", "draw new images from a run, as a PNG and a .npy file")
    _add_run(sample)
    sample.add_argument(
        "--num-samples",
        type=_positive_integer,
        default=64,
        metavar="N",
        help="how many images (default: %(default)s)",
    )
    sample.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        metavar="T",
        help="standard deviation of the latents: lower looks cleaner and varies less "
        "(default: %(default)s)",
    )
    sample.add_argument(
        "--label",
        metavar="NAME",
        help="class, by its name or number, for a class-conditional run",
    )
    _add_seed(sample, "of the images")
    sample.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the PNG file; the .npy file lies beside it (default: in the run folder)",
    )
    sample.add_argument(
        "--overwrite", action="store_true", help="replace the files of --output"
    )

    export = add("export", "write a SavedModel that plain TensorFlow loads and serves")
    _add_run(export)
    export.add_argument("directory", type=Path, metavar="DIR", help="folder to write")
    export.add_argument(
        "--overwrite", action="store_true", help="replace a SavedModel in DIR"
    )

    check = add("check", "tell whether a run can be inverted, part by part")
    _add_run(check)
    _add_held_out(check)
    check.add_argument(
        "--limit",
        type=_positive_integer,
        default=256,
        metavar="N",
        help="images to encode and decode (default: %(default)s)",
    )
    check.add_argument(
        "--num-samples",
        type=_positive_integer,
        default=64,
        metavar="N",
        help="samples to draw, at temperature 1 (default: %(default)s)",
    )
    _add_seed(check, "of the samples")
    check.add_argument("--json", action="store_true", help="print JSON")

    openai = add("import-openai", "make a run of a checkpoint of openai/glow")
    openai.add_argument(
        "checkpoint", type=Path, metavar="DIR", help="folder of the checkpoint"
    )
    openai.add_argument("run_folder", type=Path, metavar="RUN", help="run to write")
    openai.add_argument(
        "--image-size",
        type=_positive_integer,
        required=True,
        metavar="N",
        help="height and width of the images; like the next two it is not in the "
        "checkpoint, and cannot be checked: another one gives wrong likelihoods",
    )
    openai.add_argument(
        "--num-bits",
        type=_positive_integer,
        default=8,
        metavar="N",
        help="bits of a value, --n_bits_x of openai/glow (default: %(default)s)",
    )
    openai.add_argument(
        "--weight-y",
        type=float,
        default=0.0,
        metavar="X",
        help="weight of the classifier's loss in further training; the classifier is "
        "imported in any case (default: %(default)s)",
    )
    openai.add_argument(
        "--use-ema",
        action="store_true",
        help="take the moving averages of the variables",
    )
    openai.add_argument(
        "--dataset", metavar="NAME", help="data set to measure the run on"
    )
    _add_data_dir(openai)
    openai.add_argument(
        "--overwrite", action="store_true", help="replace the run in RUN"
    )

    add("presets", "list the models that `train --preset` knows")
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
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
        "and --output: all other options are those that it began with",
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
    _add_data_dir(parser)
    parser.add_argument(
        "--image-size",
        type=_positive_integer,
        metavar="N",
        help="of pictures of any size: cut a square out of each and resize it to N x N",
    )
    parser.add_argument(
        "--crop",
        metavar="NAME",
        help="center, the square in the middle, or random, of two thirds of the "
        "shorter side, anywhere in training pictures (default: the preset's)",
    )
    _add_limit(parser, "train on the first N images only, for a quick try")
    _add_seed(parser, "of weights, noise and order of images")
    _add_num_noise_samples(parser)
    parser.add_argument(
        "--save-minutes",
        type=_positive_number,
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

    training = parser.add_argument_group("training, instead of the preset's")
    training.add_argument("--epochs", type=_positive_integer, metavar="N")
    training.add_argument("--batch-size", type=_positive_integer, metavar="N")
    training.add_argument("--learning-rate", type=_positive_number, metavar="X")
    training.add_argument(
        "--decay",
        choices=["cosine", "constant"],
        help="what becomes of the learning rate after the warm-up",
    )
    training.add_argument(
        "--clip-norm",
        type=_positive_number,
        metavar="X",
        help="largest norm of the gradient of all weights together; history.csv has "
        "its mean, gradient_norm",
    )

    training.add_argument(
        "--no-guard",
        dest="guard",
        action="store_const",
        const=False,
        help="neither skip steps whose loss or gradient blows up nor go back to good "
        "weights after several of them",
    )

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
        choices=_PRECISIONS,
        help="mixed_bfloat16: coupling networks in bfloat16 (default: float32)",
    )
    model.add_argument(
        "--memory",
        choices=["auto", "stored", "reversible"],
        help="reversible: activations are rebuilt and not stored, so that a deep "
        "model fits; auto, the default, chooses by what the machine has",
    )
    model.add_argument(
        "--num-bits",
        type=int,
        metavar="N",
        help="bits of a value to model (default: those of the data set)",
    )
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


def _check_train(parser: _Parser, options: argparse.Namespace) -> None:
    """A training needs a data set and a folder, or goes on with what it began with."""
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


_WITH_RESUME = ("resume", "data_dir", "quiet", "save_minutes")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folder",
        type=Path,
        metavar="RUN",
        help="what `train --output` or `import-openai` wrote",
    )


def _add_held_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", metavar="NAME", help="data set (default: that of the run)"
    )
    parser.add_argument("--split", help="split of the data set (default: test)")
    _add_data_dir(parser)


def _add_num_noise_samples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-noise-samples",
        type=_positive_integer,
        default=1,
        metavar="K",
        help="draws of noise for an image, whose probabilities are averaged: "
        "more give a tighter bound (default: %(default)s)",
    )


def _add_limit(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--limit", type=_positive_integer, metavar="N", help=help)


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of prepared TensorFlow Datasets"
    )


def _add_seed(parser: argparse.ArgumentParser, purpose: str) -> None:
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help=f"seed {purpose} (default: %(default)s)",
    )


def _positive_integer(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return value


def _seed(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**30:  # The noise of a seed uses twice its value, as an int32.
        raise argparse.ArgumentTypeError(f"must be from 0 to 2**30 - 1, not {text!r}")
    return value


def _positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value
