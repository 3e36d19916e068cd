"""The latents of a model's levels, apart from one another."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from tfp_glow._checks import check_positive_integer, check_positive_number
from tfp_glow._inputs import check_latents
from tfp_glow.dequantization import Seed, as_seed
from tfp_glow.distributions import check_temperature
from tfp_glow.glow_model import GlowModel

__all__ = ["level_mask", "resample_levels", "sample_latents", "split_levels"]


def split_levels(model: GlowModel, latents: tf.Tensor) -> list[tf.Tensor]:
    """Latents of each level, which `tf.concat(levels, axis=-1)` puts together again.

    Args:
        model: The model.
        latents: What `model.encode` returned, `[..., H W C]`.

    Returns:
        One tensor a level, `[..., n]`, the finest first. Of the last level it is all
        that it puts out, of each other one the half that it splits off.

    Raises:
        ValueError: If they are not as long as those of the model.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> fine, coarse = latents.split_levels(model, tf.zeros([5, 64]))
        >>> fine.shape, coarse.shape
        (TensorShape([5, 32]), TensorShape([5, 32]))

    References:
        Dinh et al. Density estimation using Real NVP. 2017. Section 3.6.
        https://arxiv.org/abs/1605.08803
    """
    sizes = model.glow.chain.latent_sizes
    latents = tf.convert_to_tensor(latents)
    if not latents.shape[-1:].is_compatible_with([sum(sizes)]):
        raise ValueError(
            f"`latents` must have shape [..., {sum(sizes)}]. Received: "
            f"shape={latents.shape}."
        )
    return tf.split(latents, sizes, axis=-1)


def sample_latents(
    model: GlowModel,
    num_samples: int,
    *,
    temperature: float | Sequence[float] = 1.0,
    truncation: float | None = None,
    seed: Seed | None = None,
) -> tf.Tensor:
    """Latents to `decode`: `model.sample` with more to choose.

    Args:
        model: The model.
        num_samples: How many.
        temperature: Standard deviation of the latents, for all levels or one for each,
            the finest first.
        truncation: How many standard deviations a number is from zero at most. Those
            beyond are drawn again. No limit when not given.
        seed: The same seed gives the same latents; new ones when not given.

    Returns:
        `[N, H W C]`.

    Raises:
        ValueError: If a number cannot be, or there are not as many temperatures as
            levels.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> z = latents.sample_latents(model, 4, temperature=[0.3, 1.0], truncation=2.0)
        >>> model.decode(z).shape
        TensorShape([4, 8, 8, 1])

    References:
        Kingma and Dhariwal. Glow. 2018. Section 6, on temperature.
        Brock, Donahue and Simonyan. Large scale GAN training for high fidelity natural
        image synthesis. 2019. Section 3.1, on truncation.
        https://arxiv.org/abs/1809.11096
    """
    check_positive_integer("num_samples", num_samples)
    check_temperature(temperature)
    sizes, dtype = model.glow.chain.latent_sizes, model.glow.dtype
    if np.ndim(temperature) and np.shape(temperature) != (len(sizes),):
        raise ValueError(
            f"`temperature` must be one number, or {len(sizes)}, one a level and the "
            f"finest first. Received: temperature={temperature!r}."
        )
    shape, seed = [num_samples, sum(sizes)], as_seed(seed)
    if truncation is None:
        noise = tf.random.stateless_normal(shape, seed, dtype=dtype)
    else:
        check_positive_number("truncation", truncation)
        zero, bound = tf.zeros([], dtype), tf.constant(truncation, dtype)
        noise = tf.random.stateless_parameterized_truncated_normal(
            shape, seed, means=zero, stddevs=zero + 1, minvals=-bound, maxvals=bound
        )
    temperatures = np.broadcast_to(temperature, [len(sizes)])
    return noise * tf.constant(np.repeat(temperatures, sizes), dtype)


def resample_levels(
    model: GlowModel,
    latents: tf.Tensor,
    levels: Iterable[int],
    *,
    temperature: float | Sequence[float] = 1.0,
    truncation: float | None = None,
    seed: Seed | None = None,
) -> tf.Tensor:
    """Latents with some levels drawn anew, such as the lower ones given the upper.

    Args:
        model: The model.
        latents: What `model.encode` returned, `[B, H W C]`.
        levels: Numbers of the levels to draw: 0 is the finest, -1 the coarsest.
        temperature: As `sample_latents` takes it.
        truncation: As `sample_latents` takes it.
        seed: The same seed gives the same latents; new ones when not given.

    Returns:
        `[B, H W C]`.

    Raises:
        ValueError: If there is no such level, a number cannot be, or the latents have
            another shape.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> z = model.encode(np.zeros([3, 8, 8, 1], np.uint8))
        >>> details = model.decode(latents.resample_levels(model, z, [0], seed=1))
        >>> details.shape
        TensorShape([3, 8, 8, 1])

    References:
        Dinh et al. Density estimation using Real NVP. 2017. Appendix D, where the
        higher levels are kept and the lower ones drawn.
        https://arxiv.org/abs/1605.08803
    """
    mask = level_mask(model, levels)
    latents = check_latents(latents, model.event_shape, model.glow.dtype)
    if latents.shape[0] == 0:
        return latents
    new = sample_latents(
        model,
        latents.shape[0],
        temperature=temperature,
        truncation=truncation,
        seed=seed,
    )
    return tf.where(mask > 0, new, latents)


def level_mask(model: GlowModel, levels: Iterable[int] | None) -> tf.Tensor:
    """Tells the numbers of some levels from the rest of a latent.

    Args:
        model: The model.
        levels: Numbers of the levels, negative ones from the end; all when None.

    Returns:
        `[H W C]`, 1 for those of the levels and 0 elsewhere.

    Raises:
        ValueError: If there is no such level.
    """
    sizes = model.glow.chain.latent_sizes
    num_levels = len(sizes)
    known = range(-num_levels, num_levels)
    levels = range(num_levels) if levels is None else levels
    levels = list(levels) if isinstance(levels, Iterable) else levels
    if not isinstance(levels, list) or not all(level in known for level in levels):
        raise ValueError(
            f"This model has {num_levels} levels: `levels` must be of 0, the finest, "
            f"to {num_levels - 1}, or of -1, the coarsest, and so on, in a list. "
            f"Received: levels={levels!r}."
        )
    chosen = {level % num_levels for level in levels}
    flags = [float(level in chosen) for level in range(num_levels)]
    return tf.constant(np.repeat(flags, sizes), model.glow.dtype)
