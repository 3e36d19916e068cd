"""The process: starts the server, and ends it in good order."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn

from tfp_glow.serving.folder import ModelFolder
from tfp_glow.serving.grpc_service import make_grpc_server
from tfp_glow.serving.http_protocol import HttpProtocol
from tfp_glow.serving.limits import Limits
from tfp_glow.serving.repository import Repository
from tfp_glow.serving.rest import GlowDataPlane, make_application
from tfp_glow.serving.server_state import ServerState

__all__ = ["Options", "serve"]

_SECONDS_TO_SAY_SO = 0.5


@dataclass(frozen=True)
class Options:
    """How a server listens and ends.

    Attributes:
        sock: A socket that listens, for HTTP.
        grpc_port: Port for gRPC at the same address, if there is to be any.
        origins: Addresses of web pages that may ask.
        poll_seconds: How often the folder is looked at.
        num_versions: How many versions of a model are served.
        grace_seconds: How long requests may take that are there when it ends.
        verbose: Whether each request is printed.
    """

    sock: socket.socket
    grpc_port: int | None = None
    origins: Sequence[str] = ()
    poll_seconds: float = 1.0
    num_versions: int = 2
    grace_seconds: float = 30.0
    verbose: bool = False


def serve(folder: ModelFolder, limits: Limits, options: Options) -> int:
    """Serves the models of a folder until SIGTERM or SIGINT.

    Args:
        folder: Where models are.
        limits: What one request may ask.
        options: How it listens and ends.

    Returns:
        The exit status: 0; 1 where requests were given up at the end.

    Raises:
        OSError: If the port for gRPC is taken, or there is no model.
        ValueError: If no model can be loaded.
    """
    _log(verbose=options.verbose)
    config = uvicorn.Config(
        app=None,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=options.verbose,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=65,  # longer than proxies keep a connection
        timeout_graceful_shutdown=5,  # on top of ours, to send the last bytes
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        return runner.run(_serve(folder, limits, options, config))


async def _serve(
    folder: ModelFolder, limits: Limits, options: Options, config: uvicorn.Config
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    repository = Repository(folder, limits, num_versions=options.num_versions)
    state = ServerState(repository, limits)
    data_plane = GlowDataPlane(repository)
    config.app = make_application(state, data_plane, options.origins)
    host, port = options.sock.getsockname()[:2]
    where, grpc_server = f"http://{f'[{host}]' if ':' in host else host}:{port}", None
    if options.grpc_port is not None:
        grpc_server, port = make_grpc_server(state, data_plane, host, options.grpc_port)
        await grpc_server.start()
        where += f", and gRPC at port {port}"
    http_server = _HttpServer(config)
    listening = asyncio.create_task(http_server.serve(sockets=[options.sock]))
    # It listens while models are loaded, and answers that it is not ready.
    loading = asyncio.create_task(repository.load_all())
    stopping = asyncio.create_task(stop.wait())
    tasks = [loading, stopping, asyncio.create_task(state.drop_gone())]
    try:
        await _first_of(loading, stopping, listening)
        if loading.done():
            _freeze()
            print(f"Serving {_shown_models(repository)} at {where}", flush=True)
            tasks.append(asyncio.create_task(repository.watch(options.poll_seconds)))
            await _first_of(stopping, listening)
        return await _drain(state, http_server, grpc_server, options.grace_seconds)
    finally:
        http_server.should_exit = True
        for task in tasks:
            task.cancel()
        if grpc_server is not None:
            await grpc_server.stop(0)
        await asyncio.gather(listening, *tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await repository.close()


async def _first_of(*tasks: asyncio.Task) -> None:
    """Waits for one of the tasks; raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _drain(
    state: ServerState,
    http_server: "_HttpServer",
    grpc_server: Any,
    seconds: float,
) -> int:
    """Refuses new requests, and waits for the answers of those that are there.

    Connections that are open without a request are left so for a moment: who has just
    sent one on them is told that the server ends, and does not find a closed door.
    """
    state.is_draining = True
    http_server.stop_listening()
    ending = []
    if grpc_server is not None:
        ending.append(asyncio.create_task(grpc_server.stop(seconds)))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.sleep(_SECONDS_TO_SAY_SO)
            while state.num_requests:
                await asyncio.sleep(0.02)
    num_given_up = state.num_requests
    await asyncio.gather(*ending)
    if num_given_up:
        _logger.error(
            "%d requests had no answer after %g seconds.", num_given_up, seconds
        )
    return 1 if num_given_up else 0


class _HttpServer(uvicorn.Server):
    """uvicorn's server, which leaves signals to us."""

    def capture_signals(self) -> Any:
        return nullcontext()

    def stop_listening(self) -> None:
        for server in getattr(self, "servers", []):
            server.close()


_logger = logging.getLogger("tfp_glow.serving")


def _log(*, verbose: bool) -> None:
    """Prints our messages, and those of uvicorn and KServe that tell of trouble."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name in ("tfp_glow.serving", "uvicorn", "kserve"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel("WARNING" if name == "tfp_glow.serving" else "ERROR")
    if verbose:
        access = logging.getLogger("uvicorn.access")
        access.setLevel("INFO")


def _freeze() -> None:
    """Takes what lives now, and stays, out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()


def _shown_models(repository: Repository) -> str:
    return ", ".join(
        f"{name} (version {', '.join(map(str, sorted(model.versions)))})"
        for name, model in sorted(repository.models.items())
    )
