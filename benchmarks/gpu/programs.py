"""What is measured: steps of training Glow, or sampling, in one call to a device.

A call takes several steps of Adamax over images that stay on the device. The noise is
made of bits that follow from the step's number, so that TensorFlow and XLA's other
front ends see the same. Of the same options `export.py` writes a program that needs no
TensorFlow, and `measure.py` runs TensorFlow's own.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import tensorflow as tf

import tfp_glow as tfg

# Name: whether float32 products may round to TF32, and the networks' type.
PRECISIONS = {
    "float32": (False, None),
    "tf32": (True, None),
    "bfloat16": (True, tf.bfloat16),
}
NUM_BATCHES = 4  # of training, resident on the device


@dataclass(frozen=True)
class Program:
    """A function of resident arguments that reads, and may update, a model's variables.

    Attributes:
        function: Called with the arguments; returns one tensor.
        arguments: By name, in the function's order.
        result: Name of what the function returns.
        glow: The model.
        num_steps: Steps of training, or samples, in one call.
        batch_size: Images in each.
        convolution_flops: Floating-point operations of the convolutions in each.
        variables: All that it may use.
    """

    function: Callable[..., tf.Tensor]
    arguments: dict[str, tf.Tensor]
    result: str
    glow: tfg.Glow
    num_steps: int
    batch_size: int
    convolution_flops: int
    variables: Sequence[tf.Variable]

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(prod(v.shape) for v in self.glow.trainable_variables)


class Training:
    """Steps of Adamax on bits/dim, as one loop on the device."""

    def __init__(self, glow: tfg.Glow, num_steps: int) -> None:
        """Makes the optimiser's state."""
        self.glow = glow
        self.num_steps = num_steps
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step")
        self.variables = glow.trainable_variables
        self.means, self.norms = (
            [
                tf.Variable(tf.zeros_like(v), trainable=False, name=f"{kind}_{i}")
                for i, v in enumerate(self.variables)
            ]
            for kind in ("mean", "norm")
        )

    def __call__(self, batches: tf.Tensor) -> tf.Tensor:
        """Takes the steps, on `uint8` `[N, B, H, W, C]`; returns their losses."""

        def body(i: tf.Tensor, losses: tf.TensorArray) -> tuple:
            images = tf.gather(batches, self.step % batches.shape[0])
            return i + 1, losses.write(i, self._take_step(images))

        losses = tf.TensorArray(tf.float32, self.num_steps, element_shape=[])
        _, losses = tf.while_loop(
            lambda i, _: i < self.num_steps,
            body,
            (tf.constant(0), losses),
            maximum_iterations=self.num_steps,
        )
        return losses.stack()

    def _take_step(self, images: tf.Tensor) -> tf.Tensor:
        x = tfg.dequantize(images, seed=tf.stack([0, tf.cast(self.step, tf.int32)]))
        with tf.GradientTape() as tape:
            # A distribution from outside would be a constant that the program captures.
            log_prob = tfg.glow_distribution(self.glow).log_prob(x)
            loss = tf.reduce_mean(tfg.bits_per_dim(log_prob, self.glow.event_shape))
        gradients = tape.gradient(loss, self.variables)
        self.step.assign_add(1)
        rate = 1e-3 / (1 - tf.pow(0.9, tf.cast(self.step, tf.float32)))
        for variable, gradient, mean, norm in zip(
            self.variables, gradients, self.means, self.norms, strict=True
        ):
            mean.assign(0.9 * mean + 0.1 * gradient)
            norm.assign(tf.maximum(0.999 * norm, tf.abs(gradient)))
            variable.assign_sub(rate * mean / (norm + 1e-7))
        return loss


def make_program(options: argparse.Namespace) -> Program:
    """Builds the model, and what is done with it."""
    allow_tf32, network_dtype = PRECISIONS[options.precision]
    tf.config.experimental.enable_tensor_float_32_execution(allow_tf32)
    event_shape = (options.image_size, options.image_size, 3)
    glow = tfg.Glow(
        event_shape,
        num_levels=options.levels,
        num_steps=options.steps,
        hidden_channels=options.width,
        coupling=options.coupling,
        memory=options.memory,
        unroll=options.unroll,
        network_dtype=network_dtype,
        seed=0,
    )
    rng = np.random.default_rng(0)
    flops = options.batch * convolution_flops(glow)
    if options.what == "train":
        # Blocks of 4 x 4 pixels of one colour and a little noise: something to learn.
        shape = (NUM_BATCHES, options.batch, *event_shape)
        blocks = rng.integers(248, size=[*shape[:2], *(-(-s // 4) for s in shape[2:4])])
        images = blocks.repeat(4, 2).repeat(4, 3)[:, :, : shape[2], : shape[3], None]
        images = (images + rng.integers(8, size=shape)).astype(np.uint8)
        training = Training(glow, options.loop_steps)
        return Program(
            function=training,
            arguments={"images": tf.constant(images)},
            result="losses",
            glow=glow,
            num_steps=options.loop_steps,
            batch_size=options.batch,
            convolution_flops=3 * flops,  # a gradient costs as much as two evaluations
            variables=[
                *glow.variables,
                training.step,
                *training.means,
                *training.norms,
            ],
        )
    latents = rng.standard_normal([options.batch, prod(event_shape)], np.float32)
    return Program(
        function=lambda latents: tfg.quantize(glow.forward(latents)),
        arguments={"latents": tf.constant(latents)},
        result="images",
        glow=glow,
        num_steps=1,
        batch_size=options.batch,
        convolution_flops=flops,
        variables=glow.variables,
    )


def convolution_flops(glow: tfg.Glow) -> int:
    """Floating-point operations of all convolutions for one image, once through."""

    def kernels() -> Iterator[tuple[int, Sequence[int]]]:
        """Each kernel's shape, after the number of pixels that it is applied to."""
        shapes = glow.chain.level_shapes
        for level, (height, width, channels) in zip(glow.levels, shapes, strict=True):
            yield height * width, [level.num_steps, 1, 1, channels, channels]
            for key, variable in level.stacked.items():
                if "kernel" in key:
                    yield height * width, variable.shape
        for prior, (height, width, _) in zip(
            glow.chain.split_priors, shapes, strict=False
        ):
            yield height * width, prior.network.parameters["kernel"].shape

    total = 0
    for num_pixels, (*others, size, channels_in, channels_out) in kernels():
        if size == 3:
            channels_in -= 1  # the edge indicator: added once, as a bias
        total += 2 * num_pixels * prod([*others, size, channels_in, channels_out])
    return total


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what says which program it is."""
    parser.add_argument("--what", choices=["train", "sample"], default="train")
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--steps", type=int, default=32, help="of flow, in a level")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--coupling", choices=["affine", "additive"], default="affine")
    parser.add_argument(
        "--memory", choices=["reversible", "stored"], default="reversible"
    )
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument(
        "--unroll", action="store_true", help="no loop over a level's steps"
    )
    parser.add_argument(
        "--loop-steps", type=int, default=10, help="of training, in one call"
    )
