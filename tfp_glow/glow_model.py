"""Glow as a Keras model: images in, images out."""

from collections.abc import Callable, Sequence
from math import log, prod
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_glow._checks import check_choice
from tfp_glow.bijectors import Glow
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.dequantization import (
    bin_centers,
    check_num_bits,
    dequantize,
    discrete_log_prob,
    quantize,
)
from tfp_glow.distributions import check_temperature, glow_distribution
from tfp_glow.export import export_saved_model
from tfp_glow.flow_model import FlowModel
from tfp_glow.summary import summary_table

__all__ = ["GlowModel"]

FORMAT_VERSION = 1
"""Of the configuration in a `.keras` file; a later one may not be readable here."""


@keras.saving.register_keras_serializable(package="tfp_glow")
class GlowModel(FlowModel):
    """Glow on `uint8` images: train it, score images, sample, encode and decode.

    Everything done to pixels is `dequantize` and `quantize`; everything probabilistic
    is `distribution`, a `tfd.TransformedDistribution` of continuous images. Training
    minimises bits/dim, with new dequantisation noise at every step.

    Shapes:
        images: `uint8` `[B, H, W, C]`; labels, with `num_classes`: integers `[B]`.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=2, hidden_channels=16)
        >>> images = np.random.default_rng(0).integers(0, 256, [32, 8, 8, 1], np.uint8)
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> model.bits_per_dim(images, seed=0).shape
        TensorShape([32])
        >>> bool(tf.reduce_all(model.decode(model.encode(images)) == images))
        True
        >>> model.sample(4, temperature=0.7, seed=0).shape
        TensorShape([4, 8, 8, 1])

    References:
        Kingma and Dhariwal. Glow: Generative flow with invertible 1x1 convolutions.
        2018. https://arxiv.org/abs/1807.03039
    """

    def __init__(
        self,
        event_shape: Sequence[int] = (32, 32, 3),
        *,
        num_bits: int = 8,
        dequantization: str = "uniform",
        seed: int | None = None,
        dtype: str | None = None,
        name: str = "glow_model",
        **glow_arguments: Any,
    ) -> None:
        """Builds a `Glow` and its distribution.

        Args:
            event_shape: Shape of an image, `[H, W, C]`.
            num_bits: How many of an image's 8 bits are modelled, the highest ones.
            dequantization: `"uniform"`.
            seed: Seed of the initial weights and of the training noise.
            dtype: `"float32"` or `"float64"`; Keras's default when not given.
            name: Name of the model.
            **glow_arguments: What `Glow` takes besides.

        Raises:
            NotImplementedError: If `dequantization` is `"variational"` or `dtype` is a
                mixed precision: not in this version.
            TypeError: If an argument is unknown.
            ValueError: If an argument has a value that it cannot have.
        """
        check_num_bits(num_bits)
        if dequantization == "variational":
            raise NotImplementedError(
                "`dequantization`='variational' is not in this version. Use 'uniform'."
            )
        check_choice("dequantization", dequantization, ["uniform", "variational"])
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        if policy.compute_dtype != policy.variable_dtype:
            raise NotImplementedError(
                "Mixed precision is not in this version. Received: "
                f"dtype={policy.name!r}. Use 'float32' or 'float64'."
            )
        glow = Glow(
            event_shape,
            seed=seed,
            dtype=tf.as_dtype(policy.variable_dtype),
            **glow_arguments,
        )
        super().__init__(glow_distribution(glow), name=name, dtype=policy)
        self._config = {
            "event_shape": tuple(glow.event_shape),
            "num_bits": num_bits,
            "dequantization": dequantization,
            "seed": seed,
            **glow_arguments,
        }
        self._event_shape = tuple(glow.event_shape)
        self._num_bits = num_bits
        self._seed = seed or 0
        self._bits_per_dim = keras.metrics.Mean(name="bits_per_dim")

    @property
    def glow(self) -> Glow:
        """The bijector."""
        return self.distribution.bijector

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """Shape of an image, `(H, W, C)`."""
        return self._event_shape

    @property
    def num_bits(self) -> int:
        """How many of an image's 8 bits are modelled."""
        return self._num_bits

    # What people ask of a model.

    def log_prob(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | Sequence[int] | tf.Tensor | None = None,
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
        return self._log_prob(images, labels, _as_seed(seed))

    def bits_per_dim(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | None = None,
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
        images, labels = self._check(images, labels)
        first, second = tf.unstack(_as_seed(seed))
        log_probs = [
            self._log_prob(images, labels, tf.stack([first, second + i]))
            for i in range(num_noise_samples)
        ]
        log_prob = tf.reduce_logsumexp(log_probs, axis=0) - log(num_noise_samples)
        return self._to_bits(log_prob)

    def encode(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        seed: int | None = None,
    ) -> tf.Tensor:
        """Latents of images; `decode` gives the images back.

        Args:
            images: `uint8` `[B, H, W, C]`.
            labels: Integers `[B]`, where the model has classes.
            seed: Seed of dequantisation noise. The middle of each bin, without noise,
                when not given.

        Returns:
            Latents, `[B, H W C]`, the finest level first.

        Raises:
            TypeError: If `images` is not `uint8`.
            ValueError: If shapes or labels do not fit the model.
        """
        images, labels = self._check(images, labels)
        if seed is None:
            return self._encode(bin_centers(images, self._num_bits, dtype=self._float()), labels)
        return self._encode(self._dequantize(images, _as_seed(seed)), labels)

    def decode(
        self, latents: tf.Tensor, labels: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Images of latents.

        Args:
            latents: `[B, H W C]`.
            labels: Integers `[B]`, where the model has classes.

        Returns:
            `uint8` `[B, H, W, C]`.

        Raises:
            ValueError: If shapes or labels do not fit the model.
        """
        latents = tf.convert_to_tensor(latents, self._float())
        if not latents.shape.is_compatible_with([None, prod(self._event_shape)]):
            raise ValueError(
                f"`latents` must have shape [B, {prod(self._event_shape)}]. Received: "
                f"shape={latents.shape}."
            )
        return self._decode(latents, self._check_labels(labels))

    def sample(
        self,
        num_samples: int,
        temperature: float | tf.Tensor = 1.0,
        labels: tf.Tensor | None = None,
        seed: int | None = None,
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
        check_temperature(temperature)
        temperature = tf.convert_to_tensor(temperature, self._float())
        latents = tf.random.stateless_normal(
            [num_samples, prod(self._event_shape)], _as_seed(seed), dtype=self._float()
        )
        if labels is not None:
            labels = tf.broadcast_to(labels, [num_samples])
        return self.decode(latents * temperature[..., tf.newaxis], labels)

    # What Keras asks of a model.

    def call(
        self, inputs: tf.Tensor | Sequence[tf.Tensor] | dict[str, tf.Tensor]
    ) -> tf.Tensor:
        """Log-probability of images, `[B]`, in nats.

        Args:
            inputs: Images; or `(images, labels)`; or a dictionary of `images`,
                `labels` and `seed`. The noise is always the same without a seed.
        """
        if isinstance(inputs, list | tuple):
            inputs = dict(zip(["images", "labels"], inputs, strict=True))
        elif not isinstance(inputs, dict):
            inputs = {"images": inputs}
        images, labels = self._check(inputs["images"], inputs.get("labels"))
        seed = inputs.get("seed")
        return self._log_prob(images, labels, _as_seed(0 if seed is None else seed))

    def compute_loss(
        self,
        x: tf.Tensor | None = None,
        y: tf.Tensor | None = None,
        y_pred: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Mean bits/dim; labels, if any, are part of the inputs."""
        del x, y, training
        bits = self._to_bits(y_pred)
        self._bits_per_dim.update_state(bits, sample_weight)
        return self._mean_over_batch(bits, sample_weight)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One step of Keras's own, with noise that the step's number gives."""
        return super().train_step(self._with_noise(data, 0, self.optimizer.iterations))

    def test_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One step of Keras's own, with the same noise in every evaluation."""
        return super().test_step(self._with_noise(data, 1, self._bits_per_dim.count))

    def _with_noise(self, data: tuple, stream: int, counter: tf.Tensor) -> tuple:
        """Packs images, labels and a seed for `call`."""
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = tf.cast(2 * self._seed + stream, tf.int32) + tf.cast(
            replica, tf.int32
        ) * tf.constant(1_000_003)
        second = tf.cast(tf.convert_to_tensor(counter), tf.int32)
        inputs = {"images": images, "seed": tf.stack([first, second])}
        if labels is not None:
            inputs["labels"] = labels
        return keras.utils.pack_x_y_sample_weight(inputs, None, sample_weight)

    def _check_data(self, batch: tuple) -> None:
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        self._check(images, labels)

    def _initialize_from(self, batch: tuple) -> None:
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        x = self._dequantize(tf.convert_to_tensor(images), _as_seed(self._seed))
        initialize_bijector(self.glow, x, only_new=True, **_label_kwargs(labels))

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the same model, weights apart."""
        config = dict(self._config)
        if callable(config.get("network_fn")):
            config["network_fn"] = keras.saving.serialize_keras_object(
                config["network_fn"]
            )
        return {
            **config,
            "dtype": self.dtype_policy.name,
            "name": self.name,
            "format_version": FORMAT_VERSION,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "GlowModel":
        """Builds a model from what `get_config` returned.

        Raises:
            ValueError: If it was written by a version with another format.
        """
        config = dict(config)
        version = config.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"This version of tfp_glow reads models of format {FORMAT_VERSION}. "
                f"Received: format_version={version}. Upgrade tfp_glow."
            )
        if isinstance(config.get("network_fn"), dict):
            config["network_fn"] = keras.saving.deserialize_keras_object(
                config["network_fn"], custom_objects=custom_objects
            )
        return cls(**config)

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], None] = print,
        **kwargs: Any,
    ) -> None:
        """Prints the levels, what they turn an image into, and their parameters.

        Args:
            line_length: Not used.
            positions: Not used.
            print_fn: Called with the text.
            **kwargs: Not used.
        """
        del line_length, positions, kwargs
        print_fn(summary_table(self))

    def export(
        self, filepath: str | Path, format: str = "tf_saved_model", **kwargs: Any
    ) -> None:
        """Writes a SavedModel that plain TensorFlow loads and serves.

        Args:
            filepath: Folder to write into.
            format: `"tf_saved_model"`.
            **kwargs: What `keras.Model.export` takes besides; not used.

        Raises:
            ValueError: If another format is asked for.
        """
        check_choice("format", format, ["tf_saved_model"])
        export_saved_model(self, filepath)
        if kwargs.get("verbose"):
            keras.utils.io_utils.print_msg(f"Saved artifact at '{filepath}'.")

    # The three maps, compiled once for any batch size.

    @tf.function(reduce_retracing=True)
    def _log_prob(
        self, images: tf.Tensor, labels: tf.Tensor | None, seed: tf.Tensor
    ) -> tf.Tensor:
        x = self._dequantize(images, seed)
        log_prob = self.distribution.log_prob(x, bijector_kwargs=_label_kwargs(labels))
        return discrete_log_prob(log_prob, self._event_shape, self._num_bits)

    @tf.function(reduce_retracing=True)
    def _encode(self, x: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        return self.glow.inverse(x, **_label_kwargs(labels))

    @tf.function(reduce_retracing=True)
    def _decode(self, latents: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        x = self.glow.forward(latents, **_label_kwargs(labels))
        return quantize(x, self._num_bits)

    def _dequantize(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return dequantize(images, self._num_bits, seed, dtype=self._float())

    def _to_bits(self, discrete: tf.Tensor) -> tf.Tensor:
        """Nats of discrete images to bits/dim."""
        return -discrete / (prod(self._event_shape) * log(2.0))

    def _float(self) -> tf.DType:
        return tf.as_dtype(self.variable_dtype)

    def _check(
        self, images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Images and labels as tensors; raises where they do not fit the model."""
        images = tf.convert_to_tensor(images)
        if images.dtype != tf.uint8:
            known = tf.get_static_value(images)
            values = "" if known is None else f", from {known.min()} to {known.max()}"
            raise TypeError(
                "`images` must be uint8, from 0 to 255. Received: "
                f"dtype={images.dtype.name}{values}. Scale them to that range and "
                "convert them: `images.astype('uint8')`."
            )
        if not images.shape.is_compatible_with([None, *self._event_shape]):
            raise ValueError(
                f"`images` must have shape {['B', *self._event_shape]}. Received: "
                f"shape={images.shape}. Add a missing batch or channel axis, resize "
                "the images, or make the model with their shape as `event_shape`."
            )
        return images, self._check_labels(labels)

    def _check_labels(self, labels: tf.Tensor | None) -> tf.Tensor | None:
        num_classes = self.glow.num_classes
        if labels is None and num_classes is None:
            return None
        if labels is None or num_classes is None:
            raise ValueError(
                "This model has no classes and takes no labels. Received: labels. Make "
                "it with `num_classes`, or leave them out."
                if num_classes is None
                else f"This model needs labels, integers in [0, {num_classes}), one an "
                "image. Received: none. Pass them after the images, as Keras's `y`."
            )
        labels = tf.convert_to_tensor(labels)
        known = tf.get_static_value(labels)
        if not labels.dtype.is_integer or labels.shape.rank not in (None, 1):
            raise ValueError(
                "`labels` must be integers of shape [B]. Received: "
                f"dtype={labels.dtype.name}, shape={labels.shape}."
            )
        if known is not None and known.size and not (
            0 <= known.min() and known.max() < num_classes
        ):
            raise ValueError(
                f"`labels` must be in [0, {num_classes}). Received: labels from "
                f"{known.min()} to {known.max()}."
            )
        return labels


def _label_kwargs(labels: tf.Tensor | None) -> dict[str, tf.Tensor]:
    return {} if labels is None else {"labels": labels}


def _as_seed(seed: int | Sequence[int] | tf.Tensor | None) -> tf.Tensor:
    """Two integers, as TensorFlow's stateless functions take them."""
    if seed is None:
        return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    seed = tf.cast(seed, tf.int32)
    return seed if seed.shape.rank == 1 else tf.stack([seed, 0])
