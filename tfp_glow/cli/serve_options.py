"""The options of `tfp-glow serve`. Nothing here imports TensorFlow."""

import argparse
from pathlib import Path

from tfp_glow.cli.options import port, positive_integer, positive_number

__all__ = ["add_serve"]


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="folder with NAME/VERSION/ in it, as `export` writes it, or a SavedModel",
    )
    listening = parser.add_argument_group("where it listens")
    listening.add_argument(
        "--host",
        default="127.0.0.1",
        help="address; 0.0.0.0 for the whole network, which then needs something in "
        "front that asks who is there (default: %(default)s, this machine alone)",
    )
    listening.add_argument(
        "--port",
        type=port,
        default=8501,
        metavar="N",
        help="port for HTTP; 0 for any that is free (default: %(default)s)",
    )
    listening.add_argument(
        "--grpc-port",
        type=port,
        metavar="N",
        help="port for gRPC, such as 8500 (default: no gRPC)",
    )
    listening.add_argument(
        "--allow-origin",
        action="append",
        metavar="URL",
        help="a web page's origin, such as http://localhost:8000, that may ask this "
        "server from a browser; may be repeated (default: none)",
    )

    models = parser.add_argument_group("models")
    models.add_argument(
        "--name",
        help="name of the model where DIR holds one (default: that of the folder)",
    )
    models.add_argument(
        "--num-versions",
        type=positive_integer,
        default=2,
        metavar="N",
        help="versions of a model that are served (default: the newest %(default)s)",
    )
    models.add_argument(
        "--poll-seconds",
        type=positive_number,
        default=1.0,
        metavar="S",
        help="how often DIR is looked at for new versions (default: %(default)g)",
    )

    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-rows",
        type=positive_integer,
        default=256,
        metavar="N",
        help="rows (images, samples) of a request (default: %(default)s)",
    )
    limits.add_argument(
        "--max-bytes",
        type=positive_integer,
        default=8 * 2**20,
        metavar="N",
        help="bytes of a request's body (default: %(default)s)",
    )
    limits.add_argument(
        "--max-queue",
        type=positive_integer,
        default=1024,
        metavar="N",
        help="rows that may wait for a model; who comes when as many do is told to "
        "come again, with status 429 (default: %(default)s)",
    )
    limits.add_argument(
        "--timeout",
        type=positive_number,
        default=30.0,
        metavar="S",
        help="seconds within which a request is answered or given up "
        "(default: %(default)g)",
    )
    limits.add_argument(
        "--grace-seconds",
        type=positive_number,
        default=30.0,
        metavar="S",
        help="seconds that requests may take after SIGTERM (default: %(default)g)",
    )

    batching = parser.add_argument_group("batching")
    batching.add_argument(
        "--max-batch",
        type=positive_integer,
        default=32,
        metavar="N",
        help="rows of concurrent requests that are computed together "
        "(default: %(default)s)",
    )
    batching.add_argument(
        "--no-batching", action="store_true", help="compute each request alone"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="print a line for each request"
    )
