"""The Open Inference Protocol, KServe's V2, over REST and gRPC."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.infer_type import get_content, to_http_parameters
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from kserve.utils.numpy_codec import from_np_dtype
from pydantic import ValidationError

from tfp_glow.serving.exchange import Exchange, parse_json
from tfp_glow.serving.limits import Limits
from tfp_glow.serving.refused import Refused, shown
from tfp_glow.serving.signatures import (
    Signature,
    Tensor,
    check_num_rows,
    find_signature,
)

__all__ = ["GrpcExchange", "InferExchange", "described"]

# The field of a message that holds values of a data type.
_CONTENTS = {
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def described(tensors: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Tensors as the protocol's metadata has them; -1 is the number of rows."""
    return [
        {
            "name": tensor.name,
            "datatype": from_np_dtype(tensor.dtype),
            "shape": [-1 if size is None else size for size in tensor.shape],
        }
        for tensor in tensors.values()
    ]


class _OpenInferenceExchange(Exchange):
    """What REST and gRPC have in common: named tensors with data type and shape."""

    def _take(
        self,
        signatures: Mapping[str, Signature],
        limits: Limits,
        parameters: Mapping[str, Any],
        tensors: Mapping[str, tuple[str, Sequence[int], Any]],
        outputs: Sequence[str],
    ) -> None:
        """Checks what was read.

        Args:
            signatures: Those of the model.
            limits: How many rows there may be.
            parameters: Those of the request; `signature_name` is ours.
            tensors: Data type, shape and data (bytes, or numbers) by name.
            outputs: What is asked for; all of the outputs if it is empty.
        """
        self.signature = find_signature(signatures, parameters.get("signature_name"))
        self.signature.check_names(list(tensors))
        for output in outputs:
            if output not in self.signature.outputs:
                raise Refused(f"There is no output {shown(output)}.")
        self._outputs = list(outputs) or list(self.signature.outputs)
        self.inputs = {
            name: _array(tensor, *tensors[name], limits.max_rows)
            for name, tensor in self.signature.inputs.items()
        }
        self.signature.check_rows(self.inputs, limits.max_rows)


def _array(
    tensor: Tensor, datatype: str, shape: Sequence[int], data: Any, max_rows: int
) -> np.ndarray:
    if datatype != from_np_dtype(tensor.dtype):
        raise Refused(
            f"`{tensor.name}` must have datatype {from_np_dtype(tensor.dtype)}. "
            f"Received: {shown(datatype)}."
        )
    tensor.check_shape(shape)
    check_num_rows(shape[0], max_rows)
    if isinstance(data, bytes):
        return tensor.from_bytes(data, shape)
    if data and type(data[0]) is list:
        array = tensor.from_lists(data)
        if array.shape != tuple(shape):
            raise Refused(f"The data of `{tensor.name}` have not the shape {shape}.")
        return array
    if len(data) != prod(shape):
        raise Refused(
            f"The data of `{tensor.name}` must be {prod(shape)} values. Received: "
            f"{len(data)}."
        )
    return tensor.from_flat(data, shape)


class InferExchange(_OpenInferenceExchange):
    """A request of `/infer` over REST, with tensors in JSON or behind it.

    The extension for binary data puts tensors behind the JSON, whose length the header
    `Inference-Header-Content-Length` then tells.
    """

    protocol = "v2"

    def __init__(
        self, version: int | None, body: bytes, json_length: str | None, model: str
    ) -> None:
        """Takes the version of the address, the body, the header, and the model."""
        super().__init__(version, len(body))
        self._body = body
        self._json_length = json_length
        self._model = model

    def read(self, signatures: Mapping[str, Signature], limits: Limits) -> None:
        """Reads and checks the body; see `Exchange`."""
        body, self._body = self._body, b""
        length = len(body)
        if self._json_length is not None:
            text = self._json_length
            length = int(text) if text.isdecimal() and len(text) < 12 else -1
            if not 0 <= length <= len(body):
                raise Refused("Inference-Header-Content-Length is no length of JSON.")
        document = parse_json(body[:length])
        binary = _take_binary(document, body[length:])
        try:
            request = InferenceRequest.model_validate(document, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise Refused(f"{shown(place)}: {first['msg']}.") from error
        self._id = request.id or uuid4().hex
        self._parameters = request.parameters or {}
        wanted = request.outputs or []
        self._wanted = {output.name: output.parameters or {} for output in wanted}
        tensors = {
            tensor.name: (
                tensor.datatype,
                tensor.shape,
                binary.get(tensor.name, tensor.data),
            )
            for tensor in request.inputs
        }
        if len(tensors) < len(request.inputs):
            raise Refused("Two inputs have one name.")
        self._take(signatures, limits, self._parameters, tensors, list(self._wanted))

    def write(
        self, outputs: Mapping[str, np.ndarray], version: int
    ) -> tuple[bytes, dict[str, str]]:
        """Writes the body and headers of the answer; see `Exchange`."""
        tensors, raw = [], []
        for name in self._outputs:
            array = np.ascontiguousarray(outputs[name])
            tensor = {
                "name": name,
                "shape": array.shape,
                "datatype": from_np_dtype(array.dtype),
            }
            if self._is_binary(name):
                raw.append(array.tobytes())
                tensor["parameters"] = {"binary_data_size": len(raw[-1])}
            else:
                tensor["data"] = array.reshape(-1)
            tensors.append(tensor)
        answer = {
            "model_name": self._model,
            "model_version": str(version),
            "id": self._id,
            "outputs": tensors,
        }
        text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        if not raw:
            return text, {"content-type": "application/json"}
        headers = {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(text)),
        }
        return b"".join([text, *raw]), headers

    def _is_binary(self, output: str) -> bool:
        default = self._parameters.get("binary_data_output", False)
        return self._wanted.get(output, {}).get("binary_data", default) is True


def _take_binary(document: dict[str, Any], data: bytes) -> dict[str, bytes]:
    """Cuts the data behind the JSON into those of each input.

    These inputs have no data in the JSON; an empty list stands in, for what checks it.
    """
    binary, start = {}, 0
    inputs = document.get("inputs")
    for tensor in inputs if type(inputs) is list else []:
        parameters = tensor.get("parameters") if type(tensor) is dict else None
        if type(parameters) is not dict or "binary_data_size" not in parameters:
            continue
        size, name = parameters["binary_data_size"], tensor.get("name")
        if type(size) is not int or not 0 <= size <= len(data) - start:
            raise Refused("A binary_data_size is not that of the data behind the JSON.")
        if type(name) is not str or "data" in tensor:
            raise Refused("A tensor with binary_data_size needs a name, and no data.")
        tensor["data"] = []
        binary[name] = data[start : start + size]
        start += size
    if start != len(data):
        raise Refused("There is more behind the JSON than its inputs' binary data.")
    return binary


class GrpcExchange(_OpenInferenceExchange):
    """A message of `ModelInfer`, with tensors as numbers or raw bytes."""

    protocol = "grpc"

    def __init__(self, version: int | None, message: pb.ModelInferRequest) -> None:
        """Takes the version that the message names, and the message."""
        super().__init__(version, message.ByteSize())
        self._message = message

    def read(self, signatures: Mapping[str, Signature], limits: Limits) -> None:
        """Reads and checks the message; see `Exchange`."""
        message = self._message
        raw = list(message.raw_input_contents)
        self._is_raw = bool(raw)
        if raw and len(raw) != len(message.inputs):
            raise Refused(
                f"There are {len(message.inputs)} inputs, but {len(raw)} raw contents."
            )
        tensors = {}
        for i, tensor in enumerate(message.inputs):
            if tensor.name in tensors:
                raise Refused("Two inputs have one name.")
            if raw and tensor.HasField("contents"):
                raise Refused("An input has raw contents, and others besides.")
            if not raw and tensor.datatype not in _CONTENTS:
                raise Refused(f"Datatype {shown(tensor.datatype)} is not known.")
            data = raw[i] if raw else get_content(tensor.datatype, tensor.contents)
            tensors[tensor.name] = tensor.datatype, list(tensor.shape), data
        parameters = to_http_parameters(message.parameters)
        wanted = [output.name for output in message.outputs]
        self._take(signatures, limits, parameters, tensors, wanted)

    def write(
        self, outputs: Mapping[str, np.ndarray], version: int
    ) -> pb.ModelInferResponse:
        """Writes the answer, raw if the request was; see `Exchange`."""
        answer = pb.ModelInferResponse(
            model_name=self._message.model_name,
            model_version=str(version),
            id=self._message.id,
        )
        for name in self._outputs:
            array = outputs[name]
            datatype = from_np_dtype(array.dtype)
            tensor = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if self._is_raw:
                answer.raw_output_contents.append(array.tobytes())
            else:
                values = getattr(tensor.contents, _CONTENTS[datatype])
                values.extend(array.reshape(-1).tolist())
        return answer
