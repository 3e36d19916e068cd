"""A Glow that tells what passes between its steps."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow.bijectors import Glow, GlowStep, MultiScaleChain, Squeeze, TopPrior
from tfp_glow.bijectors.coupling import Coupling
from tfp_glow.image_flow import Condition

tfb = tfp.bijectors

__all__ = ["ProbedGlow", "ProbedPart", "max_abs"]

_PROBED = "probed_"
_LEVEL = "level"


class _Probe(tfb.Bijector):
    """The identity, which keeps what has passed in each direction."""

    def __init__(self, name: str = "probe") -> None:
        super().__init__(forward_min_event_ndims=3, parameters=dict(locals()))
        self.inverse_value: tf.Tensor | None = None
        self.forward_value: tf.Tensor | None = None

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        self.inverse_value = x
        return tf.identity(x)

    def _forward(self, z: tf.Tensor) -> tf.Tensor:
        self.forward_value = z
        return tf.identity(z)

    def _inverse_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return tf.zeros([], x.dtype)

    def error(self) -> tf.Tensor:
        """Largest absolute difference between what passed in either direction."""
        return max_abs(self.inverse_value - self.forward_value)

    def forget(self) -> None:
        """Drops what it keeps: TFP's cache would keep a probe for what it keeps."""
        self.inverse_value = self.forward_value = None


@dataclass(frozen=True)
class ProbedPart:
    """A step or a prior, between two probes.

    Attributes:
        name: `"level 0, step 3"`, `"level 0, split"` or `"top prior"`.
        part: The step or the prior.
        image_side: What goes in when an image is encoded.
        latent_side: What comes out.
    """

    name: str
    part: tfb.Bijector
    image_side: _Probe
    latent_side: _Probe

    @cached_property
    def bijector(self) -> tfb.Bijector:
        """All three as one."""
        parts = [self.image_side, self.part, self.latent_side]
        return tfb.Chain(parts, name=_PROBED + self.part.name)

    @property
    def coupling(self) -> Coupling | None:
        """The step's coupling, or the prior if it is one."""
        coupling = getattr(self.part, "coupling", self.part)
        return coupling if isinstance(coupling, Coupling) else None

    def log_scale(self, z: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Largest absolute log-scale of the coupling, on what is on its latent side."""
        if self.coupling is None:
            return tf.zeros([], z.dtype)
        return max_abs(self.coupling.log_scale(z, context))


class ProbedGlow:
    """The parts of a Glow, put together again with probes between them.

    Attributes:
        parts: The parts, the one nearest the image first.
    """

    def __init__(self, glow: Glow) -> None:
        """Takes the steps and priors as they are: they share the Glow's variables."""
        self.parts: list[ProbedPart] = []
        chain = glow.chain
        levels = []
        for i, level in enumerate(glow.levels):
            steps = [
                self._probed(step, f"level {i}, step {k}")
                for k, step in enumerate(level.steps)
            ]
            levels.append(tfb.Chain([Squeeze(), *steps], name=_LEVEL))
            if i < len(chain.split_priors):
                self._probed(chain.split_priors[i], f"level {i}, split")
        if chain.top_prior is not None:
            self._probed(chain.top_prior, "top prior")
        by_name = {part.name: part.bijector for part in self.parts}
        self._chain = MultiScaleChain(
            levels,
            glow.event_shape,
            split_priors=[b for name, b in by_name.items() if name.endswith("split")],
            top_prior=by_name.get("top prior"),
            dtype=glow.dtype,
        )

    def _probed(self, part: tfb.Bijector, name: str) -> tfb.Bijector:
        self.parts.append(ProbedPart(name, part, _Probe(), _Probe()))
        return self.parts[-1].bijector

    def encode(self, x: tf.Tensor, condition: Condition) -> tf.Tensor:
        """Continuous images to latents.

        Args:
            x: `[B, H, W, C]`.
            condition: Labels and context, where the model has them.

        Returns:
            For each part the largest absolute value on its latent side, `[num_parts]`.
        """
        self._chain.inverse(x, **self._kwargs(condition))
        found = [max_abs(part.latent_side.inverse_value) for part in self.parts]
        self._forget()
        return tf.stack(found)

    def encode_and_decode(
        self, x: tf.Tensor, condition: Condition
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Continuous images to latents and back.

        Args:
            x: `[B, H, W, C]`.
            condition: Labels and context, where the model has them.

        Returns:
            The images, and for each part the largest absolute log-scale of its
            coupling and error on its image side, `[num_parts, 2]`.
        """
        kwargs, context = self._kwargs(condition), condition.get("context")
        z = self._chain.inverse(x, **kwargs)
        decoded = self._chain.forward(tf.identity(z), **kwargs)
        found = [
            [
                part.log_scale(part.latent_side.inverse_value, context),
                part.image_side.error(),
            ]
            for part in self.parts
        ]
        self._forget()
        return decoded, tf.stack(found)

    def decode_and_encode(
        self, z: tf.Tensor, condition: Condition
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Latents to continuous images and back.

        Args:
            z: `[B, H W C]`.
            condition: Labels and context, where the model has them.

        Returns:
            The images, the latents, and for each part the largest absolute log-scale
            of its coupling, error on its latent side and value on its image side,
            `[num_parts, 3]`.
        """
        kwargs, context = self._kwargs(condition), condition.get("context")
        x = self._chain.forward(z, **kwargs)
        encoded = self._chain.inverse(tf.identity(x), **kwargs)
        found = [
            [
                part.log_scale(part.latent_side.forward_value, context),
                part.latent_side.error(),
                max_abs(part.image_side.forward_value),
            ]
            for part in self.parts
        ]
        self._forget()
        return x, encoded, tf.stack(found)

    def _forget(self) -> None:
        for part in self.parts:
            part.image_side.forget()
            part.latent_side.forget()

    def _kwargs(self, condition: Condition) -> dict[str, Any]:
        """Labels and context for the parts, each in a `tfb.Chain` of its own now."""
        kwargs: dict[str, Any] = {}
        for probed in self.parts:
            name, own = probed.part.name, dict(condition)
            if not isinstance(probed.part, TopPrior):
                own.pop("labels", None)
            if own:
                of_part = {_PROBED + name: {name: own}}
                if isinstance(probed.part, GlowStep):
                    kwargs.setdefault(_LEVEL, {}).update(of_part)
                else:
                    kwargs.update(of_part)
        return kwargs


def max_abs(x: tf.Tensor) -> tf.Tensor:
    """Largest absolute value; infinite where there is what is no number."""
    infinity = tf.constant(float("inf"), x.dtype)
    return tf.reduce_max(tf.where(tf.math.is_finite(x), tf.abs(x), infinity))
