"""What all bijectors here share: value and log-determinant in one pass."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfb = tfp.bijectors

__all__ = ["OnePass", "ShapedByPart"]


@dataclass(frozen=True)
class _ByContent:
    """A user's array as part of a key: equal to any array that holds the same now."""

    array: np.ndarray = field(compare=False)
    content: tuple[np.dtype, tuple[int, ...], bytes]

    @staticmethod
    def wrap(kwargs: dict[str, Any]) -> dict[str, Any]:
        """The same arguments, arrays by their content."""

        def wrapped(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            return _ByContent(value, (value.dtype, value.shape, value.tobytes()))

        return tf.nest.map_structure(wrapped, kwargs)

    @staticmethod
    def unwrap(kwargs: dict[str, Any]) -> dict[str, Any]:
        """What `wrap` was given."""
        return tf.nest.map_structure(
            lambda value: value.array if isinstance(value, _ByContent) else value,
            kwargs,
        )


class _Cache(type(tfb.Bijector._cache)):
    """TFP's cache, except that arrays may change, and that graphs keep what is theirs.

    TFP knows arguments besides the input by their identity. A user may write the next
    labels into the array of the last ones, and so an array is known by its content.

    TFP keeps the entries of all bijectors in one dictionary of the process, and an
    entry goes when its tensor does. A symbolic tensor's log-determinant refers to the
    graph, which refers to the tensor, so that no traced function would ever be freed,
    nor the bijector that it called. What belongs to a graph is kept by the graph.
    """

    def __get__(
        self, bijector: tfb.Bijector | None, bijector_class: type | None = None
    ) -> "_Cache":
        """The cache of a bijector: a graph's own inside a `tf.function`."""
        cache = super().__get__(bijector, bijector_class)
        if not tf.executing_eagerly():
            graph = tf.compat.v1.get_default_graph()
            if not hasattr(graph, "_tfp_glow_cache"):
                graph._tfp_glow_cache = type(cache.storage)()
            cache.storage = graph._tfp_glow_cache
        return cache

    def _lookup(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        return super()._lookup(*args, **_ByContent.wrap(kwargs))

    def _attributes(self, *args: Any, **kwargs: Any) -> dict[str, tf.Tensor]:
        return super()._attributes(*args, **_ByContent.wrap(kwargs))

    def _invoke(
        self, x: tf.Tensor, name: str, kwargs: dict[str, Any], attributes: dict
    ) -> tf.Tensor:
        return super()._invoke(x, name, _ByContent.unwrap(kwargs), attributes)


class OnePass(tfb.Bijector):
    """A bijector whose value and log-determinant come out of one computation.

    A subclass writes `_inverse_and_log_det` and `_forward_and_log_det`. Whichever of
    `inverse` or `forward` TFP calls first leaves its log-determinant in TFP's own
    cache, so that `log_prob` and `sample` evaluate a coupling network once.
    """

    _cache = _Cache()

    # TFP's cache hashes a bijector at every call, by all that it was made of, and so a
    # bijector of bijectors hashes all that is in it at each of its levels.
    _hash: int | None = None

    _OF_NEW_VARIABLES = frozenset(
        {
            "channels",
            "context_shape",
            "dtype",
            "hidden_channels",
            "learn_prior",
            "network_dtype",
            "network_fn",
            "num_classes",
            "num_components",
            "num_steps",
            "seed",
            "spatial_shape",
        }
    )
    """Arguments that shape new variables, and change nothing of those of a copy."""

    def copy(self, **overrides: Any) -> tfb.Bijector:
        """TFP's: a bijector of the same variables, other arguments apart.

        Raises:
            ValueError: If it is an argument that shapes new variables.
        """
        known = self.parameters.keys() & overrides.keys()
        fixed = sorted(known & self._OF_NEW_VARIABLES)
        if fixed:
            received = ", ".join(f"{key}={overrides[key]!r}" for key in fixed)
            raise ValueError(
                "A copy makes no new variables, and takes nothing that shapes them. "
                f"Received: {received}. Make a new `{type(self).__name__}` with that."
            )
        return super().copy(**overrides)

    def __hash__(self) -> int:
        """TFP's hash, computed once: what a bijector was made of does not change."""
        if self._hash is None:
            self._hash = super().__hash__()
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        """What a deep copy or a pickle holds: nothing that it computes of the rest."""
        return {
            key: value
            for key, value in super().__getstate__().items()
            if key != "_hash"
            and not isinstance(getattr(type(self), key, None), cached_property)
        }

    def __eq__(self, other: object) -> bool:
        """TFP's equality: of the same type, made of the same things."""
        return self is other or super().__eq__(other)

    def _inverse_and_log_det(
        self, x: tf.Tensor, **kwargs: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _forward_and_log_det(
        self, z: tf.Tensor, **kwargs: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _inverse(self, x: tf.Tensor, **kwargs: tf.Tensor) -> tf.Tensor:
        z, log_det = self._inverse_and_log_det(x, **kwargs)
        self._cache.inverse_attributes(x, **kwargs)["ildj"] = log_det
        return z

    def _forward(self, z: tf.Tensor, **kwargs: tf.Tensor) -> tf.Tensor:
        x, log_det = self._forward_and_log_det(z, **kwargs)
        # TFP keeps one number for both directions: that of the inverse.
        self._cache.forward_attributes(z, **kwargs)["ildj"] = -log_det
        return x

    def _inverse_log_det_jacobian(self, x: tf.Tensor, **kwargs: tf.Tensor) -> tf.Tensor:
        return self._inverse_and_log_det(x, **kwargs)[1]

    def _forward_log_det_jacobian(self, z: tf.Tensor, **kwargs: tf.Tensor) -> tf.Tensor:
        return self._forward_and_log_det(z, **kwargs)[1]

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, tfp.util.ParameterProperties]:
        del dtype, num_classes
        return {}


class ShapedByPart(OnePass):
    """A bijector whose events have the shapes that one of its parts gives them."""

    @property
    def _shaping_part(self) -> tfb.Bijector:
        raise NotImplementedError

    def _inverse_event_shape(self, x_shape: tf.TensorShape) -> tf.TensorShape:
        return self._shaping_part.inverse_event_shape(x_shape)

    def _forward_event_shape(self, z_shape: tf.TensorShape) -> tf.TensorShape:
        return self._shaping_part.forward_event_shape(z_shape)

    def _inverse_event_shape_tensor(self, x_shape: tf.Tensor) -> tf.Tensor:
        return self._shaping_part.inverse_event_shape_tensor(x_shape)

    def _forward_event_shape_tensor(self, z_shape: tf.Tensor) -> tf.Tensor:
        return self._shaping_part.forward_event_shape_tensor(z_shape)
