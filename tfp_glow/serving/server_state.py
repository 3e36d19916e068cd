"""What all requests share: the models, and how much is going on."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi import Request

from tfp_glow.serving.limits import Limits
from tfp_glow.serving.refused import Refused, shown
from tfp_glow.serving.repository import Repository

__all__ = ["CLIENT_IS_GONE", "ServerState"]

CLIENT_IS_GONE = 499  # nobody reads it, but it is counted

# What curl sends by itself is among them: TensorFlow Serving looks at none.
_CONTENT_TYPES = {
    "",
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
}
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(eq=False)
class ServerState:
    """The state of the server.

    Attributes:
        repository: The models.
        limits: What one request may ask.
        is_draining: Whether the server ends: it refuses new requests.
        num_requests: Requests that are being answered.
    """

    repository: Repository
    limits: Limits
    is_draining: bool = False
    num_requests: int = 0
    _num_bytes: int = 0
    _waiting: dict[asyncio.Task, Request] = field(default_factory=dict)
    _gone: set[asyncio.Task] = field(default_factory=set)

    async def read_body(self, request: Request) -> bytes:
        """Reads a body; `forget_body` has to follow.

        Raises:
            Refused: If it is too long, which is found out before all of it is there, if
                its type is none that is served, if it takes too long, or if all bodies
                together take too much memory.
        """
        content_type = request.headers.get("content-type", "")
        media_type = content_type.partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "identity").lower()
        if media_type not in _CONTENT_TYPES or encoding != "identity":
            kind = media_type if encoding == "identity" else encoding
            raise Refused(
                f"The body must be JSON (Content-Type: application/json), and not "
                f"compressed. Received: {shown(kind)}.",
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            )
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and len(length) < 20:
            self._check(int(length), more=int(length))
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                while True:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise Refused("The client is gone.", CLIENT_IS_GONE)
                    chunk = message.get("body", b"")
                    self._check(len(body) + len(chunk), more=len(chunk))
                    self._num_bytes += len(chunk)
                    body += chunk
                    if not message.get("more_body", False):
                        return bytes(body)
        except BaseException as error:
            self._num_bytes -= len(body)
            if isinstance(error, TimeoutError):
                raise Refused(
                    "The body did not come in time.", HTTPStatus.REQUEST_TIMEOUT
                ) from error
            raise

    def forget_body(self, body: bytes) -> None:
        """Gives back the room of a body that `read_body` returned."""
        self._num_bytes -= len(body)

    @contextmanager
    def room_for(self, num_bytes: int) -> Iterator[None]:
        """Counts a body that has come otherwise among those that are in memory.

        Raises:
            Refused: If all bodies together take too much memory.
        """
        self._check_room(num_bytes)
        self._num_bytes += num_bytes
        try:
            yield
        finally:
            self._num_bytes -= num_bytes

    def _check(self, length: int, *, more: int) -> None:
        if length > self.limits.max_bytes:
            raise Refused(
                f"A body may have {self.limits.max_bytes} bytes.",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        self._check_room(more)

    def _check_room(self, more: int) -> None:
        if self._num_bytes + more > self.limits.max_bytes_together:
            raise Refused(
                "Too many requests: their bodies take too much memory. Try again in a "
                "second.",
                HTTPStatus.TOO_MANY_REQUESTS,
            )

    def watch(self, request: Request) -> None:
        """Has the current task cancelled if its client goes away."""
        task = asyncio.current_task()
        self._waiting[task] = request

    def unwatch(self) -> None:
        """Ends `watch`."""
        self._waiting.pop(asyncio.current_task(), None)

    def was_left(self) -> bool:
        """Whether the current task was cancelled because its client is gone."""
        task = asyncio.current_task()
        if task not in self._gone:
            return False
        self._gone.discard(task)
        task.uncancel()
        return True

    async def drop_gone(self) -> None:
        """Cancels requests whose clients are gone, until it is cancelled itself.

        One task looks at all that have waited for a while, so that a request that is
        answered at once pays nothing for it.
        """
        before: set[asyncio.Task] = set()
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            now = dict(self._waiting)
            for task in before & now.keys():
                with suppress(RuntimeError):  # the answer may be on its way
                    if await now[task].is_disconnected() and task in self._waiting:
                        self._gone.add(task)
                        task.cancel()
            before = set(now)
