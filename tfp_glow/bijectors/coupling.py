"""What the coupling bijectors share: the halves and the network."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from tfp_glow._checks import check_even_channels, check_event, check_positive_integer
from tfp_glow.bijectors.flat_batch import apply_to_flat_batch
from tfp_glow.bijectors.initialize import is_set
from tfp_glow.bijectors.one_pass import OnePass
from tfp_glow.context import (
    ContextShape,
    check_context_shape,
    context_at,
)
from tfp_glow.networks import GlowNetwork
from tfp_glow.user_network import as_network

__all__ = ["Coupling"]


class Coupling(OnePass):
    """A bijector that changes one half of the channels, given the other half.

    The first half is passed on and fed to a network; the network's output says how the
    second half changes. A subclass writes `_transform_inverse`, `_transform_forward`
    and `_log_scale`.
    """

    def __init__(
        self,
        channels: int,
        *,
        channels_per_changed: int,
        network: Callable[[tf.Tensor], tf.Tensor] | None,
        hidden_channels: int,
        context_shape: ContextShape,
        seed: int | None,
        dtype: tf.DType,
        parameters: dict[str, object],
        validate_args: bool,
        name: str,
    ) -> None:
        """Makes or takes the network.

        Args:
            channels: Channels of the event, even.
            channels_per_changed: Network outputs for each channel that changes.
            network: A callable, or `None` for a `GlowNetwork`.
            hidden_channels: Width of the `GlowNetwork`.
            context_shape: `[D]` or `[H, W, D]`, of the network's context; or None.
            seed: Seed of the `GlowNetwork`.
            dtype: Type of new variables, and of the events.
            parameters: Arguments of the subclass.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.
        """
        check_even_channels(channels)
        check_positive_integer("hidden_channels", hidden_channels)
        channels_out = channels // 2 * channels_per_changed
        self._context_shape = check_context_shape(context_shape)
        if network is None:
            network = GlowNetwork(
                channels // 2,
                channels_out,
                hidden_channels=hidden_channels,
                context_shape=self._context_shape,
                seed=seed,
                dtype=dtype,
            )
        else:
            network = as_network(
                network,
                channels // 2,
                channels_out,
                context_shape=self._context_shape,
                dtype=dtype,
            )
        self.network = network
        self._channels = channels
        # `copy` builds from `parameters`: without this a copy is untrained.
        parameters["network"] = network
        super().__init__(
            forward_min_event_ndims=3,
            dtype=dtype,
            parameters=parameters,
            validate_args=validate_args,
            name=name,
        )

    def _transform_inverse(
        self, x_b: tf.Tensor, network_output: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _transform_forward(
        self, z_b: tf.Tensor, network_output: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _log_scale(self, z_b: tf.Tensor, network_output: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def log_scale(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Logarithm of the scale of each number that changes: of its `dz/dx`.

        Args:
            z: Input of `forward`, `[..., H, W, channels]`.
            context: What `forward` is given besides.

        Returns:
            `[..., H, W, channels / 2]`.
        """
        z_a, z_b = self._halves(tf.convert_to_tensor(z))
        return self._log_scale(z_b, self._evaluate_network(z_a, context))

    def _inverse_and_log_det(
        self, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x_a, x_b = self._halves(x)
        network_output = self._evaluate_network(x_a, context)
        z_b, log_det = self._transform_inverse(x_b, network_output)
        return tf.concat([x_a, z_b], axis=-1), log_det

    def _forward_and_log_det(
        self, z: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        z_a, z_b = self._halves(z)
        network_output = self._evaluate_network(z_a, context)
        x_b, log_det = self._transform_forward(z_b, network_output)
        return tf.concat([z_a, x_b], axis=-1), log_det

    def pull_back(
        self,
        z: tf.Tensor,
        dz: tf.Tensor,
        d_log_det: tf.Tensor,
        sources: list[tf.Tensor | tf.Variable],
        *,
        is_inverse: bool,
        context: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor | None]]:
        """Rebuilds the input of `inverse` or `forward` from its output, with gradients.

        The half that the network sees is in the output what it was in the input. So
        one evaluation of the network both undoes the coupling and is differentiated.

        Args:
            z: The output, `[B, H, W, channels]`.
            dz: The gradient with respect to it.
            d_log_det: The gradient with respect to the log-determinant, `[B]`.
            sources: What the network depends on besides its input.
            is_inverse: Whether it is `inverse` that is undone, or `forward`.
            context: What it was given; among `sources` if its gradient is wanted.

        Returns:
            The input, the gradient with respect to it, and those with respect to
            `sources`, `None` for one on which nothing depends.

        Raises:
            NotImplementedError: If a derivative in forward mode is wanted.
        """
        transform, undo = self._transform_inverse, self._transform_forward
        if not is_inverse:
            transform, undo = undo, transform
        x_a, z_b = self._halves(z)
        dx_a, dz_b = tf.split(dz, 2, axis=-1)
        with tf.GradientTape() as tape:
            tape.watch([x_a, *sources])
            network_output = self._evaluate_network(x_a, context)
            x_b = tf.stop_gradient(undo(z_b, network_output)[0])
            tape.watch(x_b)
            z_b, log_det = transform(x_b, network_output)
            log_det += tf.zeros_like(d_log_det)  # an additive coupling's is a scalar
        gradients = tape.gradient(
            [z_b, log_det], [x_a, x_b, *sources], [dz_b, d_log_det]
        )
        through_network, dx_b, *of_sources = gradients
        if dx_b is None:  # under an accumulator no tape records
            raise NotImplementedError(
                '`memory`="reversible" has derivatives in reverse mode only. Received: '
                "a `tf.autodiff.ForwardAccumulator`. Make the bijector with "
                '`memory`="stored".'
            )
        if through_network is not None:
            dx_a += through_network
        x = tf.concat([x_a, x_b], axis=-1)
        return x, tf.concat([dx_a, dx_b], axis=-1), of_sources

    def _halves(self, x: tf.Tensor) -> list[tf.Tensor]:
        """What the network sees and what changes, each `[..., H, W, channels / 2]`."""
        x = check_event(x, [None, None, self._channels], self.name)
        return tf.split(x, 2, axis=-1)

    def _evaluate_network(self, x_a: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """What the network says, in the type of the parameters whatever `x_a` has."""
        x_a = tf.cast(x_a, self.dtype)
        context = context_at(context, self._context_shape, x_a, self.name)
        network = partial(self.network, context=context)
        return tf.cast(apply_to_flat_batch(network, x_a), self.dtype)

    def _initialize(
        self, x: tf.Tensor, *, only_new: bool, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Sets the network's act-norms from a batch, and returns what it becomes."""
        initialized = getattr(self.network, "initialized", None)
        own = [initialized, *getattr(self.network, "parameters", {}).values()]
        is_own = all(isinstance(value, tf.Variable) for value in own)
        if is_own and not (only_new and is_set(initialized)):
            x_a, _ = self._halves(x)
            own_context = context_at(context, self._context_shape, x_a, self.name)
            x_a = tf.reshape(x_a, [-1, *x_a.shape[-3:]])
            found, _ = self.network.standardize(x_a, own_context)
            for key, value in found.items():
                self.network.parameters[key].assign(value)
            initialized.assign(True)
        return self._inverse_and_log_det(x, context)[0]
