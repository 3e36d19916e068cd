"""The options of the commands that work with latents. No TensorFlow here either."""

import argparse
from pathlib import Path

from tfp_glow.cli.options import (
    add_data_dir,
    add_held_out,
    add_limit,
    add_output,
    add_run,
    port,
    positive_number,
)

__all__ = [
    "NUM_STEPS",
    "add_attributes",
    "add_demo",
    "add_interpolate",
    "add_manipulate",
]

NUM_STEPS = 9
"""Images of a strip, unless there is `--steps`."""

_PICTURE = "a file, or the number of a held-out image of the data set"
_STRIP = "the PNG file of all images (default: in the run folder)"


def add_interpolate(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tfp-glow interpolate`."""
    add_run(parser)
    parser.add_argument("first", metavar="A", help=f"the first picture: {_PICTURE}")
    parser.add_argument("last", metavar="B", help="the last picture, likewise")
    parser.add_argument(
        "--spherical",
        action="store_true",
        help="along the arc between the latents instead of the straight line",
    )
    _add_steps(parser)
    _add_levels(parser)
    _add_label(parser)
    add_held_out(parser)
    _add_outputs(parser, _STRIP)


def add_attributes(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tfp-glow attributes`."""
    parser.check = _check_attributes
    add_run(parser)
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set whose attributes, as of celeb_a, or else classes these are "
        "(default: that of the run)",
    )
    parser.add_argument(
        "--split", default="train", help="split of the data set (default: %(default)s)"
    )
    add_data_dir(parser)
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="instead of a data set: a table with a heading, whose first column names "
        "picture files and whose others are attributes, above 0 where a picture has "
        "one (such as CelebA's list_attr_celeba.csv)",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder of the pictures of --csv (default: that of the table)",
    )
    add_limit(parser, "use the first N images only")
    _add_outputs(
        parser,
        "the PNG file; the .npz file of the directions lies beside it (default: "
        "attributes.png in the run folder, where `manipulate` looks for them)",
    )


def add_manipulate(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tfp-glow manipulate`."""
    add_run(parser)
    parser.add_argument("image", metavar="IMAGE", help=f"the picture: {_PICTURE}")
    parser.add_argument(
        "--attribute", required=True, metavar="NAME", help="one that `attributes` found"
    )
    _add_attributes_file(parser)
    parser.add_argument(
        "--strength",
        type=positive_number,
        default=1.0,
        metavar="X",
        help="how far to go: from -X to X times the direction (default: %(default)s)",
    )
    _add_steps(parser)
    _add_levels(parser)
    _add_label(parser)
    add_held_out(parser)
    _add_outputs(parser, _STRIP)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tfp-glow demo`."""
    model = parser.add_mutually_exclusive_group(required=True)
    add_run(model, nargs="?")
    model.add_argument(
        "--pretrained",
        metavar="NAME",
        help="instead of a run, a model that comes with the package: digits or fashion",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; others than this computer's own let the network in "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=port,
        default=7860,
        help="port; 0 takes any that is free (default: %(default)s)",
    )
    _add_attributes_file(parser)
    add_held_out(parser)


def _add_attributes_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--attributes",
        type=Path,
        metavar="FILE",
        help=".npz file of `attributes` (default: attributes.npz in the run folder)",
    )


def _add_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps",
        type=_at_least_two,
        default=NUM_STEPS,
        metavar="N",
        help="how many images (default: %(default)s)",
    )


def _add_levels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--levels",
        type=int,
        nargs="+",
        metavar="N",
        help="change these levels only: 0 is the finest, -1 the coarsest (default: "
        "all)",
    )


def _add_label(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="class, by its name or number, of what comes from files, for a "
        "class-conditional run",
    )


def _add_outputs(parser: argparse.ArgumentParser, description: str) -> None:
    add_output(parser, description)
    parser.add_argument("--gif", action="store_true", help="write a GIF file beside it")
    parser.add_argument(
        "--mp4",
        action="store_true",
        help="write an MP4 file beside it; needs the extra `video`",
    )


def _check_attributes(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    if options.pictures is not None and options.csv is None:
        parser.error("--pictures needs --csv")


def _at_least_two(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, not {text!r}")
    return value
