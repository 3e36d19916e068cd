"""Checks of what a `GlowModel` is given, before any of it is used."""

from collections.abc import Iterable
from math import prod
from numbers import Real
from typing import TYPE_CHECKING

import tensorflow as tf

from tfp_glow.context import check_context
from tfp_glow.dequantization import bin_centers

if TYPE_CHECKING:
    from tfp_glow.bijectors import Glow
    from tfp_glow.glow_model import GlowModel

__all__ = [
    "check_condition",
    "check_image",
    "check_images",
    "check_labels",
    "check_latents",
    "check_no_context",
    "check_weight_y",
]


def check_images(images: tf.Tensor, event_shape: tuple[int, int, int]) -> tf.Tensor:
    """Images as a tensor.

    Args:
        images: Must be `uint8` `[B, H, W, C]`.
        event_shape: `(H, W, C)`.

    Returns:
        The images.

    Raises:
        TypeError: If they are not `uint8`.
        ValueError: If they have another shape.
    """
    images = _as_uint8("images", images)
    if not images.shape.is_compatible_with([None, *event_shape]):
        raise ValueError(
            f"`images` must have shape [B, {_listed(event_shape)}]. Received: "
            f"shape={images.shape}. Add a missing batch or channel axis, resize the "
            "images, or make the model with their shape as `event_shape`."
        )
    if images.shape[1:].is_fully_defined():
        return images
    return tf.ensure_shape(images, [None, *event_shape])


def check_image(
    name: str, image: tf.Tensor, event_shape: tuple[int, int, int]
) -> tf.Tensor:
    """One image as a tensor.

    Args:
        name: What it is called, for the message.
        image: Must be `uint8` `[H, W, C]`.
        event_shape: `(H, W, C)`.

    Returns:
        The image.

    Raises:
        TypeError: If it is not `uint8`.
        ValueError: If it has another shape.
    """
    image = _as_uint8(name, image)
    if not image.shape.is_compatible_with(event_shape):
        raise ValueError(
            f"`{name}` must be one image, [{_listed(event_shape)}]. Received: "
            f"shape={image.shape}."
        )
    return image


def _as_uint8(name: str, images: tf.Tensor) -> tf.Tensor:
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8:
        known = tf.get_static_value(images)
        is_known = known is not None and known.size and images.dtype != tf.string
        values = f", from {known.min()} to {known.max()}" if is_known else ""
        raise TypeError(
            f"`{name}` must be uint8, from 0 to 255. Received: "
            f"dtype={images.dtype.name}{values}. Scale to that range and convert: what "
            f"is from 0 to 1 by `(255 * {name}).round().astype('uint8')`."
        )
    return images


def _listed(shape: Iterable[object]) -> str:
    return ", ".join(map(str, shape))


def check_labels(
    labels: tf.Tensor | None, num_classes: int | None, num_images: int | None = None
) -> tf.Tensor | None:
    """Labels as a tensor.

    Args:
        labels: Integers `[B]`, or none for a model without classes.
        num_classes: Number of the model's classes, or none.
        num_images: How many there must be, where it is known.

    Returns:
        The labels.

    Raises:
        ValueError: If they are missing, not wanted, out of range or no integers.
    """
    if labels is None and num_classes is None:
        return None
    if num_classes is None:
        raise ValueError(
            "This model has no classes and takes no labels. Received: labels. Make it "
            "with `num_classes`, or leave them out."
        )
    if labels is None:
        raise ValueError(
            f"This model needs labels, integers in [0, {num_classes}), one an image. "
            "Received: none. Pass `labels`; to Keras's `fit` and `evaluate` as `y`, to "
            "`predict` with the images, as a `tf.data.Dataset` of pairs."
        )
    labels = tf.convert_to_tensor(labels)
    if not labels.dtype.is_integer or not labels.shape.is_compatible_with([num_images]):
        raise ValueError(
            f"`labels` must be integers of shape [{num_images or 'B'}], one an image. "
            f"Received: dtype={labels.dtype.name}, shape={labels.shape}."
        )
    known = tf.get_static_value(labels)
    if known is not None and known.size:
        if known.min() < 0 or known.max() >= num_classes:
            raise ValueError(
                f"`labels` must be in [0, {num_classes}). Received: labels from "
                f"{known.min()} to {known.max()}."
            )
    return tf.cast(labels, tf.int32)  # of one type, so that nothing is traced twice


def check_condition(
    glow: "Glow",
    labels: tf.Tensor | None,
    context: tf.Tensor | None,
    batch: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """What a bijector takes besides images, as keyword arguments.

    Args:
        glow: The bijector.
        labels: Integers `[B]`, or none for a model without classes.
        context: `[B, *glow.context_shape]`, or without the batch one for all, or none;
            of `uint8` images the values go to (-0.5, 0.5).
        batch: The images or the latents.

    Returns:
        `labels`, `context`, both or neither, one for each image.

    Raises:
        TypeError: If a context of vectors is `uint8`.
        ValueError: If one is missing, not wanted, or of another shape.
    """
    condition = {}
    labels = check_labels(labels, glow.num_classes, batch.shape[0])
    if labels is not None:
        condition["labels"] = labels
    check_context(context, glow.context_shape, glow.name)
    if context is not None:
        condition["context"] = _as_context(context, glow, batch)
    return condition


def _as_context(context: tf.Tensor, glow: "Glow", batch: tf.Tensor) -> tf.Tensor:
    context, wanted = tf.convert_to_tensor(context), list(glow.context_shape)
    is_one_for_all = context.shape.rank == len(wanted)
    shape = wanted if is_one_for_all else [batch.shape[0], *wanted]
    if not context.shape.is_compatible_with(shape):
        one_each = _listed([batch.shape[0] or "B", *wanted])
        raise ValueError(
            f"`context` must have shape [{one_each}], one an image, or {wanted}, one "
            f"for all. Received: shape={context.shape}."
        )
    if context.dtype == tf.uint8:
        if len(wanted) == 1:
            raise TypeError(
                "`context` of vectors must be of the numbers that the networks are to "
                "see; only of images `uint8` is taken for pixels. Received: dtype="
                "uint8. Cast it to float32."
            )
        context = bin_centers(context)  # exact; the flow may be of fewer bits
    context = tf.cast(context, glow.dtype)
    if is_one_for_all:
        context = tf.broadcast_to(context, [tf.shape(batch)[0], *wanted])
    return context


def check_latents(
    latents: tf.Tensor, event_shape: tuple[int, int, int], dtype: tf.DType
) -> tf.Tensor:
    """Latents as a tensor.

    Args:
        latents: `[B, H W C]`, of any type of floating-point numbers.
        event_shape: `(H, W, C)`.
        dtype: Type that the model computes in.

    Returns:
        The latents.

    Raises:
        ValueError: If they have another shape.
    """
    if tf.is_tensor(latents):  # also Keras's variables, and of any type as NumPy's
        latents = tf.convert_to_tensor(latents)
        if latents.dtype.is_floating:
            latents = tf.cast(latents, dtype)
    latents = tf.convert_to_tensor(latents, dtype)
    if not latents.shape.is_compatible_with([None, prod(event_shape)]):
        raise ValueError(
            f"`latents` must have shape [B, {prod(event_shape)}]. Received: "
            f"shape={latents.shape}."
        )
    return latents


def check_no_context(model: "GlowModel", name: str) -> None:
    """Raises `ValueError` where a model needs a context, which `name` does not take."""
    if model.glow.context_shape is not None:
        raise ValueError(
            f"`{name}` has no place for a context, which this model needs. Use a model "
            "without. Received: a model with "
            f"context_shape={model.glow.context_shape}."
        )


def check_weight_y(weight_y: float | None, num_classes: int | None) -> None:
    """Raises `ValueError` unless it is the weight of a classifier's loss, or None."""
    if weight_y is None:
        return
    if not isinstance(weight_y, Real) or not 0 <= weight_y < float("inf"):
        raise ValueError(
            "`weight_y` must be a finite number of at least 0. Received: "
            f"weight_y={weight_y!r}."
        )
    if num_classes is None:
        raise ValueError(
            "`weight_y` weighs a classifier's loss and needs `num_classes`. Received: "
            f"weight_y={weight_y!r} without num_classes."
        )
