"""The chain of a new Glow: levels of steps, priors of the splits and of the top."""

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from tfp_glow._checks import as_rng
from tfp_glow.bijectors.glow_affine_coupling import bounded_log_scale
from tfp_glow.bijectors.glow_level import GlowLevel
from tfp_glow.bijectors.multi_scale_chain import MultiScaleChain
from tfp_glow.bijectors.top_prior import TopPrior
from tfp_glow.context import ContextShape, context_shape_at

__all__ = ["check_chain", "new_chain"]

# A prior's scale is that of data: it may well differ from 1, unlike a coupling's.
_SPLIT_LOG_SCALE_FNS = {
    "sigmoid": tf.identity,
    "bounded": partial(bounded_log_scale, bound=3.0),
}


def new_chain(
    event_shape: tuple[int, int, int],
    *,
    num_levels: int,
    num_steps: int,
    hidden_channels: int,
    coupling: str,
    permutation: str,
    scale: str,
    learn_top_prior: bool,
    num_classes: int | None,
    context_shape: ContextShape,
    memory: str,
    unroll: bool | None,
    network_dtype: tf.DType,
    network_fn: Callable[[int, int], Callable] | None,
    seed: int | None,
    dtype: tf.DType,
) -> MultiScaleChain:
    """Makes the levels and priors that the arguments of `Glow` describe."""
    height, width, channels = event_shape
    rng = as_rng(seed)
    levels = [
        GlowLevel(
            channels * 2**i,
            num_steps=num_steps,
            hidden_channels=hidden_channels,
            coupling=coupling,
            permutation=permutation,
            scale=scale,
            memory="stored" if memory == "auto" else memory,
            unroll=unroll,
            context_shape=context_shape_at(context_shape, 2 ** (i + 1)),
            network_fn=network_fn,
            network_dtype=network_dtype,
            spatial_shape=(height // 2 ** (i + 1), width // 2 ** (i + 1)),
            seed=int(rng.integers(2**31)),
            dtype=dtype,
            name=f"level_{i}",
        )
        for i in range(num_levels)
    ]
    top_prior = None
    if learn_top_prior or (num_classes, context_shape) != (None, None):
        top_prior = TopPrior(
            channels * 2 ** (num_levels + 1),
            num_classes=num_classes,
            context_shape=context_shape_at(context_shape, 2**num_levels),
            learn_prior=learn_top_prior,
            dtype=dtype,
        )
    return MultiScaleChain(
        levels,
        event_shape,
        split_log_scale_fn=_SPLIT_LOG_SCALE_FNS[scale],
        top_prior=top_prior,
        context_shape=context_shape,
        dtype=dtype,
    )


def check_chain(
    chain: MultiScaleChain, event_shape: Sequence[int], dtype: tf.DType
) -> tuple[int, int, int]:
    """Checks that a chain is of images of this shape and type.

    Returns:
        `(H, W, C)`.

    Raises:
        ValueError: If it is of others.
    """
    received = {"event_shape": tuple(tf.TensorShape(event_shape)), "dtype": dtype}
    expected = {"event_shape": tuple(chain.event_shape), "dtype": chain.dtype or dtype}
    for name, value in expected.items():
        if received[name] != value:
            raise ValueError(
                f"`{name}` must be that of `chain`, {value!r}. Received: "
                f"{name}={received[name]!r}. Give the chain's, or leave `chain` out: "
                "then there is a new one."
            )
    return expected["event_shape"]
