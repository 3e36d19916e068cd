"""What the steps of a level have in common, and how one is made of its parameters."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import Parameter
from tfp_glow.bijectors.act_norm_bijector import ActNormBijector
from tfp_glow.bijectors.coupling import Coupling
from tfp_glow.bijectors.glow_additive_coupling import GlowAdditiveCoupling
from tfp_glow.bijectors.glow_affine_coupling import (
    GlowAffineCoupling,
    bounded_log_scale,
    sigmoid_log_scale,
)
from tfp_glow.bijectors.glow_step import GlowStep
from tfp_glow.bijectors.logistic_mixture_coupling import (
    LogisticMixtureCoupling,
    num_outputs,
)
from tfp_glow.bijectors.lu_invertible_conv import LUInvertibleConv
from tfp_glow.context import ContextShape
from tfp_glow.networks import (
    GlowNetwork,
    PreparedGlowNetwork,
    standardizing_parameters,
)
from tfp_glow.user_network import PreparedUserNetwork, UserNetwork

tfb = tfp.bijectors

__all__ = ["COUPLINGS", "NOT_TRAINED", "PERMUTATIONS", "SCALES", "StepFactory"]

# name: (bijector, network outputs for each channel that changes)
COUPLINGS = {
    "affine": (GlowAffineCoupling, 2),
    "additive": (GlowAdditiveCoupling, 1),
    "logistic_mixture": (LogisticMixtureCoupling, num_outputs()),
}
SCALES = {"sigmoid": sigmoid_log_scale, "bounded": bounded_log_scale}
PERMUTATIONS = ("invertible_conv", "shuffle", "reverse")

NOT_TRAINED = ("permutation/sign", "permutation/permutation", "permutation/order")
"""Parts of a matrix, and the order of a shuffle."""

Parameters = dict[str, Parameter]


@dataclass(frozen=True, eq=False)
class StepFactory:
    """Makes steps of flow of their parameters, whose names are paths: part/name.

    Attributes:
        channels: Channels of the steps.
        coupling: A name in `COUPLINGS`.
        permutation: A name in `PERMUTATIONS`.
        scale: A name in `SCALES`, for couplings that scale.
        networks: Coupling networks with variables of their own, one a step; None where
            a network's parameters are among the step's.
        context_shape: `[D]` or `[H, W, D]`, of the networks' context; or None.
        network_dtype: Type that those of the paper compute in.
        dtype: Type of parameters and images.
    """

    channels: int
    _: KW_ONLY
    coupling: str
    permutation: str
    scale: str
    networks: Sequence[tf.Module] | None
    context_shape: ContextShape
    network_dtype: tf.DType | None
    dtype: tf.DType

    def initial_parameters(
        self, num_steps: int, hidden_channels: int, rng: np.random.Generator
    ) -> dict[str, tf.Tensor]:
        """Initial values of all steps, stacked."""
        channels, dtype = self.channels, self.dtype
        parts = {
            "act_norm": {
                "shift": tf.zeros([num_steps, channels], dtype),
                "raw_log_scale": tf.zeros([num_steps, channels], dtype),
            }
        }
        if self.permutation == "invertible_conv":
            steps = [
                LUInvertibleConv.initial_parameters(channels, rng=rng, dtype=dtype)
                for _ in range(num_steps)
            ]
            parts["permutation"] = {
                key: tf.stack([step[key] for step in steps]) for key in steps[0]
            }
        elif self.permutation == "shuffle":
            order = rng.permuted(np.tile(np.arange(channels), [num_steps, 1]), axis=1)
            parts["permutation"] = {"order": tf.constant(order, tf.int32)}
        if self.networks is None:
            parts["network"] = GlowNetwork.initial_parameters(
                channels // 2,
                channels // 2 * COUPLINGS[self.coupling][1],
                hidden_channels=hidden_channels,
                context_shape=self.context_shape,
                batch_shape=[num_steps],
                rng=rng,
                dtype=dtype,
            )
        return {
            f"{part}/{key}": value
            for part, values in parts.items()
            for key, value in values.items()
        }

    def step(
        self,
        parameters: Parameters,
        k: int,
        initialized: Callable[[], tf.Variable | None] | None = None,
    ) -> GlowStep:
        """Step k, of parameters that somebody else initialises, and says whether."""
        parts = _parts(parameters)
        if self.permutation == "invertible_conv":
            permutation = LUInvertibleConv(self.channels, **parts["permutation"])
        else:
            # The paper's direction, z[c] = x[order[c]], is `Permute.forward`.
            order = parts["permutation"].get("order", np.arange(self.channels)[::-1])
            permutation = tfb.Invert(tfb.Permute(order))
        network = (
            GlowNetwork(
                self.channels // 2,
                self.channels // 2 * COUPLINGS[self.coupling][1],
                parameters=parts["network"],
                initialized=initialized,
                compute_dtype=self.network_dtype,
            )
            if self.networks is None
            else self.networks[k]
        )
        return GlowStep(
            ActNormBijector(
                self.channels, **parts["act_norm"], initialized=initialized
            ),
            permutation,
            self._coupling(network),
        )

    def prepare_networks(self, stacked: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What `prepared_coupling` needs of the networks of all steps."""
        if self.networks is not None:
            return {}
        return PreparedGlowNetwork.prepare(_parts(stacked)["network"])

    def fold_networks(
        self, prepared: dict[str, tf.Tensor], dtype: tf.DType | None = None
    ) -> dict[str, tf.Tensor]:
        """What `prepare_networks` returned, with all scales in the kernels.

        Args:
            prepared: What that returned.
            dtype: Type of the kernels; what it is when not given.
        """
        if self.networks is not None:
            return {}
        return PreparedGlowNetwork.fold(prepared, dtype)

    def prepared_coupling(
        self, network: dict[str, tf.Tensor], k: int | tf.Tensor
    ) -> Coupling:
        """Step k's coupling, of its part of what the two above return."""
        if self.networks is not None:
            own = self.networks[k]
            is_users = isinstance(own, UserNetwork)
            return self._coupling(PreparedUserNetwork(own) if is_users else own)
        return self._coupling(PreparedGlowNetwork(network, self.network_dtype))

    def _coupling(self, network: Callable[[tf.Tensor], tf.Tensor]) -> Coupling:
        make_coupling, _ = COUPLINGS[self.coupling]
        kwargs = {
            "network": network,
            "context_shape": self.context_shape,
            "dtype": self.dtype,
        }
        if self.coupling != "additive":
            kwargs["log_scale_fn"] = SCALES[self.scale]
        return make_coupling(self.channels, **kwargs)

    def mixing(
        self, stacked: dict[str, tf.Tensor], num_steps: int, *, dtype: tf.DType
    ) -> tuple[ActNormBijector, LUInvertibleConv]:
        """Act-norms and permutations of all steps, as two batches of bijectors."""
        parts = _parts(
            {
                key: tf.cast(value, dtype) if value.dtype.is_floating else value
                for key, value in stacked.items()
                if not key.startswith("network/")
            }
        )
        if self.permutation != "invertible_conv":
            reverse = np.tile(np.arange(self.channels)[::-1], [num_steps, 1])
            order = parts["permutation"].get("order", reverse)  # z[c] = x[order[c]]
            matrix = tf.one_hot(order, self.channels, axis=1, dtype=dtype)
            parts["permutation"] = LUInvertibleConv.of_permutation(matrix)
        return (
            ActNormBijector(self.channels, **parts["act_norm"]),
            LUInvertibleConv(self.channels, **parts["permutation"]),
        )

    def standardize(
        self,
        x: tf.Tensor,
        parameters: dict[str, tf.Tensor],
        k: int,
        context: tf.Tensor | None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Data-dependent initialisation of step k.

        Args:
            x: A batch, `[B, H, W, C]`.
            parameters: The step's.
            k: Its number.
            context: The batch's, where the networks have one.

        Returns:
            What the batch becomes, and the parameters with which each act-norm
            standardises it.
        """
        shift, raw_log_scale = standardizing_parameters(x)
        found = {"act_norm/shift": shift, "act_norm/raw_log_scale": raw_log_scale}
        step = self.step(parameters | found, k)
        y = step.permutation.inverse(step.act_norm.inverse(x))
        if self.networks is not None:
            coupling = step.coupling
            return coupling._initialize(y, only_new=False, context=context), found
        y_a, y_b = tf.split(y, 2, axis=-1)
        of_network, output = step.coupling.network.standardize(y_a, context)
        found |= {f"network/{key}": value for key, value in of_network.items()}
        z_b, _ = step.coupling._transform_inverse(y_b, output)
        return tf.concat([y_a, z_b], axis=-1), found


def _parts(parameters: Parameters) -> dict[str, Parameters]:
    """Parameters by the part of a step that they belong to."""
    parts: dict[str, Parameters] = {"permutation": {}, "network": {}}
    for path, value in parameters.items():
        part, key = path.split("/")
        parts.setdefault(part, {})[key] = value
    return parts
