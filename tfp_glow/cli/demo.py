"""`tfp-glow demo`: a page on which people play with a model."""

import argparse
from math import prod
from typing import TYPE_CHECKING

from tfp_glow._extras import require
from tfp_glow.cli.inference import load_held_out
from tfp_glow.cli.listening import listening_socket
from tfp_glow.cli.run_folder import Run, load_run
from tfp_glow.latents import AttributeDirections

if TYPE_CHECKING:
    from tfp_glow.demo.studio import Studio

__all__ = ["run"]

_NUM_EXAMPLES = 64  # of which the page shows some, and which tell what is usual
_NUM_LARGE = 16  # where an image takes long


def run(arguments: argparse.Namespace) -> None:
    """Starts the page and says where it is; ends with Ctrl-C.

    Args:
        arguments: The options of the command.

    Raises:
        FileNotFoundError: If there is no run, or its data set is gone.
        ImportError: If Gradio is missing.
        OSError: If the port is taken.
        ValueError: If there is no model of that name, the page has no place for it, or
            a file is damaged.
    """
    require("gradio", "The page", extra="demo")
    from tfp_glow.demo.server import serve

    with listening_socket(arguments.host, arguments.port) as sock:
        studio = _studio(arguments)
        host, port = sock.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        print(f"http://{host}:{port} (Ctrl-C ends it)", flush=True)
        serve(studio, sock)


def _studio(arguments: argparse.Namespace) -> "Studio":
    from tfp_glow.demo.studio import Studio

    if arguments.pretrained is not None:
        from tfp_glow import pretrained

        of_runs = ("attributes", "dataset", "split", "data_dir")
        if given := [name for name in of_runs if getattr(arguments, name) is not None]:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(
                "A pretrained model comes with its own images and directions: leave "
                f"{options} out, or name a run folder."
            )

        known = pretrained.load(arguments.pretrained)
        return Studio(
            known.model,
            arguments.pretrained,
            known.images[:_NUM_EXAMPLES],
            labels=known.labels[:_NUM_EXAMPLES],
            class_names=known.class_names,
            directions=known.directions,
        )
    trained = load_run(arguments.run_folder)
    is_large = prod(trained.model.event_shape[:2]) > 64 * 64
    arguments.limit = _NUM_LARGE if is_large else _NUM_EXAMPLES
    held_out = load_held_out(trained, arguments)
    return Studio(
        trained.model,
        trained.path.resolve().name,
        held_out.images,
        labels=held_out.labels,
        class_names=trained.config.get("class_names", ()),
        directions=_directions(trained, arguments),
    )


def _directions(
    trained: Run, arguments: argparse.Namespace
) -> AttributeDirections | None:
    file = arguments.attributes or trained.path / "attributes.npz"
    if arguments.attributes is None and not file.is_file():
        return None
    directions = AttributeDirections.load(file)
    expected = prod(trained.model.event_shape)
    if directions.vectors.shape[-1] != expected:
        raise ValueError(
            f"{file} is of another model: its directions have "
            f"{directions.vectors.shape[-1]:,} numbers, and a latent of {trained.path} "
            f"has {expected:,}."
        )
    return directions
