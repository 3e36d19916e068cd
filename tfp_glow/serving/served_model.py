"""One SavedModel in memory, ready to answer."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfp_glow.serving.refused import Refused
from tfp_glow.serving.signatures import read_signatures

__all__ = ["ServedModel"]

_WARM_UP_SECONDS = 5.0


class ServedModel:
    """A SavedModel whose signatures take and give NumPy arrays.

    Attributes:
        folder: Where it was read from; nothing is read from there later.
        signatures: A `Signature` by name.
        described: The signatures as TensorFlow Serving describes them.
    """

    def __init__(self, folder: Path) -> None:
        """Loads a SavedModel.

        Args:
            folder: The folder with `saved_model.pb`.

        Raises:
            FileNotFoundError: If it is no SavedModel.
            ValueError: If it is damaged, or has not the signatures of a Glow.
        """
        self.folder = folder
        self.signatures, self.described = read_signatures(folder)
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # of many kinds, such as IndexError for a short file
            reason = str(error).strip().splitlines()[:1]
            raise ValueError(
                f"{folder} is damaged: TensorFlow cannot load it. {''.join(reason)}"
            ) from error

    def warm_up(self, batch_sizes: list[int]) -> None:
        """Runs each signature at each size, so that nobody waits for it later.

        A signature's first call takes longest. Other sizes of a large model are left
        out when the time is up.

        Args:
            batch_sizes: Numbers of rows, the smallest first.

        Raises:
            ValueError: If a signature fails.
        """
        started = time.monotonic()
        for size in batch_sizes:
            for name, signature in self.signatures.items():
                zeros = {
                    key: np.zeros([size, *tensor.shape[1:]], tensor.dtype)
                    for key, tensor in signature.inputs.items()
                }
                try:
                    self.run(name, zeros)
                except (Refused, tf.errors.OpError) as error:
                    raise ValueError(
                        f"{self.folder} cannot be served: {name!r} fails. {error}"
                    ) from error
            if time.monotonic() - started > _WARM_UP_SECONDS:
                return

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Answers rows, in one call of TensorFlow.

        Args:
            signature: Name of the signature.
            inputs: Arrays of as many rows each, by name.

        Returns:
            Arrays of as many rows, by name.

        Raises:
            Refused: If TensorFlow refuses a value, such as a class that is none.
        """
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        try:
            outputs = self._loaded.signatures[signature](**tensors)
        except tf.errors.InvalidArgumentError as error:
            # Behind the trace, and before the name of the node, which is indented.
            lines = [line for line in str(error).splitlines() if line[:1].strip()]
            reason = "".join(lines[-1:])
            of_class = " Is it a class in `labels`?" if "labels" in inputs else ""
            raise Refused(f"TensorFlow refuses a value: {reason}.{of_class}") from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}
