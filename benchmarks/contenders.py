"""Training steps and samplers of tfp_glow and of `tfb.Glow`, built alike."""

from collections.abc import Callable
from functools import partial
from math import prod

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from subject import LEARNING_RATE, Subject, smooth_images

import tfp_glow as tfg

tfb = tfp.bijectors
tfd = tfp.distributions

__all__ = [
    "fit_tfp_glow",
    "sample_tfb_glow",
    "sample_tfp_glow",
    "train_tfb_glow",
    "train_tfp_glow",
]


OPTIMIZERS = {"tfp_glow": tfg.Adamax, "Keras": keras.optimizers.Adamax}
"""The same Adamax: ours is one operation a variable."""


def train_tfp_glow(
    *, batch_size: int, optimizer: str = "tfp_glow", **shape: object
) -> Subject:
    """A training step of `tfg.Glow`, after data-dependent initialisation."""
    distribution = _tfp_glow(**shape)
    images = tf.constant(smooth_images(batch_size, shape["event_shape"]))
    tfg.initialize(distribution, images)
    return _training_step(distribution, images, optimizer)


def train_tfb_glow(
    *, batch_size: int, optimizer: str = "tfp_glow", **shape: object
) -> Subject:
    """A training step of `tfb.Glow`, which initialises itself in its first."""
    images = tf.constant(smooth_images(batch_size, shape["event_shape"]))
    return _training_step(_tfb_glow(**shape), images, optimizer)


def fit_tfp_glow(*, batch_size: int, **shape: object) -> Subject:
    """One step of `GlowModel.fit` on `uint8` images, with a moving average."""
    model = tfg.GlowModel(seed=0, **shape)
    model.compile(tfg.Adamax(LEARNING_RATE, use_ema=True))
    images = tfg.quantize(smooth_images(batch_size, shape["event_shape"])).numpy()

    def call() -> float:
        history = model.fit(
            images, batch_size=batch_size, steps_per_epoch=1, epochs=1, verbose=0
        )
        return history.history["loss"][-1]

    return _subject(call, [v.value for v in model.trainable_variables])


def sample_tfp_glow(*, batch_size: int, **shape: object) -> Subject:
    """Sampling from `tfg.Glow`."""
    return _sampler(_tfp_glow(**shape), batch_size)


def sample_tfb_glow(*, batch_size: int, **shape: object) -> Subject:
    """Sampling from `tfb.Glow`, initialised: it would do so from its samples."""
    distribution = _tfb_glow(**shape)
    for variable in distribution.variables:
        if variable.dtype == tf.bool:  # whether an act-norm is initialised
            variable.assign(True)
    return _sampler(distribution, batch_size)


def _tfp_glow(
    *, event_shape: tuple[int, int, int], mixed: bool = False, **arguments: object
) -> tfd.Distribution:
    if mixed:
        arguments["network_dtype"] = tf.bfloat16
    return tfg.glow_distribution(tfg.Glow(event_shape, seed=0, **arguments))


def _tfb_glow(
    *,
    event_shape: tuple[int, int, int],
    num_levels: int,
    num_steps: int,
    hidden_channels: int,
) -> tfd.Distribution:
    bijector = tfb.Glow(
        output_shape=event_shape,
        num_glow_blocks=num_levels,
        num_steps_per_block=num_steps,
        coupling_bijector_fn=partial(
            tfb.GlowDefaultNetwork, num_hidden=hidden_channels
        ),
        exit_bijector_fn=tfb.GlowDefaultExitNetwork,
        seed=0,
    )
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [prod(event_shape)])
    return tfd.TransformedDistribution(base, bijector)


def _training_step(
    distribution: tfd.Distribution, images: tf.Tensor, optimizer_name: str
) -> Subject:
    """Loss, gradients and Adamax as one graph."""
    variables = distribution.trainable_variables
    optimizer = OPTIMIZERS[optimizer_name](LEARNING_RATE)
    optimizer.build([keras.Variable(v, name=f"v{i}") for i, v in enumerate(variables)])

    @tf.function(jit_compile=False)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        optimizer.apply(tape.gradient(loss, variables))
        return loss

    def facts() -> dict[str, float]:
        return {"num_operations": _num_operations(step.get_concrete_function(images))}

    return _subject(lambda: float(step(images)), variables, facts)


def _sampler(distribution: tfd.Distribution, batch_size: int) -> Subject:
    """Sampling as one graph; what comes back is a mean, so that nothing is copied."""

    @tf.function(jit_compile=False)
    def sample() -> tf.Tensor:
        return tf.reduce_mean(distribution.sample(batch_size))

    return _subject(lambda: float(sample()), distribution.trainable_variables)


def _subject(
    call: Callable[[], float],
    variables: list[tf.Variable],
    facts: Callable[[], dict[str, float]] = dict,
) -> Subject:
    num_parameters = sum(prod(variable.shape) for variable in variables)
    return Subject(call, len(variables), num_parameters, facts)


def _num_operations(function: tf.types.experimental.ConcreteFunction) -> int:
    """Operations of a graph, those of the functions that it calls counted once each."""
    graph = function.graph.as_graph_def()
    nested = sum(len(f.node_def) for f in graph.library.function)
    return len(graph.node) + nested
