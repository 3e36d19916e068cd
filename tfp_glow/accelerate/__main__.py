"""`python -m tfp_glow.accelerate`: the commands. Nothing here imports TensorFlow."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tfp_glow.cli import end_process, run_command
from tfp_glow.cli.options import (
    PRECISIONS,
    add_data_dir,
    add_limit,
    add_seed,
    positive_integer,
)
from tfp_glow.cli.parser import Parser
from tfp_glow.cli.train_options import add_model, add_recipe

PROGRAM = "python -m tfp_glow.accelerate"
_EXAMPLES = """\
examples:
  python -m tfp_glow.accelerate export cifar10 bundle
  python -m tfp_glow.accelerate data cifar10 images
  python bundle/run.py images --minutes 9               with JAX, without TensorFlow
  python bundle/run.py images --minutes 9 --resume
  python -m tfp_glow.accelerate import bundle runs/cifar10
  tfp-glow evaluate runs/cifar10
"""
_DEFAULTS = {"dtype": PRECISIONS[-1], "memory": "stored"}
"""Of `export`: of the machine that trains nothing is known here."""

_MODULES = {
    "export": "export_training",
    "data": "image_pieces",
    "run": "run_bundle",
    "import": "import_run",
}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = Parser(
        prog=PROGRAM,
        description="Train where there is an accelerator and JAX, but no TensorFlow.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_commands()

    export = add("export", "write a training as StableHLO, and what runs it")
    export.add_argument("preset", metavar="PRESET", help="see `tfp-glow presets`")
    _add_bundle(export)
    export.add_argument(
        "--dataset", metavar="NAME", help="data set (default: the preset's)"
    )
    add_data_dir(export)
    export.add_argument(
        "--image-size", type=positive_integer, metavar="N", help="of a folder's squares"
    )
    add_seed(export, "of weights, noise and order of images")
    export.add_argument(
        "--steps-a-call",
        type=positive_integer,
        default=50,
        metavar="N",
        help="steps in one call to the device (default: %(default)s)",
    )
    export.add_argument(
        "--overwrite", action="store_true", help="replace the bundle in BUNDLE"
    )
    add_recipe(export)
    add_model(export, **_DEFAULTS)
    export.set_defaults(
        **_DEFAULTS,
        crop="center",  # as `data` does
        # What `train` has besides, as it is where nobody typed anything.
        limit=None,
        num_noise_samples=1,
        guard=False,
        conditional=False,
        weight_y=None,
    )

    images = add("data", "write the images of a data set in pieces of 60 MB at most")
    images.add_argument("dataset", metavar="NAME", help="as `tfp-glow train` takes it")
    images.add_argument("folder", type=Path, metavar="DATA", help="folder to write")
    add_data_dir(images)
    images.add_argument(
        "--image-size", type=positive_integer, metavar="N", help="of a folder's squares"
    )
    add_limit(images, "the first N images of each split only")
    images.add_argument(
        "--with-validation",
        action="store_true",
        help="train on the validation images too, as the paper did",
    )
    images.add_argument(
        "--overwrite", action="store_true", help="replace the images in DATA"
    )

    # What is typed behind it is the bundle's own program's.
    add("run", "run BUNDLE/run.py, which needs JAX alone")

    back = add("import", "make a run folder of what a bundle's training left")
    _add_bundle(back)
    back.add_argument("run_folder", type=Path, metavar="RUN", help="run to write")
    back.add_argument(
        "--result",
        type=Path,
        metavar="DIR",
        help="--output of the training (default: BUNDLE/result)",
    )
    back.add_argument("--overwrite", action="store_true", help="replace the run in RUN")
    return parser


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of it all")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command, and returns the exit status as `tfp_glow.cli.main` does."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["run"]:
        parsed = argparse.Namespace(command="run", rest=arguments[1:])
    else:
        parsed = make_parser().parse_args(arguments)
    module = f"tfp_glow.accelerate.{_MODULES[parsed.command]}"
    needs_flow = parsed.command != "run"
    return run_command(PROGRAM, module, parsed, needs_flow=needs_flow)


if __name__ == "__main__":
    end_process(main())
