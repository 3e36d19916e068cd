"""The learned prior of the last level, also for each class and context."""

import tensorflow as tf

from tfp_glow._checks import (
    are_compatible,
    check_choice,
    check_event,
    check_positive_integer,
)
from tfp_glow.bijectors.one_pass import OnePass
from tfp_glow.context import (
    ContextShape,
    check_context_shape,
    context_at,
)
from tfp_glow.layers import EdgeConv, ScaledLinear

__all__ = ["TopPrior"]


class TopPrior(OnePass):
    """The last latent standardised by a mean and scale: learned, of a class, a context.

    - Inverse, image to latent:
      z = (x - mean) * exp(-log_scale)
    - Forward, latent to image:
      x = z * exp(log_scale) + mean

    `mean, log_scale` are the halves of `prior + class_prior[label]`. As in openai/glow,
    the prior is a convolution of nothing, so that only its edge indicator tells one
    pixel from another; or it is one of the context.

    Shapes:
        x, z: `[..., H, W, C]`; labels: `[...]`, integers below `num_classes`; context:
        `[..., D]` or `[..., H, W, D]`.

    Log-determinant, in nats:
        `log|det dz/dx| = -sum(log_scale)`.

    Example:
        >>> prior = TopPrior(48, num_classes=10)
        >>> prior.inverse(tf.ones([2, 4, 4, 48]), labels=[7, 3]).shape
        TensorShape([2, 4, 4, 48])

    References:
        https://github.com/openai/glow, `model.py`, `prior`.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_classes: int | None = None,
        context_shape: ContextShape = None,
        learn_prior: bool = True,
        prior: EdgeConv | None = None,
        class_prior: ScaledLinear | None = None,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "top_prior",
    ) -> None:
        """Creates the variables, or takes those that are given.

        Args:
            channels: Channels of the event.
            num_classes: Number of labels; without it there are none.
            context_shape: `[D]` or `[H, W, D]`, of a context; none when not given.
            learn_prior: Whether there is a prior shared by all classes.
            prior: The convolution that gives it. A new one when not given.
            class_prior: The map from a class to its own prior. A new one when not
                given.
            dtype: Type of new variables.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            ValueError: If a number is not a positive integer, or `learn_prior` neither
                True nor False.
        """
        parameters = dict(locals())
        check_positive_integer("channels", channels)
        check_choice("learn_prior", learn_prior, [True, False])
        with tf.name_scope(name) as name:
            self._context_shape = check_context_shape(context_shape)
            if (learn_prior or context_shape is not None) and prior is None:
                prior = EdgeConv(
                    0,
                    2 * channels,
                    context_shape=self._context_shape,
                    dtype=dtype,
                    name="prior",
                )
            if num_classes is not None:
                check_positive_integer("num_classes", num_classes)
                if class_prior is None:
                    class_prior = ScaledLinear(
                        num_classes, 2 * channels, dtype=dtype, name="class"
                    )
            self._channels = channels
            self._num_classes = num_classes
            self.prior = prior
            self.class_prior = class_prior
            # `copy` builds from `parameters`: without this a copy is untrained.
            parameters.update(prior=prior, class_prior=class_prior)
            super().__init__(
                forward_min_event_ndims=3,
                is_constant_jacobian=True,
                dtype=dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    def _mean_and_log_scale(
        self, x: tf.Tensor, labels: tf.Tensor | None, context: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Each `[H, W, C]`, or `[..., H, W, C]` with labels or a context."""
        labels = _as_labels(labels)
        self._check_labels(x, labels)
        height, width = tf.unstack(tf.shape(x)[-3:-1])
        if None not in x.shape[-3:-1]:
            height, width = x.shape[-3:-1]
        h = tf.zeros([height, width, 2 * self._channels], x.dtype)
        context = context_at(context, self._context_shape, x, self.name)
        if context is not None:
            nothing = tf.zeros([tf.shape(context)[0], height, width, 0], x.dtype)
            h += tf.reshape(
                self.prior(nothing, context),
                tf.concat([tf.shape(x)[:-1], [2 * self._channels]], axis=0),
            )
        elif self.prior is not None:
            h += self.prior(tf.zeros([1, height, width, 0], x.dtype))[0]
        if labels is not None:
            h_class = self.class_prior.of_class(labels)
            # A GPU would take a label that there is not for another, without a word.
            is_known = (labels >= 0) & (labels < self._num_classes)
            sign = tf.where(is_known, tf.ones([], x.dtype), -tf.ones([], x.dtype))
            h_class *= tf.sqrt(sign)[..., tf.newaxis]  # 1, or not a number
            h += h_class[..., tf.newaxis, tf.newaxis, :]  # [..., H, W, 2 C]
        mean, log_scale = tf.split(h, 2, axis=-1)
        return mean, log_scale

    def _check_labels(self, x: tf.Tensor, labels: tf.Tensor | None) -> None:
        if (labels is None) != (self._num_classes is None):
            wanted = (
                "needs no labels: it was made without `num_classes`"
                if self._num_classes is None
                else f"needs labels, integers in [0, {self._num_classes})"
            )
            received = "labels" if labels is not None else "no labels"
            raise ValueError(
                f"`{self.name}` {wanted}. Received: {received}. With a distribution, "
                'labels go in `bijector_kwargs={"labels": labels}`.'
            )
        if labels is None:
            return
        ndims = x.shape.rank - 3
        fits = labels.shape.rank is None or labels.shape.rank <= ndims
        if not fits or not are_compatible(labels.shape, x.shape[:-3]):
            raise ValueError(
                "There must be one label an image: `labels` of shape [...] for images "
                f"of shape [..., H, W, C]. Received: labels.shape={labels.shape} for "
                f"images of shape {x.shape}."
            )
        known = tf.get_static_value(labels)
        if known is not None and known.size:
            if known.min() < 0 or known.max() >= self._num_classes:
                raise ValueError(
                    f"`labels` must be in [0, {self._num_classes}). Received: labels "
                    f"from {known.min()} to {known.max()}."
                )

    def _inverse_and_log_det(
        self,
        x: tf.Tensor,
        labels: tf.Tensor | None = None,
        context: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = check_event(x, [None, None, self._channels], self.name)
        mean, log_scale = self._mean_and_log_scale(x, labels, context)
        z = (x - mean) * tf.exp(-log_scale)
        return z, -tf.reduce_sum(log_scale, axis=[-3, -2, -1])

    def _forward_and_log_det(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        context: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        z = check_event(z, [None, None, self._channels], self.name)
        mean, log_scale = self._mean_and_log_scale(z, labels, context)
        x = z * tf.exp(log_scale) + mean
        return x, tf.reduce_sum(log_scale, axis=[-3, -2, -1])


def _as_labels(labels: object) -> tf.Tensor | None:
    if labels is None:
        return None
    labels = tf.convert_to_tensor(labels)
    if not labels.dtype.is_integer:
        raise TypeError(
            f"`labels` must be integers, one an example. Received: "
            f"dtype={labels.dtype.name}."
        )
    return tf.cast(labels, tf.int64)  # `tf.gather` takes no unsigned ones
