"""Bodies of `:predict`, the protocol V1: rows or columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from tfp_glow.serving.exchange import Exchange, parse_json
from tfp_glow.serving.limits import Limits
from tfp_glow.serving.pictures import from_base64, is_base64, to_base64
from tfp_glow.serving.refused import Refused, shown
from tfp_glow.serving.signatures import (
    Signature,
    Tensor,
    check_num_rows,
    find_signature,
)

__all__ = ["PredictExchange"]

_KEYS = {"signature_name", "instances", "inputs", "output_format"}
_FORMATS = {"list", "png"}


class PredictExchange(Exchange):
    """A request of `:predict` and its answer.

    Rows: `{"instances": [{"seed": 1, "temperature": 0.7}, ...]}`, answered with
    `predictions`. Columns: `{"inputs": {"seed": [1], "temperature": [0.7]}}`, answered
    with `outputs`. Where a signature has one input, or one output, its name is left
    out. With `"output_format": "png"` images are answered as PNG.
    """

    protocol = "v1"

    def __init__(self, version: int | None, body: bytes) -> None:
        """Takes the version that the address names, and the body."""
        super().__init__(version, len(body))
        self._body = body

    def read(self, signatures: Mapping[str, Signature], limits: Limits) -> None:
        """Reads and checks the body; see `Exchange`."""
        document = parse_json(self._body)
        self._body = b""
        if unknown := document.keys() - _KEYS:
            raise Refused(
                f"Unknown keys: {shown(sorted(unknown))}. There are {sorted(_KEYS)}."
            )
        if ("instances" in document) == ("inputs" in document):
            raise Refused("The body must have either 'instances' (rows) or 'inputs'.")
        self.signature = find_signature(signatures, document.get("signature_name"))
        self._as_png = self._read_format(document.get("output_format", "list"))
        self._in_rows = "instances" in document
        if self._in_rows:
            columns = self._transposed(document["instances"], limits.max_rows)
        else:
            columns = self._named(document["inputs"])
        self.inputs = {
            name: _array(tensor, columns[name], limits.max_rows)
            for name, tensor in self.signature.inputs.items()
        }
        self.signature.check_rows(self.inputs, limits.max_rows)

    def write(
        self, outputs: Mapping[str, np.ndarray], version: int
    ) -> tuple[bytes, dict[str, str]]:
        """Writes body and headers, in rows if the request was; see `Exchange`."""
        values = {
            name: to_base64(array)
            if self._is_picture(name)
            else np.ascontiguousarray(array)
            for name, array in outputs.items()
        }
        answer: Any = values
        if len(values) == 1:
            (answer,) = values.values()
        elif self._in_rows:
            rows = zip(*values.values(), strict=True)
            answer = [dict(zip(values, row, strict=True)) for row in rows]
        key = "predictions" if self._in_rows else "outputs"
        body = orjson.dumps({key: answer}, option=orjson.OPT_SERIALIZE_NUMPY)
        return body, {"content-type": "application/json"}

    def _read_format(self, name: Any) -> bool:
        if not isinstance(name, str) or name not in _FORMATS:
            raise Refused(
                f"'output_format' must be one of {sorted(_FORMATS)}. Received: "
                f"{shown(name)}."
            )
        has_images = any(t.is_image for t in self.signature.outputs.values())
        if name == "png" and not has_images:
            raise Refused(f"The signature {self.signature.name!r} gives no images.")
        return name == "png"

    def _is_picture(self, output: str) -> bool:
        return self._as_png and self.signature.outputs[output].is_image

    def _transposed(self, rows: Any, max_rows: int) -> dict[str, list[Any]]:
        """The values of rows, by input."""
        if type(rows) is not list or not rows:
            raise Refused("'instances' must be a list of at least one row.")
        check_num_rows(len(rows), max_rows)
        if type(rows[0]) is not dict or is_base64(rows[0]):
            return {self._only_input(): rows}
        for row in rows:
            if type(row) is not dict:
                raise Refused("Rows must be all objects, or all values.")
            self.signature.check_names(list(row))
        return {name: [row[name] for row in rows] for name in self.signature.inputs}

    def _named(self, columns: Any) -> dict[str, Any]:
        if type(columns) is not dict or is_base64(columns):
            return {self._only_input(): columns}
        self.signature.check_names(list(columns))
        return columns

    def _only_input(self) -> str:
        if len(self.signature.inputs) > 1:
            self.signature.check_names([])
        return next(iter(self.signature.inputs))


def _array(tensor: Tensor, values: Any, max_rows: int) -> np.ndarray:
    if type(values) is list and values and type(values[0]) is dict:
        check_num_rows(len(values), max_rows)
        return from_base64(values, tensor)
    return tensor.from_lists(values)
