"""Requests that are not served, and why."""

from http import HTTPStatus
from typing import Any

import orjson

__all__ = ["Refused", "json_error", "shown", "too_late"]


class Refused(Exception):
    """A request gets an error in place of an answer.

    Attributes:
        status: The status of HTTP.
        message: One line for the client.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        """Takes what the client is told, and the status of HTTP."""
        super().__init__(message)
        self.message = message
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """Headers of an answer of HTTP."""
        headers = {}
        if self.status in (429, 503):
            headers["retry-after"] = "1"
        if self.status == 413:  # the rest of the body is not waited for
            headers["connection"] = "close"
        return headers


def too_late(seconds: float) -> Refused:
    """The error of a request that has waited as long as it may."""
    return Refused(
        f"There is no answer within {seconds:g} seconds.", HTTPStatus.GATEWAY_TIMEOUT
    )


def json_error(message: str) -> bytes:
    """The body of an error, as TensorFlow Serving writes it.

    Example:
        >>> json_error("no such model")
        b'{"error":"no such model"}'
    """
    return orjson.dumps({"error": message})


def shown(value: Any, length: int = 60) -> str:
    """What a client sent, short enough for a message and safe to print.

    Example:
        >>> shown("digits")
        "'digits'"
        >>> shown("x" * 100, length=8)
        "'xxxxxxx..."
    """
    try:
        text = ascii(value[:length] if isinstance(value, str) else value)
    except RecursionError:  # orjson reads deeper than Python prints.
        text = f"a deep {type(value).__name__}"
    return text if len(text) <= length else f"{text[:length]}..."
