"""`tfp-glow serve`: a server for exported models."""

import argparse
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tfp_glow.cli.listening import listening_socket

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Serves until a signal ends it.

    Args:
        arguments: The options of the command.

    Returns:
        The exit status: 0, or 1 where requests were given up at the end.

    Raises:
        ImportError: If the extra `serve` is not installed.
        OSError: If a port is taken, or there is no model.
        ValueError: If no model can be loaded.
    """
    if not arguments.directory.is_dir():
        raise FileNotFoundError(
            f"{arguments.directory} is no folder. Name one with models, as `tfp-glow "
            "export RUN DIR` writes it."
        )
    with listening_socket(arguments.host, arguments.port) as sock:
        try:
            with _without_garbage_collection():
                from tfp_glow.serving.folder import ModelFolder
                from tfp_glow.serving.limits import Limits
                from tfp_glow.serving.repository import is_loading
                from tfp_glow.serving.server import Options, serve
        except ImportError as error:
            raise ImportError(
                f"`tfp-glow serve` needs KServe, which cannot be imported ({error}). "
                'Install it with: pip install "tfp-glow[serve]"'
            ) from error
        folder = ModelFolder(arguments.directory, arguments.name)
        limits = Limits(
            max_rows=arguments.max_rows,
            max_bytes=arguments.max_bytes,
            max_queue=arguments.max_queue,
            max_batch=arguments.max_batch,
            seconds=arguments.timeout,
            batching=not arguments.no_batching,
        )
        options = Options(
            sock=sock,
            grpc_port=arguments.grpc_port,
            origins=arguments.allow_origin or (),
            poll_seconds=arguments.poll_seconds,
            num_versions=arguments.num_versions,
            grace_seconds=arguments.grace_seconds,
            verbose=arguments.verbose,
        )
        status = serve(folder, limits, options)
    if status or is_loading():  # what nobody waits for
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Imports make many objects that stay: to look at them all again takes long."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
