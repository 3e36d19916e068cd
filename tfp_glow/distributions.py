"""The distribution of images that a Glow bijector gives."""

from math import prod
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_continuous
from tfp_glow.bijectors import Glow, MultiScaleChain

tfd = tfp.distributions

__all__ = ["glow_distribution"]


# What `tfd.TransformedDistribution` makes of a bijector that is no composite tensor.
# A subclass of it would be one itself, and `tf.Module`s find no variables in those.
_TransformedDistribution = tfd.TransformedDistribution.__base__


class GlowDistribution(_TransformedDistribution):
    """TFP's class, which takes no whole numbers for continuous images.

    Its KL divergence says what to do where it is not known.
    """

    def log_prob(self, value: Any, name: str = "log_prob", **kwargs: Any) -> tf.Tensor:
        """TFP's, which of whole numbers in an array would make floating-point ones."""
        _check_value(value)
        return super().log_prob(value, name=name, **kwargs)

    def prob(self, value: Any, name: str = "prob", **kwargs: Any) -> tf.Tensor:
        """TFP's, as `log_prob`."""
        _check_value(value)
        return super().prob(value, name=name, **kwargs)

    def unnormalized_log_prob(
        self, value: Any, name: str = "unnormalized_log_prob", **kwargs: Any
    ) -> tf.Tensor:
        """TFP's, as `log_prob`, which it is."""
        _check_value(value)
        return super().unnormalized_log_prob(value, name=name, **kwargs)

    def experimental_local_measure(
        self, value: Any, *args: Any, **kwargs: Any
    ) -> tuple:
        """TFP's, as `log_prob`."""
        _check_value(value)
        return super().experimental_local_measure(value, *args, **kwargs)


def _check_value(value: Any) -> None:
    if isinstance(value, np.ndarray) or tf.is_tensor(value):
        check_continuous("value", tf.as_dtype(value.dtype))


def glow_distribution(
    glow: Glow | MultiScaleChain, temperature: float | tf.Tensor | tf.Variable = 1.0
) -> tfd.TransformedDistribution:
    """A standard normal in latent space, seen through a bijector of images.

    Args:
        glow: A `Glow` or a `MultiScaleChain`.
        temperature: Standard deviation of the latent: one for all, or one for each
            image of a batch, `[...]`. Below 1 samples look cleaner and vary less; any
            likelihood that is reported is at 1. A variable, or a
            `tfp.util.TransformedVariable`, is trained with the rest.

    Returns:
        A `tfd.TransformedDistribution` with event shape `[H, W, C]` and batch shape
        `[...]`; `log_prob` in nats, of continuous images. `tfd.kl_divergence` is known
        between temperatures of one bijector.

    Raises:
        ValueError: If a temperature is negative or not a number.

    Example:
        >>> glow = Glow([8, 8, 1], num_levels=2, num_steps=2, hidden_channels=16)
        >>> distribution = glow_distribution(glow, temperature=0.7)
        >>> distribution.sample(4, seed=1).shape
        TensorShape([4, 8, 8, 1])
        >>> distribution.log_prob(tf.zeros([5, 8, 8, 1])).shape
        TensorShape([5])

    References:
        Kingma and Dhariwal. Glow. 2018. Section 6, on temperature.
    """
    if not isinstance(temperature, tf.Variable | tfp.util.DeferredTensor):
        temperature = tf.convert_to_tensor(temperature, dtype=glow.dtype)
    check_temperature(temperature)
    base = tfd.Sample(
        tfd.Normal(tf.zeros([], glow.dtype), temperature), [prod(glow.event_shape)]
    )
    return GlowDistribution(base, glow, name="glow_distribution")


@tfd.RegisterKL(GlowDistribution, tfd.Distribution)
@tfd.RegisterKL(tfd.Distribution, GlowDistribution)
def _kl_divergence(
    a: tfd.Distribution, b: tfd.Distribution, name: str | None = None
) -> tf.Tensor:
    """That of the latents where the bijector is the same, in nats; else none."""
    if hasattr(a, "bijector") and hasattr(b, "bijector") and a.bijector == b.bijector:
        return tfd.kl_divergence(a.distribution, b.distribution, name=name)
    raise NotImplementedError(
        "KL(a || b) is known only between temperatures of one Glow, "
        "`glow_distribution(glow, t)`. Received: two distributions that do not share "
        f"a bijector, a={a} and b={b}. Estimate it by sampling: "
        "`x, log_prob = a.experimental_sample_and_log_prob(1000); "
        "tf.reduce_mean(log_prob - b.log_prob(x), axis=0)`."
    )


def check_temperature(temperature: float | tf.Tensor) -> None:
    """Raises `ValueError` where a temperature is known to be negative or no number."""
    temperature = tf.convert_to_tensor(temperature)
    known = tf.get_static_value(temperature)
    if known is None:
        return
    known = np.asarray(known)
    is_number = temperature.dtype.is_floating or temperature.dtype.is_integer
    if not (is_number and ((known >= 0) & (known < float("inf"))).all()):
        raise ValueError(
            "`temperature` must be a finite number of at least 0; 1 samples from the "
            f"model, 0.7 is a usual choice. Received: temperature={known.tolist()!r}."
        )
