"""Anybody's callable as a coupling network: built once, its variables found."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from types import MethodType
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_glow.context import (
    ContextShape,
    map_channels,
    num_channels,
    vector_channels,
    with_context,
)
from tfp_glow.convolution import never_empty
from tfp_glow.layers import EdgeConv
from tfp_glow.networks import GlowNetwork, PreparedGlowNetwork

__all__ = ["PreparedUserNetwork", "UserNetwork", "as_network"]

# Whatever begins so is random without a fixed seed, or changes a variable. Keras's own
# random layers draw with a seed that they keep in a variable and change.
_CHANGING_OPERATIONS = (
    "Assign",
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "Random",
    "RngReadAndSkip",
    "StatefulRandom",
    "StatefulStandardNormal",
    "StatefulTruncatedNormal",
    "StatefulUniform",
    "TruncatedNormal",
)


class UserNetwork(tf.Module):
    """Any callable as a coupling network; its variables are found and checked.

    It is called once on zeros when this is made, which builds a Keras network. Keras
    layers, `tf.Module`s, and objects or bound methods that hold them are searched for
    variables. A flow needs the same function at every call, so it is called as for
    inference: dropout does nothing and batch normalisation keeps its statistics. A
    context comes as further channels of its input. Losses that layers add, constraints
    and regularizers are no part of the likelihood and not used. Of a layer that is not
    `trainable` a `FlowModel` trains nothing, from its next `compile` on, nor what has
    been frozen among the model's own variables.
    """

    def __init__(
        self,
        network: Callable[[tf.Tensor], tf.Tensor],
        channels_in: int,
        channels_out: int,
        *,
        context_shape: ContextShape = None,
        spatial_shape: tuple[int, int] | None = None,
        dtype: tf.DType = tf.float32,
    ) -> None:
        """Builds the network and finds its variables.

        Args:
            network: Maps `[B, H, W, channels_in]` to `[B, H, W, channels_out]`.
            channels_in: Channels that it receives, those of a context apart.
            channels_out: Channels that it must return.
            context_shape: `[D]` or `[H, W, D]`, of its context; none when not given.
            spatial_shape: Height and width of the image that it is built on. When not
                given, those that a Keras model was made for, or else 8 and 8.
            dtype: Type of its input.

        Raises:
            TypeError: If `network` is not callable.
            ValueError: If its output has another shape, or if it uses trainable
                variables that cannot be found in it, for nobody would train them.
        """
        super().__init__(name="network")
        if not callable(network):
            raise TypeError(
                "`network` must be callable: a Keras layer, a `tf.Module` or a "
                f"function. Received: network={network!r}."
            )
        self.network = network
        self._call = _for_inference(network)
        self.num_inputs = channels_in + num_channels(context_shape)
        self.channels_out = channels_out
        spatial_shape = spatial_shape or _spatial_shape(network)
        self._input_spec = tf.TensorSpec([2, *spatial_shape, self.num_inputs], dtype)
        with tf.GradientTape() as tape:
            x = tf.zeros(self._input_spec.shape, dtype)
            y = self._call(x)
        expected = [2, *spatial_shape, channels_out]
        found = y.shape.as_list() if tf.is_tensor(y) else type(y)
        if found != expected:
            raise ValueError(
                f"`network` must return {channels_out} channels: a tensor of shape "
                f"{expected} for an input of shape {x.shape.as_list()}. Received: "
                f"an output of shape or type {found}. Change its last layer."
            )
        self.found_variables, _ = _find_variables(network)
        # A tape sees a mirrored variable's copies on each device.
        known = {
            id(copy)
            for variable in self.found_variables
            for copy in getattr(variable, "values", [variable])
        }
        lost = [v.name for v in tape.watched_variables() if id(v) not in known]
        if lost:
            raise ValueError(
                "`network` uses trainable variables that cannot be found in it, so "
                f"that nothing would train them. Received: network={network!r}, which "
                f"uses {lost}. Pass the Keras layer or `tf.Module` that owns them, "
                "not a function that closes over it."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> "UserNetwork":
        """A network of its own variables; a Keras layer makes new ones of itself."""
        other = memo[id(self)] = object.__new__(type(self))
        # A shallow copy would share the record of what checkpoints hold.
        tf.Module.__init__(other, name=self.name)
        other.network = deepcopy(self.network, memo)
        other._call = _for_inference(other.network)
        other._input_spec = self._input_spec
        other.num_inputs, other.channels_out = self.num_inputs, self.channels_out
        other.found_variables, _ = _find_variables(other.network)
        return other

    def keras_variables(self) -> list[Any]:
        """The `keras.Variable`s of its layers, which say what is trained."""
        return _find_variables(self.network)[1]

    def __call__(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Evaluates the network."""
        return never_empty(PreparedUserNetwork(self))(tf.convert_to_tensor(x), context)

    @cached_property
    def is_deterministic(self) -> bool:
        """Whether it looks like a function of its input alone.

        It does not where its graph draws random numbers that differ from call to call,
        or assigns to variables, or where two calls give different outputs. What a
        network does outside TensorFlow and only now and then is not seen.
        """
        with tf.init_scope():  # it may be asked for while a function is traced
            return self._is_deterministic()

    def _is_deterministic(self) -> bool:
        graph = tf.function(self._call).get_concrete_function(self._input_spec).graph
        definition = graph.as_graph_def()
        nodes = [*definition.node]
        for function in definition.library.function:
            nodes.extend(function.node_def)
        if any(node.op.startswith(_CHANGING_OPERATIONS) for node in nodes):
            return False
        x = tf.random.stateless_normal(
            self._input_spec.shape, [0, 0], dtype=self._input_spec.dtype
        )
        first, second = (np.asarray(self._call(x), np.float64) for _ in range(2))
        # A GPU may add up in another order.
        tolerance = 1e-3 * np.max(np.abs(first), initial=0.0)
        return np.allclose(first, second, rtol=0.0, atol=tolerance, equal_nan=True)


@dataclass(frozen=True)
class PreparedUserNetwork:
    """A `UserNetwork` for a level, which sees to it that no batch is empty.

    Attributes:
        network: The network.
    """

    network: UserNetwork

    def __call__(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Evaluates the network."""
        x = x if context is None else with_context(x, context)
        return self.network._call(x)


def as_network(
    network: Callable[[tf.Tensor], tf.Tensor],
    channels_in: int,
    channels_out: int,
    *,
    context_shape: ContextShape = None,
    spatial_shape: tuple[int, int] | None = None,
    dtype: tf.DType = tf.float32,
) -> GlowNetwork | PreparedGlowNetwork | EdgeConv | UserNetwork | PreparedUserNetwork:
    """A network of ours as it is, and any other callable as a `UserNetwork`.

    Args:
        network: Maps `[B, H, W, channels_in]` to `[B, H, W, channels_out]`.
        channels_in: Channels that it receives, those of a context apart.
        channels_out: Channels that it must return.
        context_shape: `[D]` or `[H, W, D]`, of its context; none when not given.
        spatial_shape: Height and width of the image that it is built on. When not
            given, those that a Keras model was made for, or else 8 and 8.
        dtype: Type of its input.

    Returns:
        A `tf.Module` whose variables TFP finds.

    Raises:
        TypeError: If `network` is not callable.
        ValueError: If its output or its variables are not as they must be.
    """
    if isinstance(network, PreparedGlowNetwork | PreparedUserNetwork):
        return network
    if isinstance(network, GlowNetwork | EdgeConv | UserNetwork):
        _check_fits(network, channels_in, channels_out, context_shape)
        return network
    return UserNetwork(
        network,
        channels_in,
        channels_out,
        context_shape=context_shape,
        spatial_shape=spatial_shape,
        dtype=dtype,
    )


def _check_fits(
    network: GlowNetwork | EdgeConv | UserNetwork,
    channels_in: int,
    channels_out: int,
    context_shape: ContextShape,
) -> None:
    """Raises `ValueError` where a network of ours was made for another place."""
    if isinstance(network, UserNetwork):
        found = (network.num_inputs, 0, network.channels_out)
        expected = (channels_in + num_channels(context_shape), 0, channels_out)
    else:
        p = network.parameters
        first = p["kernel" if isinstance(network, EdgeConv) else "kernel_1"]
        size = p["kernel_context"].shape[-2] if "kernel_context" in p else 0
        found = (first.shape[-2] - 1, size, network.channels_out)  # but for the edge
        of_map, of_vector = map_channels(context_shape), vector_channels(context_shape)
        expected = (channels_in + of_map, of_vector, channels_out)
    if found != expected:
        raise ValueError(
            f"`network` must return {channels_out} channels: (inputs, size of a "
            f"context that is a vector, outputs) must be {expected}. Received: a "
            f"network that was made for {found}. Make one for this coupling."
        )


def _for_inference(
    network: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A layer of Keras takes over whether the model around it is training.

    That is while it is traced, and not in the backward pass.
    """
    call = getattr(network, "call", None)
    takes_training = call and "training" in signature(call).parameters
    return partial(network, training=False) if takes_training else network


def _spatial_shape(network: Callable[[tf.Tensor], tf.Tensor]) -> tuple[int, int]:
    """Height and width of the input that a Keras model is for; 8 where it is free."""
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        return 8, 8
    return shape[1] or 8, shape[2] or 8


def _find_variables(
    network: Callable[[tf.Tensor], tf.Tensor],
) -> tuple[list[tf.Variable], list[Any]]:
    """All variables of a Keras layer, a `tf.Module`, or what holds such things.

    And those of Keras that wrap some of them.
    """
    wrappers = []
    found: dict[int, tf.Variable] = {}
    seen: dict[int, object] = {}  # holds the objects too, or an id could come again
    waiting: list[object] = [network]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, tf.Variable):
            found[id(value)] = value
        elif isinstance(getattr(value, "value", None), tf.Variable):
            waiting.append(value.value)  # a Keras variable wraps a `tf.Variable`
            wrappers.append(value)
        elif not isinstance(value, tf.Module) and hasattr(value, "variables"):
            waiting.append(list(value.variables))  # a Keras layer knows all of its own
        elif isinstance(value, MethodType):
            waiting.append(value.__self__)
        elif isinstance(value, partial):
            waiting.extend([value.func, value.args, value.keywords])
        elif type(value).__module__ != "builtins":  # functions hide their closures
            waiting.extend(getattr(value, "__dict__", {}).values())
    return list(found.values()), wrappers
