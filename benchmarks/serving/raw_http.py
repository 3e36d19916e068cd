"""HTTP/1.1 as bytes over asyncio: light enough to load a server on the same cores.

Requests are ready-made bytes, so that they may also be broken in any way.
"""

import asyncio
import re
from typing import NamedTuple

__all__ = ["Answer", "Closed", "exchange", "post", "read_answer"]

MAX_ANSWER = 64 * 2**20


class Answer(NamedTuple):
    """What a server says.

    Attributes:
        status: The number.
        body: Without the headers.
        closes: Whether no other request may follow on this connection.
    """

    status: int
    body: bytes
    closes: bool


class Closed(ConnectionError):
    """The server closed the connection before a whole answer."""


def post(
    path: str,
    body: bytes,
    *headers: str,
    method: str = "POST",
    content_type: str | None = "application/json",
) -> bytes:
    """A request with a body.

    Args:
        path: As it goes out: nothing is quoted.
        body: Of the request.
        *headers: More lines, such as `"Content-Encoding: gzip"`.
        method: Its first word.
        content_type: No such line when `None`.

    Returns:
        The bytes.
    """
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> Answer:
    """Sends a request and waits for its answer.

    Raises:
        Closed: If the connection ends before that.
    """
    try:
        writer.write(request)
        await writer.drain()
    except ConnectionError:
        pass  # It may have answered already, without reading all.
    return await read_answer(reader)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Waits for an answer.

    Raises:
        Closed: If the connection ends before that.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        closes = re.search(rb"\r\nconnection: *close", head, re.IGNORECASE) is not None
        if length is None:
            return Answer(status, await reader.read(MAX_ANSWER), True)
        return Answer(status, await reader.readexactly(int(length[1])), closes)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Closed(repr(error)) from error
