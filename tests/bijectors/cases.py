"""The registry: every public bijector, in a state where nothing is trivial."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import prod

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow.bijectors import (
    ActNormBijector,
    Glow,
    GlowAdditiveCoupling,
    GlowAffineCoupling,
    GlowLevel,
    GlowStep,
    LogisticMixtureCoupling,
    LUInvertibleConv,
    MultiScaleChain,
    Squeeze,
    TopPrior,
)

tfb = tfp.bijectors


@dataclass(frozen=True)
class Case:
    """How to construct a bijector, and what it takes.

    Attributes:
        make: Constructor, from a dtype and a seed.
        event_shape: Shape of `x`.
        num_classes: Number of labels, where it takes any.
        context_shape: Shape of a context, where it takes one.
        part: Name under which it takes these, where not directly.
    """

    make: Callable[[tf.DType, int], tfb.Bijector]
    event_shape: tuple[int, ...]
    num_classes: int | None = None
    context_shape: tuple[int, ...] | None = None
    part: str | None = None

    def x(self, *leading: int, dtype: tf.DType = tf.float64) -> tf.Tensor:
        """Random input of any leading shape; the first numbers are always the same."""
        rng = np.random.default_rng(0)
        return tf.constant(rng.normal(size=[*leading, *self.event_shape]), dtype)

    def kwargs(self, *leading: int) -> dict[str, object]:
        """The labels and the context that go with `x(*leading)`, if any."""
        kwargs = {}
        if self.num_classes is not None:
            labels = np.arange(prod(leading), dtype=np.int32) % self.num_classes
            kwargs["labels"] = tf.reshape(labels, leading)
        if self.context_shape is not None:
            rng = np.random.default_rng(1)
            context = rng.normal(size=[*leading, *self.context_shape])
            kwargs["context"] = tf.constant(context)
        return kwargs if self.part is None else {self.part: kwargs}


def perturb(bijector: tfb.Bijector, seed: int = 0) -> None:
    """Moves every variable: initial values are often the identity, which hides bugs."""
    rng = np.random.default_rng(seed)
    for variable in bijector.trainable_variables:
        noise = rng.normal(scale=0.1, size=variable.shape)
        variable.assign_add(tf.constant(noise, variable.dtype))


def make_perturbed(case: Case, dtype: tf.DType = tf.float64, seed: int = 0):
    """The case's bijector, perturbed."""
    bijector = case.make(dtype, seed)
    perturb(bijector, seed)
    return bijector


class Dense(tf.Module):
    """A user's network as a `tf.Module`."""

    def __init__(self, channels_in: int, channels_out: int, dtype: tf.DType, seed: int):
        super().__init__()
        kernel = np.random.default_rng(seed).normal(size=[channels_in, channels_out])
        self.kernel = tf.Variable(kernel, dtype=dtype)
        self.bias = tf.Variable(tf.zeros([channels_out], dtype))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.tanh(tf.tensordot(x, self.kernel, 1) + self.bias)


def sequential(channels_out: int, dtype: tf.DType, seed: int) -> keras.Sequential:
    """A user's network in Keras, not built yet."""
    convolution = partial(keras.layers.Conv2D, padding="same", dtype=dtype.name)
    first = keras.initializers.GlorotUniform(seed)
    last = keras.initializers.GlorotUniform(seed + 1)
    return keras.Sequential(
        [
            convolution(4, 3, activation="relu", kernel_initializer=first),
            convolution(channels_out, 1, kernel_initializer=last),
        ]
    )


def coupling(cls: type, channels: int, dtype: tf.DType, seed: int, **arguments):
    return cls(channels, hidden_channels=4, dtype=dtype, seed=seed, **arguments)


def level(dtype: tf.DType, seed: int, *, channels: int = 1, **arguments) -> GlowLevel:
    defaults = {"num_steps": 2, "hidden_channels": 4, "dtype": dtype, "seed": seed}
    return GlowLevel(channels, **defaults | arguments)


def step(
    dtype: tf.DType, seed: int, *, make_permutation: Callable[..., tfb.Bijector]
) -> GlowStep:
    return GlowStep(
        ActNormBijector(4, dtype=dtype),
        make_permutation(dtype, seed),
        coupling(GlowAffineCoupling, 4, dtype, seed),
    )


def users_levels(dtype: tf.DType, seed: int, **arguments) -> MultiScaleChain:
    """Levels of a user's own, one of them a `tfb.Chain`."""
    levels = [
        tfb.Chain([Squeeze(), ActNormBijector(4, dtype=dtype)]),
        level(dtype, seed, channels=2, num_steps=1, coupling="additive"),
    ]
    return MultiScaleChain(levels, [4, 4, 1], dtype=dtype, **arguments)


def users_priors(dtype: tf.DType, seed: int) -> MultiScaleChain:
    """Priors of a user's own, and labels for one of them."""
    split_prior = coupling(GlowAdditiveCoupling, 4, dtype, seed)
    return users_levels(
        dtype,
        seed,
        split_priors=[split_prior],
        top_prior=TopPrior(8, num_classes=3, dtype=dtype),
    )


def glow(dtype: tf.DType, seed: int, *, event_shape=(4, 4, 1), **arguments) -> Glow:
    defaults = {"num_levels": 2, "num_steps": 2, "hidden_channels": 4}
    return Glow(event_shape, dtype=dtype, seed=seed, **defaults | arguments)


def keras_glow(dtype: tf.DType, seed: int, **arguments) -> Glow:
    """A network of the user's for each step, no two with the same weights."""
    seeds = iter(range(100 * seed, 100 * seed + 100))
    return glow(
        dtype,
        seed,
        network_fn=lambda _, out: sequential(out, dtype, next(seeds)),
        **arguments,
    )


def on_context(context_shape: tuple[int, ...], *arguments) -> Case:
    """The case of a bijector that takes a context."""
    make, *others = arguments
    make = partial(make, context_shape=context_shape)
    return Case(make, *others, context_shape=context_shape)


CASES: dict[str, Case] = {
    "act_norm": Case(lambda dtype, _: ActNormBijector(3, dtype=dtype), (2, 3, 3)),
    "act_norm-factor_1": Case(
        lambda dtype, _: ActNormBijector(3, log_scale_factor=1.0, dtype=dtype), (3,)
    ),
    "lu_invertible_conv": Case(
        lambda dtype, seed: LUInvertibleConv(4, seed=seed, dtype=dtype), (2, 3, 4)
    ),
    "affine_coupling": Case(partial(coupling, GlowAffineCoupling, 4), (2, 3, 4)),
    "affine_coupling-exp": Case(
        partial(coupling, GlowAffineCoupling, 2, log_scale_fn=tf.identity), (2, 2, 2)
    ),
    "affine_coupling-keras": Case(
        lambda dtype, seed: GlowAffineCoupling(
            4, network=sequential(4, dtype, seed), dtype=dtype
        ),
        (2, 3, 4),
    ),
    "additive_coupling": Case(partial(coupling, GlowAdditiveCoupling, 4), (3, 2, 4)),
    "additive_coupling-module": Case(
        lambda dtype, seed: GlowAdditiveCoupling(
            4, network=Dense(2, 2, dtype, seed), dtype=dtype
        ),
        (2, 2, 4),
    ),
    "logistic_mixture_coupling": Case(
        partial(coupling, LogisticMixtureCoupling, 4), (2, 3, 4)
    ),
    "squeeze": Case(lambda dtype, seed: Squeeze(), (4, 2, 3)),
    "squeeze-3": Case(lambda dtype, seed: Squeeze(3), (3, 6, 1)),
    "top_prior": Case(lambda dtype, _: TopPrior(2, dtype=dtype), (3, 2, 2)),
    "top_prior-classes": Case(
        lambda dtype, _: TopPrior(2, num_classes=3, dtype=dtype), (2, 2, 2), 3
    ),
    "step": Case(
        partial(
            step,
            make_permutation=lambda dtype, seed: LUInvertibleConv(
                4, seed=seed, dtype=dtype
            ),
        ),
        (2, 2, 4),
    ),
    "step-permute": Case(
        partial(step, make_permutation=lambda *_: tfb.Permute([1, 3, 0, 2])), (2, 2, 4)
    ),
    "level": Case(level, (4, 4, 1)),
    "level-shuffle": Case(
        partial(level, permutation="shuffle", coupling="additive"), (4, 2, 1)
    ),
    "level-reverse": Case(
        partial(level, permutation="reverse", channels=3, num_steps=1), (2, 4, 3)
    ),
    "level-reversible": Case(partial(level, memory="reversible"), (4, 4, 1)),
    "multi_scale": Case(users_levels, (4, 4, 1)),
    "multi_scale-priors": Case(users_priors, (4, 4, 1), 3, part="top_prior"),
    "glow": Case(partial(glow, num_steps=1), (4, 4, 1)),
    "glow-rgb_additive": Case(
        partial(glow, event_shape=(4, 4, 3), coupling="additive", num_steps=1),
        (4, 4, 3),
    ),
    "glow-non_square_no_prior": Case(
        partial(
            glow,
            event_shape=(2, 6, 2),
            num_levels=1,
            permutation="reverse",
            learn_top_prior=False,
        ),
        (2, 6, 2),
    ),
    "glow-classes_shuffle": Case(
        partial(glow, num_classes=3, permutation="shuffle", num_steps=1), (4, 4, 1), 3
    ),
    "glow-classes_alone": Case(
        partial(glow, num_levels=1, num_classes=3, learn_top_prior=False, num_steps=1),
        (4, 4, 1),
        3,
    ),
    "glow-network_fn": Case(partial(keras_glow, num_steps=1), (4, 4, 1)),
    "affine_coupling-vector": on_context(
        (3,), partial(coupling, GlowAffineCoupling, 4), (2, 3, 4)
    ),
    "top_prior-vector_classes": on_context(
        (3,),
        lambda dtype, _, **arguments: TopPrior(
            2, num_classes=3, dtype=dtype, **arguments
        ),
        (2, 2, 2),
        3,
    ),
    "level-vector_reversible": on_context(
        (3,), partial(level, memory="reversible", num_steps=1), (4, 4, 1)
    ),
    "glow-image_classes_reversible": on_context(
        (4, 4, 1),
        partial(
            glow,
            num_classes=3,
            permutation="shuffle",
            scale="bounded",
            memory="reversible",
            num_steps=1,
        ),
        (4, 4, 1),
        3,
    ),
    "glow-network_fn_vector_reversible": on_context(
        (2,), partial(keras_glow, memory="reversible", num_steps=1), (4, 4, 1)
    ),
}


@cache
def built(name: str, dtype: tf.DType = tf.float64) -> tfb.Bijector:
    """The perturbed bijector of a case; no test changes it."""
    return make_perturbed(CASES[name], dtype)


def operations(function, *arguments) -> list[str]:
    """The types of all operations that a function runs, in loops too."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    definition = graph.as_graph_def()
    nodes = [*definition.node]
    for inner in definition.library.function:
        nodes.extend(inner.node_def)
    return [node.op for node in nodes]
