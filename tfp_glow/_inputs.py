"""Checks of what a `GlowModel` is given, before any of it is used."""

from math import prod

import tensorflow as tf

__all__ = ["check_images", "check_labels", "check_latents"]


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
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8:
        known = tf.get_static_value(images)
        values = "" if known is None else f", from {known.min()} to {known.max()}"
        raise TypeError(
            "`images` must be uint8, from 0 to 255. Received: "
            f"dtype={images.dtype.name}{values}. Scale them to that range and convert "
            "them: those from 0 to 1 by `(255 * images).round().astype('uint8')`."
        )
    if not images.shape.is_compatible_with([None, *event_shape]):
        raise ValueError(
            f"`images` must have shape {['B', *event_shape]}. Received: "
            f"shape={images.shape}. Add a missing batch or channel axis, resize the "
            "images, or make the model with their shape as `event_shape`."
        )
    return images


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
            "Received: none. Pass `labels`; to Keras's `fit` and `evaluate` as `y`."
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
    return labels


def check_latents(
    latents: tf.Tensor, event_shape: tuple[int, int, int], dtype: tf.DType
) -> tf.Tensor:
    """Latents as a tensor.

    Args:
        latents: `[B, H W C]`.
        event_shape: `(H, W, C)`.
        dtype: Type that the model computes in.

    Returns:
        The latents.

    Raises:
        ValueError: If they have another shape.
    """
    latents = tf.convert_to_tensor(latents, dtype)
    if not latents.shape.is_compatible_with([None, prod(event_shape)]):
        raise ValueError(
            f"`latents` must have shape [B, {prod(event_shape)}]. Received: "
            f"shape={latents.shape}."
        )
    return latents
