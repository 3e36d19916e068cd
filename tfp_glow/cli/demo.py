"""`tfp-glow demo`: a page on which people play with a run's model."""

import argparse
from pathlib import Path

import numpy as np

from tfp_glow.cli.inference import load_held_out
from tfp_glow.cli.run_folder import Run, load_run
from tfp_glow.data.sources import require
from tfp_glow.latents import AttributeDirections

__all__ = ["run"]

_NUM_EXAMPLES = 64  # of which the page shows some, and which tell what is usual


def run(arguments: argparse.Namespace) -> None:
    """Starts the page and says where it is; ends with Ctrl-C.

    Args:
        arguments: The options of the command.

    Raises:
        FileNotFoundError: If there is no run, or its data set is gone.
        ImportError: If Gradio is missing.
        OSError: If the port is taken.
        ValueError: If the run or a file of attributes is damaged.
    """
    require("gradio", "The page", extra="demo")
    from tfp_glow.demo.server import bind, serve
    from tfp_glow.demo.studio import Studio

    bound = bind(arguments.host, arguments.port)
    with bound:
        trained = load_run(arguments.run_folder)
        limited = argparse.Namespace(**{**vars(arguments), "limit": _NUM_EXAMPLES})
        held_out = load_held_out(trained, limited)
        studio = Studio(
            trained.model,
            trained.path.resolve().name,
            held_out.images,
            labels=held_out.labels if trained.model.glow.num_classes else None,
            class_names=trained.config.get("class_names", []),
            directions=_directions(trained, arguments.attributes),
        )
        host, port = bound.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        print(f"http://{host}:{port}  (Ctrl-C ends it)", flush=True)
        serve(studio, bound)


def _directions(trained: Run, file: Path | None) -> AttributeDirections | None:
    known = file or trained.path / "attributes.npz"
    if file is None and not known.is_file():
        return None
    directions = AttributeDirections.load(known)
    if directions.vectors.shape[-1] != np.prod(trained.model.event_shape):
        raise ValueError(
            f"{known} is of another model: its directions have "
            f"{directions.vectors.shape[-1]:,} numbers, and a latent of "
            f"{trained.path} has {np.prod(trained.model.event_shape):,}."
        )
    return directions
