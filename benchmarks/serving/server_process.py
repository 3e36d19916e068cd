"""Servers as processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

__all__ = ["ServerProcess", "free_port", "serve", "serve_bare"]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
# Without the allocator that the flow may have chosen here: a server imports no flow.
CHOSEN = {"TF_CPU_ALLOCATOR_USE_BFC", "TF_CPU_BFC_MEM_LIMIT_IN_MB"}
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in CHOSEN} | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}


class ServerProcess:
    """A server of SavedModels, which ends with the `with` block at the latest.

    Attributes:
        port: Of HTTP.
        process: The process, a `subprocess.Popen`.
        seconds_to_start: From the start of the process until it said that it is ready.
    """

    def __init__(
        self, command: Sequence[str], port: int, ready: str, *, timeout: float = 120.0
    ) -> None:
        """Starts it and waits until it is ready.

        Args:
            command: That starts it.
            port: On which it then listens.
            ready: The path that answers 200 when it is ready.
            timeout: Seconds to wait for that.

        Raises:
            RuntimeError: If it ends or takes longer.
        """
        self.port = port
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        started = time.monotonic()
        self.process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            while not self.answers(ready):
                if self.process.poll() is not None:
                    raise RuntimeError(f"{command} ended:\n{self.log()[-3000:]}")
                if time.monotonic() > started + timeout:
                    raise RuntimeError(f"{command} is not ready:\n{self.log()[-3000:]}")
                time.sleep(0.05)
        except BaseException:
            self.kill()
            raise
        self.seconds_to_start = time.monotonic() - started

    def __enter__(self) -> Self:
        """The server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kills what is left of it."""
        self.kill()

    def answers(self, path: str) -> bool:
        """Whether a page answers 200."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status == 200
        except OSError:
            return False

    def terminate(self, timeout: float = 60.0) -> int:
        """Sends SIGTERM and waits.

        Returns:
            The exit status.
        """
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """Sends SIGKILL to it and to its children."""
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in children:
                child.kill()
        self.process.wait()

    def resident_megabytes(self) -> float:
        """Its memory and that of its children, in MB of 10^6 bytes."""
        process = psutil.Process(self.process.pid)
        every = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in every) / 1e6

    def log(self) -> str:
        """What it has printed so far."""
        self._log.seek(0)
        return self._log.read()


def serve(
    folder: Path, *options: str, port: int | None = None, before: Sequence[str] = ()
) -> ServerProcess:
    """Starts `tfp-glow serve`.

    Args:
        folder: That holds `NAME/VERSION/`.
        *options: Of the command.
        port: A free one when not given.
        before: A command that starts another, such as strace.

    Returns:
        The server, which is ready.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "tfp_glow.cli", "serve", str(folder)]
    command += ["--port", str(port), *options]
    return ServerProcess([*before, *command], port, "/v2/health/ready")


def serve_bare(folder: Path) -> ServerProcess:
    """Starts `bare_server.py` for the only model of a folder."""
    port = free_port()
    command = [sys.executable, str(FOLDER / "bare_server.py"), str(folder), str(port)]
    return ServerProcess(command, port, "/openapi.json")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
