"""A request and its answer, whatever protocol they are written in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import orjson

from tfp_glow.serving.limits import Limits
from tfp_glow.serving.refused import Refused
from tfp_glow.serving.signatures import Signature

__all__ = ["Exchange", "parse_json"]


class Exchange(ABC):
    """What is known of a request, and how it is read and answered.

    Attributes:
        version: The version that was asked for; None is the newest.
        num_bytes: How long the request is.
        signature: What it calls, once it is read; None before.
        inputs: Checked arrays for that, once it is read.
    """

    protocol: ClassVar[str]
    signature: Signature | None = None
    inputs: Mapping[str, np.ndarray]

    def __init__(self, version: int | None, num_bytes: int) -> None:
        """Takes the version and the length."""
        self.version = version
        self.num_bytes = num_bytes

    @property
    def signature_name(self) -> str:
        """Name of the signature; empty if none is known yet."""
        return "" if self.signature is None else self.signature.name

    @abstractmethod
    def read(self, signatures: Mapping[str, Signature], limits: Limits) -> None:
        """Reads and checks the request.

        Args:
            signatures: Those of the model.
            limits: How many rows there may be.

        Raises:
            Refused: If there is anything wrong with it.
        """

    @abstractmethod
    def write(self, outputs: Mapping[str, np.ndarray], version: int) -> Any:
        """Writes the answer.

        Args:
            outputs: What the model gave.
            version: The version of the model that did.
        """


def parse_json(body: bytes) -> dict[str, Any]:
    """The object that a body of JSON is.

    Raises:
        Refused: If it is none.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"The body is no JSON: {error}.") from error
    if type(document) is not dict:
        raise Refused("The body must be an object of JSON.")
    return document
