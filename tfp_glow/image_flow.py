"""What people ask of a model of images: scores, latents, samples."""

from math import log, prod

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_positive_integer
from tfp_glow._inputs import check_images, check_labels, check_latents
from tfp_glow.bijectors import Glow
from tfp_glow.dequantization import (
    Seed,
    as_seed,
    bin_centers,
    dequantize,
    discrete_log_prob,
    quantize,
    to_bits_per_dim,
)
from tfp_glow.distributions import check_temperature
from tfp_glow.networks import ScaledLinear

tfd = tfp.distributions

__all__ = ["ImageFlow", "cross_entropy_bits", "label_kwargs"]


class ImageFlow:
    """The half of `GlowModel` that Keras has no part in.

    Everything done to pixels is `dequantize` and `quantize`; everything probabilistic
    is `distribution`, of continuous images. Who inherits from this sets `distribution`,
    `num_bits` and `classifier`.
    """

    distribution: tfd.Distribution
    num_bits: int
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
    ) -> tf.Tensor:
        """Log-probability of discrete images, estimated with one draw of noise.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`, where the model has classes.
            seed: Seed of the noise; new noise each time when not given.

        Returns:
            A lower bound of `log p(image)` in nats, `[B]`.

        Raises:
            TypeError: If `images` is not `uint8`.
            ValueError: If shapes or labels do not fit the model.
        """
        images, labels = self._check(images, labels)
        return self._log_prob(images, labels, as_seed(seed))

    def bits_per_dim(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: Seed | None = None,
        num_noise_samples: int = 1,
    ) -> tf.Tensor:
        """Bits/dim of discrete images: `-log2 p(image) / (H W C)`.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`, where the model has classes.
            seed: Seed of the noise; new noise each time when not given.
            num_noise_samples: Draws of noise, whose probabilities are averaged: more
                give a tighter bound.

        Returns:
            Bits for each number in an image, `[B]`.

        Raises:
            TypeError: If `images` is not `uint8`.
            ValueError: If shapes or labels do not fit the model.
        """
        check_positive_integer("num_noise_samples", num_noise_samples)
        images, labels = self._check(images, labels)
        first, second = tf.unstack(as_seed(seed))
        log_probs = [
            self._log_prob(images, labels, tf.stack([first, second + i]))
            for i in range(num_noise_samples)
        ]
        log_prob = tf.reduce_logsumexp(log_probs, axis=0) - log(num_noise_samples)
        return to_bits_per_dim(log_prob, self.event_shape)

    def class_logits(self, images: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        """What the model's classifier makes of images.

        Args:
            images: `uint8` `[B, H, W, C]`.
            seed: Seed of the noise; new noise each time when not given.

        Returns:
            Unnormalised log-probabilities of the classes, `[B, num_classes]`.

        Raises:
            TypeError: If `images` is not `uint8`.
            ValueError: If the model has no classifier, or shapes do not fit.
        """
        self._check_classifier()
        # Of the output of the last level, which no label has any part in.
        labels = tf.zeros(tf.shape(images)[:1], tf.int32)
        images, labels = self._check(images, labels)
        return self._log_prob_and_logits(images, labels, as_seed(seed))[1]

    def label_bits(
        self, images: tf.Tensor, labels: tf.Tensor, seed: Seed | None = None
    ) -> tf.Tensor:
        """Cross-entropy of labels under the model's classifier.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`.
            seed: Seed of the noise; new noise each time when not given.

        Returns:
            `-log2 p(label | image)`, `[B]`.

        Raises:
            TypeError: If `images` is not `uint8`.
            ValueError: If the model has no classifier, or shapes or labels do not fit.
        """
        self._check_classifier()
        images, labels = self._check(images, labels)
        logits = self._log_prob_and_logits(images, labels, as_seed(seed))[1]
        return cross_entropy_bits(logits, labels)

    def encode(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: Seed | None = None,
    ) -> tf.Tensor:
        """Latents of images; `decode` gives the images back.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`, where the model has classes.
            seed: Seed of dequantisation noise. The middle of each bin, without noise,
                when not given; with it, a pixel whose noise ends within rounding of
                a bin's edge may come back one level off (1 in 30,000 was seen).

        Returns:
            Latents, `[B, H W C]`, the finest level first.

        Raises:
            TypeError: If `images` is not `uint8`.
            ValueError: If shapes or labels do not fit the model.
        """
        images, labels = self._check(images, labels)
        if seed is None:
            x = bin_centers(images, self.num_bits, dtype=self.glow.dtype)
        else:
            x = self._dequantize(images, as_seed(seed))
        return self._encode(x, labels)

    def decode(self, latents: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """Images of latents.

        Args:
            latents: `[B, H W C]`.
            labels: Integers `[B]`, where the model has classes.

        Returns:
            `uint8` `[B, H, W, C]`.

        Raises:
            ValueError: If shapes or labels do not fit the model.
        """
        latents = check_latents(latents, self.event_shape, self.glow.dtype)
        return self._decode(
            latents, check_labels(labels, self.glow.num_classes, latents.shape[0])
        )

    def sample(
        self,
        num_samples: int,
        temperature: float | tf.Tensor = 1.0,
        labels: tf.Tensor | None = None,
        seed: Seed | None = None,
    ) -> tf.Tensor:
        """New images.

        Args:
            num_samples: How many.
            temperature: Standard deviation of the latents: one number, or `[N]`.
            labels: Integers `[N]`, or one for all, where the model has classes.
            seed: The same seed gives the same images; new ones when not given.

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
        if labels is not None and tf.rank(labels) == 0:
            labels = tf.fill([num_samples], labels)
        return self.decode(latents * temperature[..., tf.newaxis], labels)

    # The maps, compiled once for any batch size.

    @tf.function(reduce_retracing=True)
    def _log_prob(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None,
        seed: tf.Tensor,
        memory: str | None = None,
    ) -> tf.Tensor:
        del memory  # Who trains names it, for a trace of its own.
        x = self._dequantize(images, seed)
        log_prob = self.distribution.log_prob(x, bijector_kwargs=label_kwargs(labels))
        return discrete_log_prob(log_prob, self.event_shape, self.num_bits)

    @tf.function(reduce_retracing=True)
    def _log_prob_and_logits(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        seed: tf.Tensor,
        memory: str | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del memory
        x = self._dequantize(images, seed)
        log_prob = self.distribution.log_prob(x, bijector_kwargs={"labels": labels})
        z = self.glow.inverse(x, labels=labels)  # from TFP's cache
        top = self.glow.last_level_output(z, labels)
        logits = self.classifier(tf.reduce_mean(top, axis=[1, 2]))
        return discrete_log_prob(log_prob, self.event_shape, self.num_bits), logits

    @tf.function(reduce_retracing=True)
    def _encode(self, x: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        return self.glow.inverse(x, **label_kwargs(labels))

    @tf.function(reduce_retracing=True)
    def _decode(self, latents: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        x = self.glow.forward(latents, **label_kwargs(labels))
        return quantize(x, self.num_bits)

    def _dequantize(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return dequantize(images, self.num_bits, seed, dtype=self.glow.dtype)

    def _check_classifier(self) -> None:
        if self.classifier is None:
            raise ValueError(
                "This model has no classifier. Make it with `num_classes` and "
                "`weight_y`, the weight of the labels' cross-entropy in the loss."
            )

    def _check(
        self, images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        images = check_images(images, self.event_shape)
        return images, check_labels(labels, self.glow.num_classes, images.shape[0])


def cross_entropy_bits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """`-log2 p(label)` for logits `[B, num_classes]` and labels `[B]`."""
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.cast(labels, tf.int64), logits
    )
    return nats / log(2.0)


def label_kwargs(labels: tf.Tensor | None) -> dict[str, tf.Tensor]:
    """Labels as keyword arguments of a bijector: none where there are none."""
    return {} if labels is None else {"labels": labels}
