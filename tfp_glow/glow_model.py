"""Glow as a Keras model: images in, images out."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._arguments import check_glow_arguments, plain, policy_of
from tfp_glow._checks import check_choice
from tfp_glow._inputs import check_condition, check_labels, check_weight_y
from tfp_glow._losses import mean_over_batch
from tfp_glow._replicas import sum_over_replicas_before, update_mean
from tfp_glow._trainable import freeze, frozen
from tfp_glow.bijectors import Glow
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.dequantization import as_seed, check_num_bits, to_bits_per_dim
from tfp_glow.distributions import glow_distribution
from tfp_glow.flow_model import FlowModel
from tfp_glow.image_flow import ImageFlow, cross_entropy_bits
from tfp_glow.layers import ScaledLinear
from tfp_glow.publishing import Publishing
from tfp_glow.summary import summary_table
from tfp_glow.variational_dequantization import VariationalDequantizer

tfd = tfp.distributions

__all__ = ["GlowModel"]

FORMAT_VERSION = 1
"""Of the configuration in a `.keras` file; a later one may not be readable here."""


@keras.saving.register_keras_serializable(package="tfp_glow")
class GlowModel(Publishing, ImageFlow, FlowModel):
    """Glow on `uint8` images: train it, score images, sample, encode and decode.

    Everything done to pixels is `dequantize` and `quantize`; everything probabilistic
    is `distribution`, a `tfd.TransformedDistribution` of continuous images. Training
    minimises bits/dim, with new dequantisation noise at every step.

    Shapes:
        images: `uint8` `[B, H, W, C]`; labels, with `num_classes`: integers `[B]`;
        context, with `context_shape`: `[B, D]`, or `[B, H, W, D]`, also `uint8`.

    `fit` and `evaluate` take images, or with a context pairs `(context, images)`, as
    `x`, and labels as `y`.

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
        weight_y: float | None = None,
        seed: int | None = None,
        dtype: str | None = None,
        name: str = "glow_model",
        **glow_arguments: Any,
    ) -> None:
        """Builds a `Glow` and its distribution.

        Args:
            event_shape: Shape of an image, `[H, W, C]`.
            num_bits: How many of an image's 8 bits are modelled, the highest ones.
            dequantization: `"uniform"`, or `"variational"` for noise that a
                `VariationalDequantizer` learns with the rest, a quarter as wide as the
                coupling networks.
            weight_y: Makes a classifier of the last level's output, and adds its
                cross-entropy in bits, times this, to the loss. Needs `num_classes`.
                Neither when not given.
            seed: Seed of the initial weights and of the training noise.
            dtype: `"float32"`, `"float64"`, or `"mixed_bfloat16"`: the paper's coupling
                networks compute in bfloat16, and all else in float32. Keras's dtype
                policy when not given.
            name: Name of the model.
            **glow_arguments: What `Glow` takes besides, but `chain` and
                `network_dtype`.

        Raises:
            TypeError: If an argument is unknown, or one of `Glow` alone.
            ValueError: If an argument has a value that it cannot have.
        """
        check_num_bits(num_bits)
        check_choice("dequantization", dequantization, ["uniform", "variational"])
        num_classes = glow_arguments.get("num_classes")
        check_weight_y(weight_y, num_classes)
        policy = policy_of(dtype)
        check_glow_arguments(glow_arguments)
        glow = Glow(
            event_shape,
            seed=seed,
            dtype=tf.as_dtype(policy.variable_dtype),
            network_dtype=tf.as_dtype(policy.compute_dtype),
            **glow_arguments,
        )
        super().__init__(glow_distribution(glow), name=name, dtype=policy)
        config = {
            "event_shape": glow.event_shape,
            "num_bits": num_bits,
            "dequantization": dequantization,
            "weight_y": weight_y,
            "seed": seed,
            **glow_arguments,
        }
        self._config = {key: plain(value) for key, value in config.items()}
        self.num_bits = num_bits
        self._memory_of_steps: str | None = None
        self._seed = seed or 0
        self.dequantizer = None
        if dequantization == "variational":
            self.dequantizer = VariationalDequantizer(
                event_shape,
                num_bits=num_bits,
                hidden_channels=max(1, glow.parameters["hidden_channels"] // 4),
                seed=seed,
                dtype=glow.dtype,
            )
            self._add_variables(self.dequantizer.variables)
        self._bits_per_dim = keras.metrics.Mean(name="bits_per_dim")
        self.classifier = None
        if weight_y is not None:
            self.classifier = ScaledLinear(
                glow.chain.level_shapes[-1][-1],
                num_classes,
                dtype=glow.dtype,
                name="classifier",
            )
            self._add_variables(self.classifier.parameters.values())
            self._weight_y = weight_y
            self._label_bits = keras.metrics.Mean(name="label_bits")

    # What Keras asks of a model.

    def call(
        self, inputs: tf.Tensor | Sequence[tf.Tensor] | dict[str, tf.Tensor]
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Log-probability of images, `[B]`, in nats.

        Args:
            inputs: Images; or `(images, labels)`; or with a context `(context,
                images)` or `(context, images, labels)`; or a dictionary of `images`,
                `labels`, `context`, `seed` and `first_image`, see `dequantize`, the
                last two as tensors or arrays, for Keras takes no Python numbers. The
                noise is always the same without a seed.

        Returns:
            The log-probability; and the cross-entropy of the labels in bits, `[B]`, if
            the model has a classifier.
        """
        if isinstance(inputs, list | tuple):
            names = ["images", "labels"][: len(inputs)]
            if self.glow.context_shape is not None:
                names = ["context", "images", "labels"][: len(inputs)]
            inputs = dict(zip(names, inputs, strict=True))
        elif not isinstance(inputs, dict):
            inputs = {"images": inputs}
        images, condition = self._check(
            inputs["images"], inputs.get("labels"), inputs.get("context")
        )
        seed = inputs.get("seed")
        seed = as_seed(0 if seed is None else seed)
        self.glow.choose_memory_for(images.shape[:1])  # its name is part of a trace
        arguments = (images, condition, seed, inputs.get("first_image", 0))
        # A function within a step would be built a second time to be differentiated.
        is_compiled = tf.executing_eagerly()
        if self.classifier is None:
            log_prob = self._log_prob if is_compiled else self._inline_log_prob
            return log_prob(*arguments, self.glow.memory)
        both = (
            self._log_prob_and_logits
            if is_compiled
            else self._inline_log_prob_and_logits
        )
        log_prob, logits = both(*arguments, self.glow.memory)
        return log_prob, cross_entropy_bits(logits, condition["labels"])

    def compute_loss(
        self,
        x: tf.Tensor | None = None,
        y: tf.Tensor | None = None,
        y_pred: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Mean bits/dim, and the weighted label bits; labels are part of the inputs."""
        del x, y, training
        log_prob, label_bits = (y_pred, None) if tf.is_tensor(y_pred) else y_pred
        bits = to_bits_per_dim(log_prob, self.event_shape)
        update_mean(self._bits_per_dim, bits, sample_weight)
        if label_bits is not None:
            update_mean(self._label_bits, label_bits, sample_weight)
            bits += self._weight_y * label_bits
        return mean_over_batch(bits, sample_weight)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One step of Keras's own, with noise that the step's number gives."""
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        # `iterations` are updates, for each of which it may add up several steps.
        step = optimizer._iterations
        return super().train_step(self._with_noise(data, self._seed, step))

    def test_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One step of Keras's own, with the same noise for every model and time."""
        num_images = self._loss_tracker.count  # so far, whatever weights they have
        return super().test_step(self._with_noise(data, -1, num_images))

    def predict_step(self, data: tuple) -> tf.Tensor:
        """Log-probability of images, also of those that come with labels."""
        y_pred = self(self.unpack(data)[0])
        return y_pred if tf.is_tensor(y_pred) else y_pred[0]

    def _check_targets(self, y: Any) -> Any:
        """All labels that are given, as an array, so that Keras adds no axis."""
        if y is None or self.glow.num_classes is None:
            return y
        check_labels(y, self.glow.num_classes)
        return y if tf.is_tensor(y) else np.asarray(y)

    def unpack(self, data: tuple) -> tuple[dict[str, tf.Tensor], tf.Tensor | None]:
        """Images, labels and context by their names, and the sample weights.

        Keras takes the pairs of a data set for `x` and `y`: with a context and no
        classes they are context and images.

        Args:
            data: A batch as Keras hands it out.

        Raises:
            ValueError: If x is not what the model takes.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        names = ["images"]
        if self.glow.context_shape is not None:
            names = ["context", "images"]
            if not isinstance(x, list | tuple) and y is not None:
                x, y = (x, y), None
        if isinstance(x, dict):
            raise ValueError(
                f"This model takes {' and '.join(names)}, no dictionaries. Received: "
                f"one of {sorted(x)}. Map the data set to what the model takes, with "
                "labels to pairs (x, labels)."
            )
        x = tuple(x) if isinstance(x, list | tuple) else (x,)
        if len(x) != len(names):
            raise ValueError(
                f"This model trains on {' and '.join(names)}: x must be "
                f"{'images' if len(names) == 1 else '(context, images)'}. Received: x "
                f"of {len(x)}."
            )
        inputs = dict(zip(names, x, strict=True))
        return (inputs if y is None else inputs | {"labels": y}), sample_weight

    def _with_noise(self, data: tuple, seed: int, counter: tf.Tensor) -> tuple:
        """Packs images, labels, context and a seed for `call`."""
        inputs, sample_weight = self.unpack(data)
        counter = tf.cast(tf.convert_to_tensor(counter), tf.int32)
        inputs["seed"] = tf.stack([seed, counter])
        # So that the noise of an image is the same whatever the number of replicas.
        num_images = tf.shape(inputs["images"])[0]
        inputs["first_image"] = sum_over_replicas_before(num_images)
        return inputs, None, sample_weight  # Keras's own packing drops the weights

    def _check_batch(self, batch: tuple) -> tf.Tensor:
        inputs, _ = self.unpack(batch)
        return self._check(
            inputs["images"], inputs.get("labels"), inputs.get("context")
        )[0]

    def _check_data(self, batch: tuple) -> None:
        images = self._check_batch(batch)
        num_replicas = self.distribute_strategy.num_replicas_in_sync
        memory = self.glow.choose_memory(-(-images.shape[0] // num_replicas))
        if memory != self._memory_of_steps:  # for which they were traced
            self.train_function = self._other_steps = None
            self._memory_of_steps = memory

    def _flows(self) -> list[tfd.Distribution | tf.Module]:
        return [self.distribution, *filter(None, [self.dequantizer])]

    def _initialize_from(self, batch: tuple) -> None:
        inputs, _ = self.unpack(batch)
        images, seed = tf.convert_to_tensor(inputs["images"]), as_seed(self._seed)
        if self.dequantizer is not None:
            self.dequantizer.initialize(images, seed)
        x, _ = self._dequantize(images, seed)
        condition = check_condition(
            self.glow, inputs.get("labels"), inputs.get("context"), x
        )
        initialize_bijector(self.glow, x, only_new=True, **condition)

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

    def with_dtype(self, dtype: str) -> "GlowModel":
        """A copy that computes in another precision, to tell rounding from error.

        Args:
            dtype: `"float32"`, `"float64"` or `"mixed_bfloat16"`.

        Returns:
            A new model of the same weights, as frozen as these.
        """
        own = self._config
        network_fn = own.get("network_fn")
        if callable(network_fn):  # The copy has the same, which needs no name to find.
            self._config = {**own, "network_fn": None}
        try:
            config = {**self.get_config(), "dtype": dtype}
        finally:
            self._config = own
        if "network_fn" in config:
            config["network_fn"] = network_fn
        model = type(self).from_config(config)
        model.set_weights(self.get_weights())
        freeze(model.variables, model._flows(), **frozen(self.variables))
        return model

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
