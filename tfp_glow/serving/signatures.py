"""What a SavedModel takes and gives, read from its file and checked on each request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from tfp_glow.serving.refused import Refused, shown

__all__ = [
    "Signature",
    "Tensor",
    "check_num_rows",
    "find_signature",
    "read_signatures",
]

# The signatures of every exported Glow, and an input that tells them from others'.
_REQUIRED = {
    "serving_default": "images",
    "log_prob": "images",
    "bits_per_dim": "images",
    "encode": "images",
    "decode": "latents",
    "sample": "seed",
}


@dataclass(frozen=True)
class Tensor:
    """An input or an output: `shape[0]` is None, the number of rows."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]

    @property
    def is_image(self) -> bool:
        """Whether it can be written as pictures: grey or RGB."""
        return (
            self.dtype == np.uint8 and len(self.shape) == 4 and self.shape[3] in (1, 3)
        )

    def from_lists(self, values: Any) -> np.ndarray:
        """Nested lists of JSON as an array.

        Every number is looked at: NumPy would take strings, booleans and fractions too.

        Raises:
            Refused: If shape or values are not those of this tensor.
        """
        level, num_rows = [values], 0
        for depth, size in enumerate(self.shape):
            if set(map(type, level)) != {list}:
                raise self._wrong(f"lists nested {len(self.shape)} deep")
            lengths = set(map(len, level))
            if depth == 0:
                (num_rows,) = lengths
            if num_rows == 0:
                raise self._wrong("at least one row")
            if lengths != {num_rows if depth == 0 else size}:
                received = "lists of differing length"
                if len(lengths) == 1:
                    received = f"{lengths.pop()} values in dimension {depth}"
                raise self._wrong(f"shape {self.shown_shape}", received)
            level = list(chain.from_iterable(level))
        return self.from_flat(level, (num_rows, *self.shape[1:]))

    def from_flat(self, numbers: Sequence[Any], shape: Sequence[int]) -> np.ndarray:
        """Numbers of JSON, one after another, as an array of a shape.

        Raises:
            Refused: If one of them cannot be a value of this tensor.
        """
        if np.issubdtype(self.dtype, np.integer):
            if set(map(type, numbers)) != {int}:
                raise self._wrong("integers")
            info = np.iinfo(self.dtype)
            if min(numbers) < info.min or max(numbers) > info.max:
                raise self._wrong(f"integers from {info.min} to {info.max}")
            return np.array(numbers, self.dtype).reshape(shape)
        if not set(map(type, numbers)) <= {int, float}:
            raise self._wrong("numbers")
        return self._finite(np.array(numbers, np.float64)).reshape(shape)

    def from_bytes(self, data: bytes, shape: Sequence[int]) -> np.ndarray:
        """Little-endian bytes, one row after another, as an array of a shape.

        Raises:
            Refused: If they are too many or too few, or not finite.
        """
        num_bytes = int(np.prod(shape, dtype=object)) * self.dtype.itemsize
        if len(data) != num_bytes:
            raise self._wrong(f"{num_bytes} bytes", f"{len(data)} bytes")
        array = np.frombuffer(data, self.dtype.newbyteorder("<")).reshape(shape)
        if np.issubdtype(self.dtype, np.integer):
            return array
        return self._finite(array)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Refuses a shape that this tensor cannot have."""
        fits = len(shape) == len(self.shape) and all(
            size == expected
            for size, expected in zip(shape[1:], self.shape[1:], strict=True)
        )
        if not fits or shape[0] < 1:
            raise self._wrong(
                f"shape {self.shown_shape}", f"shape {shown(list(shape))}"
            )

    @property
    def shown_shape(self) -> str:
        """The shape with a B for the number of rows, as in `[B, 8, 8, 1]`."""
        return f"[{', '.join('B' if n is None else str(n) for n in self.shape)}]"

    def _finite(self, array: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            array = array.astype(self.dtype)
        if not np.isfinite(array).all():
            raise self._wrong(f"finite numbers within {self.dtype.name}")
        if self.name == "temperature" and array.size and array.min() < 0:
            raise self._wrong("numbers of at least 0", f"{array.min():g}")
        return array

    def _wrong(self, expected: str, received: str = "") -> Refused:
        received = f" Received: {received}." if received else ""
        return Refused(
            f"`{self.name}` must be {self.dtype.name} {self.shown_shape}: expected "
            f"{expected}.{received}"
        )


@dataclass(frozen=True)
class Signature:
    """A function of a SavedModel."""

    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    def check_names(self, names: Sequence[str]) -> None:
        """Refuses inputs that are missing, or that this signature does not take."""
        if names == list(self.inputs) or sorted(names) == sorted(self.inputs):
            return
        takes = " and ".join(map(repr, self.inputs))
        raise Refused(
            f"The signature {self.name!r} takes {takes}. "
            f"Received: {shown(sorted(names))}."
        )

    def check_rows(self, arrays: Mapping[str, np.ndarray], max_rows: int) -> None:
        """Refuses inputs of differing numbers of rows, and too many of them."""
        num_rows = {name: len(array) for name, array in arrays.items()}
        if len(set(num_rows.values())) > 1:
            raise Refused(f"Inputs must have as many rows each. Received: {num_rows}.")
        check_num_rows(max(num_rows.values()), max_rows)


def check_num_rows(num_rows: int, max_rows: int) -> None:
    """Refuses more rows than one request may have."""
    if num_rows > max_rows:
        raise Refused(
            f"A request may have {max_rows} rows. Received: {num_rows}. Send several."
        )


def find_signature(signatures: Mapping[str, Signature], name: Any) -> Signature:
    """Returns the signature that a request names; none is `serving_default`.

    Raises:
        Refused: If there is none of that name.
    """
    name = "serving_default" if name is None or name == "" else name
    if not isinstance(name, str) or name not in signatures:
        raise Refused(
            f"There is no signature {shown(name)}; there are {', '.join(signatures)}."
        )
    return signatures[name]


def read_signatures(folder: Path) -> tuple[dict[str, Signature], dict[str, Any]]:
    """Reads what a SavedModel serves from its graph, without loading its weights.

    Args:
        folder: The folder with `saved_model.pb`.

    Returns:
        The signatures by name, and all of them as TensorFlow Serving describes them.

    Raises:
        FileNotFoundError: If it is no SavedModel.
        ValueError: If it cannot be read, or has not the signatures of a Glow.
    """
    file = folder / "saved_model.pb"
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} is no SavedModel: it has no file saved_model.pb. Write one with "
            "`tfp-glow export RUN DIR`."
        )
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except Exception as error:  # protobuf's own kind
        raise ValueError(f"{file} is damaged: it is no SavedModel.") from error
    graphs = [g for g in saved_model.meta_graphs if "serve" in g.meta_info_def.tags]
    definitions = dict(graphs[0].signature_def) if graphs else {}
    signatures = {}
    for name, definition in sorted(definitions.items()):
        if signature := _signature(name, definition):
            signatures[name] = signature
    for name, received in _REQUIRED.items():
        if name not in signatures or received not in signatures[name].inputs:
            raise ValueError(
                f"{folder} is no exported Glow: no signature {name!r} takes "
                f"{received!r}. It has: {', '.join(signatures) or 'none'}. Write one "
                "with `tfp-glow export RUN DIR`."
            )
    return signatures, {name: _described(d) for name, d in definitions.items()}


def _described(definition: Any) -> dict[str, Any]:
    """A signature as TensorFlow Serving writes the message in JSON."""

    def tensors(infos: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {
                "dtype": types_pb2.DataType.Name(info.dtype),
                "tensor_shape": {
                    "dim": [
                        {"size": str(dim.size), "name": dim.name}
                        for dim in info.tensor_shape.dim
                    ],
                    "unknown_rank": info.tensor_shape.unknown_rank,
                },
                "name": info.name,
            }
            for name, info in sorted(infos.items())
        }

    return {
        "inputs": tensors(definition.inputs),
        "outputs": tensors(definition.outputs),
        "method_name": definition.method_name,
    }


def _signature(name: str, definition: Any) -> Signature | None:
    """A signature that can be served in batches, or None."""
    inputs, outputs = _tensors(definition.inputs), _tensors(definition.outputs)
    if not inputs or not outputs:
        return None
    if any(None in tensor.shape[1:] for tensor in inputs.values()):
        return None
    return Signature(name, inputs, outputs)


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """Tensors of numbers, with rows; None where one is something else."""
    tensors = {}
    for name, info in sorted(infos.items()):
        if info.dtype == types_pb2.DT_INVALID:  # no tensor: an operation
            return None
        dtype = np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
        sizes = [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
        if dtype.kind not in "iuf" or not sizes or sizes[0] is not None:
            return None
        tensors[name] = Tensor(name, dtype, tuple(sizes))
    return tensors
