"""One level of Glow: a squeeze, then steps of flow whose parameters are stacked."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import Parameter, check_choice, check_positive_integer
from tfp_glow.bijectors.act_norm_bijector import ActNormBijector
from tfp_glow.bijectors.glow_additive_coupling import GlowAdditiveCoupling
from tfp_glow.bijectors.glow_affine_coupling import (
    GlowAffineCoupling,
    bounded_log_scale,
    sigmoid_log_scale,
)
from tfp_glow.bijectors.glow_step import GlowStep
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.bijectors.lu_invertible_conv import LUInvertibleConv
from tfp_glow.bijectors.one_pass import OnePass
from tfp_glow.bijectors.squeeze import Squeeze
from tfp_glow.networks import GlowNetwork
from tfp_glow.user_network import UserNetwork, as_network

tfb = tfp.bijectors

__all__ = ["COUPLINGS", "PERMUTATIONS", "SCALES", "GlowLevel"]

# name: (bijector, network outputs for each channel that changes)
COUPLINGS = {"affine": (GlowAffineCoupling, 2), "additive": (GlowAdditiveCoupling, 1)}
SCALES = {"sigmoid": sigmoid_log_scale, "bounded": bounded_log_scale}
PERMUTATIONS = ("invertible_conv", "shuffle", "reverse")

# Not trained, whatever the level: parts of a matrix, the order of a shuffle.
_FIXED = ("permutation/sign", "permutation/permutation", "permutation/order")


class GlowLevel(OnePass):
    """A squeeze and `num_steps` steps of flow, as one bijector.

    - Inverse, image to latent:
      z = step_K.inverse(... step_1.inverse(squeeze.inverse(x)))
    - Forward, latent to image: the other way round

    The steps' parameters are stacked along a leading `num_steps` axis, one variable a
    kind, so that optimiser, checkpoint and graph stay small; `steps[k]` shows step k as
    an ordinary bijector. Networks from `network_fn` keep variables of their own.

    Shapes:
        x: `[..., H, W, C]`; z: `[..., H / 2, W / 2, 4 C]`.

    Log-determinant, in nats:
        The sum of the steps'.

    Example:
        >>> level = GlowLevel(3, num_steps=4, hidden_channels=32)
        >>> level.inverse(tf.ones([8, 32, 32, 3])).shape
        TensorShape([8, 16, 16, 12])
        >>> level.steps[2].act_norm.shift.shape
        TensorShape([12])

    References:
        Kingma and Dhariwal. Glow. 2018. Figure 2b.
    """

    # The steps are views of `stacked`: walking them would only find it again.
    _TF_MODULE_IGNORED_PROPERTIES = frozenset(
        {"steps", *tfb.Bijector._TF_MODULE_IGNORED_PROPERTIES}
    )

    def __init__(
        self,
        channels: int,
        *,
        num_steps: int = 32,
        hidden_channels: int = 512,
        coupling: str = "affine",
        permutation: str = "invertible_conv",
        scale: str = "sigmoid",
        network_fn: Callable[[int, int], Callable] | None = None,
        spatial_shape: tuple[int, int] = (8, 8),
        seed: int | None = None,
        stacked: dict[str, tf.Variable] | None = None,
        networks: list[UserNetwork] | None = None,
        initialized: tf.Variable | None = None,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "glow_level",
    ) -> None:
        """Creates the stacked variables, or takes those that are given.

        Args:
            channels: Channels of the image, before the squeeze.
            num_steps: Steps of flow, K in the paper.
            hidden_channels: Width of the paper's coupling network.
            coupling: `"affine"` or `"additive"`.
            permutation: `"invertible_conv"`, `"shuffle"` or `"reverse"`.
            scale: Of affine couplings: `"sigmoid"`, openai/glow's, or `"bounded"`.
            network_fn: Called as `network_fn(channels_in, channels_out)` for each step,
                returns its coupling network. The paper's when not given.
            spatial_shape: Height and width after the squeeze, on which networks from
                `network_fn` are built.
            seed: Seed of the initial values.
            stacked: The stacked parameters, by name. New variables when not given.
            networks: The networks that `network_fn` made.
            initialized: Whether data-dependent initialisation has happened.
            dtype: Type of new variables.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            ValueError: If a count is not a positive integer, or `coupling`,
                `permutation` or `scale` is unknown.
        """
        parameters = dict(locals())
        check_positive_integer("channels", channels)
        check_positive_integer("num_steps", num_steps)
        check_positive_integer("hidden_channels", hidden_channels)
        check_choice("coupling", coupling, COUPLINGS)
        check_choice("permutation", permutation, PERMUTATIONS)
        check_choice("scale", scale, SCALES)
        with tf.name_scope(name) as name:
            channels = 4 * channels
            channels_in = channels // 2
            channels_out = channels_in * COUPLINGS[coupling][1]
            self._channels = channels
            self._num_steps = num_steps
            self._coupling = coupling
            self._permutation = permutation
            self._scale = scale
            self._dtype_of_parameters = dtype
            self._squeeze = Squeeze()
            if network_fn is not None and networks is None:
                networks = [
                    as_network(
                        network_fn(channels_in, channels_out),
                        channels_in,
                        channels_out,
                        spatial_shape=spatial_shape,
                        dtype=dtype,
                    )
                    for _ in range(num_steps)
                ]
            self.networks = networks
            if stacked is None:
                rng = np.random.default_rng(seed)
                initial = [
                    self._initial_parameters(hidden_channels, rng)
                    for _ in range(num_steps)
                ]
                stacked = {
                    key: tf.Variable(
                        tf.stack([step[key] for step in initial]),
                        trainable=key not in _FIXED,
                        name=key,
                    )
                    for key in initial[0]
                }
                initialized = tf.Variable(False, trainable=False, name="initialized")
            self.stacked = stacked
            self.initialized = initialized
            # `copy` builds from `parameters`: without this a copy is untrained.
            parameters.update(
                stacked=stacked, networks=networks, initialized=initialized
            )
            super().__init__(
                forward_min_event_ndims=3,
                dtype=dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return self._num_steps

    @cached_property
    def steps(self) -> tuple[GlowStep, ...]:
        """The steps, first the one nearest the image, as views of the variables."""

        def view(variable: tf.Variable, k: int) -> tfp.util.DeferredTensor:
            return tfp.util.DeferredTensor(
                variable, lambda v: v[k], shape=variable.shape[1:]
            )

        return tuple(
            self._make_step({key: view(v, k) for key, v in self.stacked.items()}, k)
            for k in range(self._num_steps)
        )

    def _initial_parameters(
        self, hidden_channels: int, rng: np.random.Generator
    ) -> dict[str, tf.Tensor]:
        """Initial values of one step."""
        channels, dtype = self._channels, self._dtype_of_parameters
        parts = {
            "act_norm": {
                "shift": tf.zeros([channels], dtype),
                "raw_log_scale": tf.zeros([channels], dtype),
            }
        }
        if self._permutation == "invertible_conv":
            parts["permutation"] = LUInvertibleConv.initial_parameters(
                channels, rng=rng, dtype=dtype
            )
        elif self._permutation == "shuffle":
            parts["permutation"] = {
                "order": tf.constant(rng.permutation(channels), tf.int32)
            }
        if self.networks is None:
            parts["network"] = GlowNetwork.initial_parameters(
                channels // 2,
                channels // 2 * COUPLINGS[self._coupling][1],
                hidden_channels=hidden_channels,
                rng=rng,
                dtype=dtype,
            )
        return {
            f"{part}/{key}": value
            for part, values in parts.items()
            for key, value in values.items()
        }

    def _make_step(
        self,
        parameters: dict[str, Parameter],
        k: int,
        *,
        initialized: tf.Variable | None = None,
    ) -> GlowStep:
        """Step k from its own parameters: slices of the stacked ones."""
        parts: dict[str, dict[str, Parameter]] = {"permutation": {}, "network": {}}
        for path, value in parameters.items():
            part, key = path.split("/")
            parts.setdefault(part, {})[key] = value
        channels = self._channels
        if self._permutation == "invertible_conv":
            permutation = LUInvertibleConv(channels, **parts["permutation"])
        else:
            # The paper's direction, z[c] = x[order[c]], is `Permute.forward`.
            order = parts["permutation"].get("order", np.arange(channels)[::-1])
            permutation = tfb.Invert(tfb.Permute(order))
        make_coupling, channels_per_changed = COUPLINGS[self._coupling]
        network = (
            GlowNetwork(
                channels // 2,
                channels // 2 * channels_per_changed,
                parameters=parts["network"],
                initialized=initialized,
            )
            if self.networks is None
            else self.networks[k]
        )
        kwargs = {"network": network, "dtype": self._dtype_of_parameters}
        if self._coupling == "affine":
            kwargs["log_scale_fn"] = SCALES[self._scale]
        return GlowStep(
            ActNormBijector(channels, initialized=initialized, **parts["act_norm"]),
            permutation,
            make_coupling(channels, **kwargs),
        )

    def _unstacked_steps(self) -> list[GlowStep]:
        """The steps, built on one `unstack` for each variable.

        The gradient of K slices of a variable is the sum of K tensors of its full
        size; that of an `unstack` is one `stack`.
        """
        slices = {key: tf.unstack(v) for key, v in self.stacked.items()}
        return [
            self._make_step({key: s[k] for key, s in slices.items()}, k)
            for k in range(self._num_steps)
        ]

    def _inverse_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_det = tf.zeros([], x.dtype)
        z = self._squeeze.inverse(x)  # [..., H / 2, W / 2, 4 C]
        for step in self._unstacked_steps():
            x, z = z, step.inverse(z)
            log_det += step.inverse_log_det_jacobian(x, event_ndims=3)
        return z, log_det

    def _forward_and_log_det(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_det = tf.zeros([], z.dtype)
        x = z
        for step in reversed(self._unstacked_steps()):
            z, x = x, step.forward(x)
            log_det += step.forward_log_det_jacobian(z, event_ndims=3)
        return self._squeeze.forward(x), log_det  # [..., H, W, C]

    def _initialize(self, x: tf.Tensor, *, only_new: bool) -> tf.Tensor:
        """Initialises the steps in turn, and returns what the batch becomes."""
        if only_new and self.initialized:
            return self.inverse(x)
        x = self._squeeze.inverse(x)
        steps = []
        for k in range(self._num_steps):
            variables = {
                key: tf.Variable(value[k]) for key, value in self.stacked.items()
            }
            step = self._make_step(variables, k, initialized=tf.Variable(False))
            x = initialize_bijector(step, x, only_new=False)
            steps.append(variables)
        for key, variable in self.stacked.items():
            variable.assign(tf.stack([step[key] for step in steps]))
        self.initialized.assign(True)
        return x

    def _inverse_event_shape(self, x_shape: tf.TensorShape) -> tf.TensorShape:
        return self._squeeze.inverse_event_shape(x_shape)

    def _forward_event_shape(self, z_shape: tf.TensorShape) -> tf.TensorShape:
        return self._squeeze.forward_event_shape(z_shape)

    def _inverse_event_shape_tensor(self, x_shape: tf.Tensor) -> tf.Tensor:
        return self._squeeze.inverse_event_shape_tensor(x_shape)

    def _forward_event_shape_tensor(self, z_shape: tf.Tensor) -> tf.Tensor:
        return self._squeeze.forward_event_shape_tensor(z_shape)
