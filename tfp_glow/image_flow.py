"""What people ask of a model of images: scores, latents, samples."""

import warnings
from collections.abc import Callable
from functools import partial, wraps
from math import log, prod
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_positive_integer
from tfp_glow._inputs import check_condition, check_images, check_latents
from tfp_glow.bijectors import Glow
from tfp_glow.dequantization import (
    NATS_PER_BIT,
    Seed,
    as_seed,
    bin_centers,
    dequantize,
    discrete_log_prob,
    quantize,
    to_bits_per_dim,
)
from tfp_glow.distributions import check_temperature
from tfp_glow.layers import ScaledLinear
from tfp_glow.variational_dequantization import VariationalDequantizer

tfd = tfp.distributions

__all__ = ["Condition", "ImageFlow", "cross_entropy_bits"]

Condition = dict[str, tf.Tensor]
"""What the bijector takes besides: `labels`, `context`, both or neither."""


def _compiled(
    function: Callable[..., Any], *, chooses_memory: bool = True
) -> Callable[..., Any]:
    """A map of an `ImageFlow`, traced for any number of images at once.

    TensorFlow by itself traces one number first, and any number when another comes. So
    it still does within a graph, which may want to know how many come out.
    """
    traced = tf.function(function, reduce_retracing=True)

    @wraps(function)
    def call(
        self: "ImageFlow", images: tf.Tensor, condition: Condition, *others: Any
    ) -> Any:
        own = traced.__get__(self, type(self))
        is_new = tf.executing_eagerly() and not tf.config.functions_run_eagerly()
        if is_new and not own.experimental_get_tracing_count():
            if chooses_memory:
                self.glow.choose_memory_for(images.shape[:1])
            specs = tf.nest.map_structure(
                lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype),
                (images, condition),
            )
            own.get_concrete_function(*specs, *others)
        return own(images, condition, *others)

    return call


class ImageFlow:
    """The half of `GlowModel` that Keras has no part in.

    Everything done to pixels is `dequantize` and `quantize`; everything probabilistic
    is `distribution`, of continuous images. Who inherits from this sets `distribution`,
    `num_bits`, `dequantizer` and `classifier`.
    """

    distribution: tfd.Distribution
    num_bits: int
    dequantizer: VariationalDequantizer | None
    classifier: ScaledLinear | None

    @property
    def glow(self) -> Glow:
        """The bijector."""
        return self.distribution.bijector

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """Shape of an image, `(H, W, C)`."""
        return tuple(self.glow.event_shape)

    def log_prob(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: Seed | None = None,
        *,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Log-probability of discrete images, estimated with one draw of noise.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`, where the model has classes.
            seed: Seed of the noise; new noise each time when not given.
            context: `[B, D]` or `[B, H, W, D]`, where the model has one; without the
                batch, one for all. The values of `uint8` images go to (-0.5, 0.5),
                by `(context + 0.5) / 256 - 0.5`.

        Returns:
            A lower bound of `log p(image)` in nats, `[B]`.

        Raises:
            TypeError: If `images` is not `uint8`, or a context of vectors is.
            ValueError: If shapes or labels do not fit the model.
        """
        images, condition = self._check(images, labels, context)
        return self._log_prob(images, condition, as_seed(seed))

    def bits_per_dim(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: Seed | None = None,
        num_noise_samples: int = 1,
        *,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Bits/dim of discrete images: `-log2 p(image) / (H W C)`.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`, where the model has classes.
            seed: Seed of the noise; new noise each time when not given.
            num_noise_samples: Draws of noise, whose probabilities are averaged: more
                give a tighter bound.
            context: As `log_prob` takes it.

        Returns:
            Bits for each number in an image, `[B]`.

        Raises:
            TypeError: If `images` is not `uint8`, or a context of vectors is.
            ValueError: If shapes or labels do not fit the model.
        """
        check_positive_integer("num_noise_samples", num_noise_samples)
        images, condition = self._check(images, labels, context)
        first, second = tf.unstack(as_seed(seed))
        log_probs = [
            self._log_prob(images, condition, tf.stack([first, second + i]))
            for i in range(num_noise_samples)
        ]
        log_prob = tf.reduce_logsumexp(log_probs, axis=0) - log(num_noise_samples)
        return to_bits_per_dim(log_prob, self.event_shape)

    def class_logits(
        self,
        images: tf.Tensor,
        seed: Seed | None = None,
        *,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """What the model's classifier makes of images.

        Args:
            images: `uint8` `[B, H, W, C]`.
            seed: Seed of the noise; new noise each time when not given.
            context: As `log_prob` takes it.

        Returns:
            Unnormalised log-probabilities of the classes, `[B, num_classes]`.

        Raises:
            TypeError: If `images` is not `uint8`, or a context of vectors is.
            ValueError: If the model has no classifier, or shapes do not fit.
        """
        self._check_classifier()
        # Of the output of the last level, which no label has any part in.
        labels = tf.zeros(tf.shape(images)[:1], tf.int32)
        images, condition = self._check(images, labels, context)
        return self._log_prob_and_logits(images, condition, as_seed(seed))[1]

    def label_bits(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        seed: Seed | None = None,
        *,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Cross-entropy of labels under the model's classifier.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`.
            seed: Seed of the noise; new noise each time when not given.
            context: As `log_prob` takes it.

        Returns:
            `-log2 p(label | image)`, `[B]`.

        Raises:
            TypeError: If `images` is not `uint8`, or a context of vectors is.
            ValueError: If the model has no classifier, or shapes or labels do not fit.
        """
        self._check_classifier()
        images, condition = self._check(images, labels, context)
        logits = self._log_prob_and_logits(images, condition, as_seed(seed))[1]
        return cross_entropy_bits(logits, condition["labels"])

    def encode(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: Seed | None = None,
        *,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Latents of images; `decode` gives the images back.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`, where the model has classes.
            seed: Seed of dequantisation noise. The middle of each bin, without noise,
                when not given; with it, a pixel whose noise ends within rounding of
                a bin's edge may come back one level off (1 in 30,000 was seen).
            context: As `log_prob` takes it.

        Returns:
            Latents, `[B, H W C]`, the finest level first.

        Raises:
            TypeError: If `images` is not `uint8`, or a context of vectors is.
            ValueError: If shapes or labels do not fit the model.
        """
        images, condition = self._check(images, labels, context)
        if seed is None:
            x = bin_centers(images, self.num_bits, dtype=self.glow.dtype)
        else:
            x, _ = self._dequantize(images, as_seed(seed))
        return self._encode(x, condition)

    def decode(
        self,
        latents: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Images of latents.

        Args:
            latents: `[B, H W C]`.
            labels: Integers `[B]`, where the model has classes.
            context: As `log_prob` takes it.

        Returns:
            `uint8` `[B, H, W, C]`. What is not finite becomes 0 or the largest, and,
            but for within a graph, a warning says so.

        Raises:
            ValueError: If shapes or labels do not fit the model.
        """
        return self._images(latents, labels, context)

    def sample(
        self,
        num_samples: int,
        temperature: float | tf.Tensor = 1.0,
        labels: tf.Tensor | None = None,
        seed: Seed | None = None,
        *,
        context: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """New images.

        Args:
            num_samples: How many.
            temperature: Standard deviation of the latents: one number, or `[N]`.
            labels: Integers `[N]`, or one for all, where the model has classes.
            seed: The same seed gives the same images; new ones when not given.
            context: As `log_prob` takes it, with N for B.

        Returns:
            `uint8` `[N, H, W, C]`.

        Raises:
            ValueError: If a temperature is negative or not a number, or labels do not
                fit the model.
        """
        check_positive_integer("num_samples", num_samples)
        check_temperature(temperature)
        temperature = tf.convert_to_tensor(temperature, self.glow.dtype)
        if not temperature.shape.is_compatible_with([num_samples][: temperature.ndim]):
            raise ValueError(
                f"`temperature` must be one number or {num_samples}, one a sample. "
                f"Received: shape={temperature.shape}."
            )
        latents = tf.random.stateless_normal(
            [num_samples, prod(self.event_shape)], as_seed(seed), dtype=self.glow.dtype
        )
        if labels is not None and tf.convert_to_tensor(labels).shape.rank == 0:
            labels = tf.fill([num_samples], labels)
        latents *= temperature[..., tf.newaxis]
        return self._images(latents, labels, context)

    def _images(self, latents: tf.Tensor, labels: Any, context: Any) -> tf.Tensor:
        """What `decode` returns; a warning names the line that called its caller."""
        latents = check_latents(latents, self.event_shape, self.glow.dtype)
        condition = check_condition(self.glow, labels, context, latents)
        images, is_finite = self._decode(latents, condition)
        if tf.executing_eagerly() and not np.all(is_finite):
            message = (
                f"{np.sum(~is_finite.numpy())} of {len(is_finite)} images hold values "
                "that are not finite, drawn black or white. If weights and latents are "
                'finite, lower the temperature, train longer, or use `scale="bounded"`.'
            )
            warnings.warn(message, stacklevel=3)
        return images

    # The maps, each compiled for any batch size.

    def _inline_log_prob(
        self,
        images: tf.Tensor,
        condition: Condition,
        seed: tf.Tensor,
        first_image: tf.Tensor | int = 0,
        memory: str | None = None,
    ) -> tf.Tensor:
        del memory  # Who trains names it, for a trace of its own.
        x, log_q = self._dequantize(images, seed, first_image)
        return self._discrete_log_prob(x, log_q, condition)

    def _inline_log_prob_and_logits(
        self,
        images: tf.Tensor,
        condition: Condition,
        seed: tf.Tensor,
        first_image: tf.Tensor | int = 0,
        memory: str | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del memory
        x, log_q = self._dequantize(images, seed, first_image)
        log_prob = self._discrete_log_prob(x, log_q, condition)
        z = self.glow.inverse(x, **condition)  # from TFP's cache
        top = self.glow.last_level_output(z, **condition)
        return log_prob, self.classifier(tf.reduce_mean(top, axis=[1, 2]))

    def _discrete_log_prob(
        self, x: tf.Tensor, log_q: tf.Tensor | float, condition: Condition
    ) -> tf.Tensor:
        log_prob = self.distribution.log_prob(x, bijector_kwargs=condition) - log_q
        return discrete_log_prob(log_prob, self.event_shape, self.num_bits)

    _log_prob = _compiled(_inline_log_prob)
    _log_prob_and_logits = _compiled(_inline_log_prob_and_logits)

    @_compiled
    def _encode(self, x: tf.Tensor, condition: Condition) -> tf.Tensor:
        return self.glow.inverse(x, **condition)

    @partial(_compiled, chooses_memory=False)  # Nobody differentiates whole numbers.
    def _decode(self, latents: tf.Tensor, condition: Condition) -> list[tf.Tensor]:
        """Images, and of each whether it was finite."""
        x = self.glow.forward(latents, **condition)
        is_finite = tf.reduce_all(tf.math.is_finite(x), axis=[1, 2, 3])
        return [quantize(x, self.num_bits), is_finite]

    def _dequantize(
        self, images: tf.Tensor, seed: tf.Tensor, first_image: tf.Tensor | int = 0
    ) -> tuple[tf.Tensor, tf.Tensor | float]:
        """Continuous images, and the log-density of their noise."""
        if self.dequantizer is not None:
            return self.dequantizer(images, seed, first_image=first_image)
        x = dequantize(
            images, self.num_bits, seed, first_image=first_image, dtype=self.glow.dtype
        )
        return x, 0.0

    def _check_classifier(self) -> None:
        if self.classifier is None:
            raise ValueError(
                "This model has no classifier. Make it with `num_classes` and "
                "`weight_y`, the weight of the labels' cross-entropy in the loss."
            )

    def _check(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None,
        context: tf.Tensor | None,
    ) -> tuple[tf.Tensor, Condition]:
        images = check_images(images, self.event_shape)
        return images, check_condition(self.glow, labels, context, images)


def cross_entropy_bits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """`-log2 p(label)` for logits `[B, num_classes]` and labels `[B]`."""
    labels = tf.cast(labels, tf.int64)
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return nats / NATS_PER_BIT
