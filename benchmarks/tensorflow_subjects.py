"""Training steps and samplers of any distribution of TFP, built alike."""

from collections.abc import Callable
from math import prod

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from subject import LEARNING_RATE, Subject

tfd = tfp.distributions

__all__ = ["make_subject", "sampler", "training_step"]


def training_step(
    distribution: tfd.Distribution,
    images: tf.Tensor,
    optimizer_name: str,
    *,
    jit_compile: bool = False,
) -> Subject:
    """Loss, gradients and Adamax, Keras's or ours, as one graph."""
    variables = distribution.trainable_variables
    if optimizer_name == "Keras":
        optimizer = keras.optimizers.Adamax(LEARNING_RATE)
    else:
        from tfp_glow import Adamax  # the same, as one operation a variable

        optimizer = Adamax(LEARNING_RATE)
    optimizer.build([keras.Variable(v, name=f"v{i}") for i, v in enumerate(variables)])

    @tf.function(jit_compile=jit_compile)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        optimizer.apply(tape.gradient(loss, variables))
        return loss

    def facts() -> dict[str, float]:
        return {"num_operations": _num_operations(step.get_concrete_function(images))}

    return make_subject(lambda: float(step(images)), variables, facts)


def sampler(
    distribution: tfd.Distribution, batch_size: int, variables: list[tf.Variable]
) -> Subject:
    """Sampling as one graph; what comes back is a mean, so that nothing is copied."""

    @tf.function(jit_compile=False)
    def sample() -> tf.Tensor:
        return tf.reduce_mean(distribution.sample(batch_size))

    return make_subject(lambda: float(sample()), variables)


def make_subject(
    call: Callable[[], float],
    variables: list[tf.Variable],
    facts: Callable[[], dict[str, float]] = dict,
) -> Subject:
    """What is called, and how many numbers its variables hold."""
    num_parameters = sum(prod(variable.shape) for variable in variables)
    return Subject(call, len(variables), num_parameters, facts)


def _num_operations(function: tf.types.experimental.ConcreteFunction) -> int:
    """Operations of a graph, those of the functions that it calls counted once each."""
    graph = function.graph.as_graph_def()
    nested = sum(len(f.node_def) for f in graph.library.function)
    return len(graph.node) + nested
