"""The options of every command. Nothing here imports TensorFlow."""

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NoReturn

from tfp_glow._suggest import suggestion
from tfp_glow.cli.latent_options import (
    add_attributes,
    add_demo,
    add_interpolate,
    add_manipulate,
)
from tfp_glow.cli.options import (
    EXPORT_PRECISIONS,
    NUM_SAMPLES,
    PRECISIONS,
    add_data_dir,
    add_held_out,
    add_limit,
    add_num_noise_samples,
    add_output,
    add_run,
    add_seed,
    model_name,
    positive_integer,
)
from tfp_glow.cli.serve_options import add_serve
from tfp_glow.cli.train_options import add_train
from tfp_glow.version import __version__

__all__ = ["Parser", "make_parser"]

_EXAMPLES = """\
examples:
  tfp-glow train --dataset digits --output runs/digits
  tfp-glow evaluate runs/digits
  tfp-glow sample runs/digits --temperature 0.8
  tfp-glow interpolate runs/digits 0 1 --gif
  tfp-glow demo runs/digits
  tfp-glow check runs/digits
  tfp-glow export runs/digits models
  tfp-glow serve models --port 8501
  tfp-glow import-openai LOGDIR runs/imported --image-size 32

`tfp-glow COMMAND --help` shows the options of a command. Set TFP_GLOW_DEBUG=1 to see
where an error comes from.
"""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors say what a misspelled word may have been."""

    commands: Collection[str] = ()
    """Names of the subcommands, where there are any."""
    check: Callable[["Parser", argparse.Namespace], None] | None = None
    """Looks at what was parsed, and may call `error`."""

    def add_commands(self) -> Callable[..., "Parser"]:
        """Lets the parser have subcommands; returns what adds one, by name and help."""
        commands = self.add_subparsers(
            dest="command", metavar="COMMAND", required=True, title="commands"
        )
        self.commands = commands.choices

        def add(name: str, help: str, **kwargs: bool) -> Parser:
            # Not `capitalize`, which would change the names in it.
            description = f"{help[0].upper()}{help[1:]}."
            return commands.add_parser(
                name, help=help, description=description, allow_abbrev=False, **kwargs
            )

        return add

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
    parser = Parser(
        prog="tfp-glow",
        description="Glow normalizing flows: train, measure, sample, export, serve.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    add = parser.add_commands()

    add_train(add("train", "train a model on a data set into a run folder"))

    evaluate = add("evaluate", "measure bits/dim of a run on held-out images")
    add_run(evaluate)
    add_held_out(evaluate)
    add_num_noise_samples(evaluate)
    add_limit(evaluate, "measure on the first N images only")
    evaluate.add_argument(
        "--dtype",
        choices=PRECISIONS,
        help="precision of the computation (default: that of the run)",
    )
    add_seed(evaluate, "of the noise")
    evaluate.add_argument("--json", action="store_true", help="print JSON")

    sample = add("sample", "draw new images from a run, as a PNG and a .npy file")
    add_run(sample)
    sample.add_argument(
        "--num-samples",
        type=positive_integer,
        default=NUM_SAMPLES,
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
    add_seed(sample, "of the images")
    add_output(
        sample,
        "the PNG file; the .npy file lies beside it (default: in the run folder)",
    )

    export = add("export", "write a SavedModel that plain TensorFlow loads and serves")
    add_run(export)
    export.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="folder of served models, to write DIR/NAME/VERSION into",
    )
    export.add_argument(
        "--name",
        type=model_name,
        help="what clients call the model (default: the name of the run folder)",
    )
    export.add_argument(
        "--precision",
        choices=EXPORT_PRECISIONS,
        help="what coupling networks compute in (default: as the run's)",
    )
    export.add_argument(
        "--merge",
        action="store_true",
        help="store matrices, their inverses and scaled kernels, so that no request "
        "computes them",
    )

    add_serve(add("serve", "serve exported models over HTTP and gRPC"))

    check = add("check", "tell whether a run can be inverted, part by part")
    add_run(check)
    add_held_out(check)
    check.add_argument(
        "--limit",
        type=positive_integer,
        default=256,
        metavar="N",
        help="images to encode and decode (default: %(default)s)",
    )
    check.add_argument(
        "--num-samples",
        type=positive_integer,
        default=64,
        metavar="N",
        help="samples to draw, at temperature 1 (default: %(default)s)",
    )
    add_seed(check, "of the samples")
    check.add_argument("--json", action="store_true", help="print JSON")

    add_interpolate(add("interpolate", "go from one picture to another"))
    add_attributes(add("attributes", "find the directions of attributes in latents"))
    add_manipulate(add("manipulate", "give a picture more or less of an attribute"))

    add_demo(add("demo", "play with a model on a page in the browser"))

    openai = add("import-openai", "make a run of a checkpoint of openai/glow")
    openai.add_argument(
        "checkpoint", type=Path, metavar="DIR", help="folder of the checkpoint"
    )
    openai.add_argument("run_folder", type=Path, metavar="RUN", help="run to write")
    openai.add_argument(
        "--image-size",
        type=positive_integer,
        required=True,
        metavar="N",
        help="height and width of the images; like the next two it is not in the "
        "checkpoint, and cannot be checked: another one gives wrong likelihoods",
    )
    openai.add_argument(
        "--num-bits",
        type=positive_integer,
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
    add_data_dir(openai)
    openai.add_argument(
        "--overwrite", action="store_true", help="replace the run in RUN"
    )

    add("presets", "list the models that `train --preset` knows")
    return parser
