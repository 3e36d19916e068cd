"""From one image to another through latent space."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfp_glow._checks import check_choice, check_finite, check_positive_integer
from tfp_glow._inputs import check_image, check_labels
from tfp_glow.glow_model import GlowModel
from tfp_glow.latents.levels import level_mask

__all__ = ["blend", "interpolate", "interpolate_grid", "interpolate_path", "slerp"]

Labels = int | tf.Tensor | None


def slerp(a: tf.Tensor, b: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Spherical linear interpolation: along the arc, not the chord.

    With `omega` the angle between `a` and `b` it is

        (sin((1 - w) omega) a + sin(w omega) b) / sin(omega)

    Between latents of a standard normal, all about as long, it keeps that length, where
    the middle of the chord is shorter by about a factor of sqrt(2). Where the two point
    the same way, or opposite ways, there is no one arc, and it is linear.

    Args:
        a: `[..., D]`, in whose type it is computed; in float32 where that is none of
            floating-point numbers.
        b: `[..., D]`.
        weights: `[...]`: 0 gives `a`, 1 gives `b`.

    Returns:
        `[..., D]`.

    Example:
        >>> latents.slerp(tf.constant([1.0, 0.0]), tf.constant([0.0, 1.0]), 0.5).numpy()
        array([0.70710677, 0.70710677], dtype=float32)

    References:
        Shoemake. Animating rotation with quaternion curves. 1985.
        White. Sampling generative networks. 2016. Section 2.1.
        https://arxiv.org/abs/1609.04468
    """
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    if not a.dtype.is_floating:
        a = tf.cast(a, tf.float32)
    b = tf.cast(b, a.dtype)
    w = tf.convert_to_tensor(weights, a.dtype)[..., tf.newaxis]
    unit_a, unit_b = (tf.math.l2_normalize(x, axis=-1) for x in (a, b))
    # An arc cosine would lose half of the digits where they point nearly opposite ways.
    chord = tf.norm(unit_a - unit_b, axis=-1, keepdims=True)
    diagonal = tf.norm(unit_a + unit_b, axis=-1, keepdims=True)
    omega = 2 * tf.atan2(chord, diagonal)
    sine = tf.sin(omega)
    is_arc = sine > 1e-6
    safe = tf.where(is_arc, sine, tf.ones_like(sine))
    of_a = tf.where(is_arc, tf.sin((1 - w) * omega) / safe, 1 - w)
    of_b = tf.where(is_arc, tf.sin(w * omega) / safe, w)
    return of_a * a + of_b * b


def _linear(a: tf.Tensor, b: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    w = tf.convert_to_tensor(weights, a.dtype)[..., tf.newaxis]
    return (1 - w) * a + w * b


_METHODS = {"linear": _linear, "spherical": slerp}


def blend(
    model: GlowModel,
    a: tf.Tensor,
    b: tf.Tensor,
    weights: float | tf.Tensor = 0.5,
    *,
    method: str = "linear",
    levels: Iterable[int] | None = None,
    labels: Labels = None,
    context: tf.Tensor | None = None,
) -> tf.Tensor:
    """Images between two, or the coarse of one with the fine of the other.

    Args:
        model: The model.
        a: An image, `uint8` `[H, W, C]`.
        b: Another.
        weights: How much of `b` there is in each blend, `[...]`, from 0 to 1.
        method: `"linear"` as in the paper, or `"spherical"`, see `slerp`.
        levels: Levels that are blended, 0 the finest and -1 the coarsest; all when not
            given. The others are those of `a`, and `"spherical"` leaves them out of
            account.
        labels: Where the model has classes, the labels of `a` and `b`, or one for both.
            A blend is decoded with that from which most of its last level comes.
        context: The same for a model with a context: `[2, ...]`, or one for both.

    Returns:
        `uint8` `[..., H, W, C]`.

    Raises:
        TypeError: If the images are not `uint8`.
        ValueError: If there is no such method or level, a weight is not finite, or
            shapes do not fit.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> a, b = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 1], np.uint8)
        >>> coarse_of_b = latents.blend(model, a, b, 1.0, levels=[-1])
        >>> coarse_of_b.shape
        TensorShape([8, 8, 1])
    """
    check_choice("method", method, _METHODS)
    check_finite("weights", weights)
    weights = np.asarray(weights)
    flat = weights.reshape(-1)
    is_blended = level_mask(model, levels).numpy() > 0
    _check_condition(model, labels, context, 2)
    condition = _of_images(model, labels, context, [0, 1])
    shape = model.event_shape
    images = tf.stack([check_image("a", a, shape), check_image("b", b, shape)])
    z_a, z_b = model.encode(images, **condition).numpy()
    z = np.tile(z_a, [len(flat), 1])  # [N, H W C]
    # The arc is that between the parts that move.
    z[:, is_blended] = _METHODS[method](z_a[is_blended], z_b[is_blended], flat)
    # The labels' prior is that of the last level.
    nearest = (flat > 0.5) & is_blended[-1]
    condition = _of_images(model, labels, context, nearest.astype(int))
    images = model.decode(z, **condition)
    return tf.reshape(images, [*weights.shape, *model.event_shape])


def interpolate(
    model: GlowModel,
    a: tf.Tensor,
    b: tf.Tensor,
    steps: int = 9,
    *,
    method: str = "linear",
    levels: Iterable[int] | None = None,
    labels: Labels = None,
    context: tf.Tensor | None = None,
) -> tf.Tensor:
    """Images from one to another, both included, at the model's `num_bits`.

    Args:
        model: The model.
        a: The first image, `uint8` `[H, W, C]`.
        b: The last.
        steps: How many images, at least 2.
        method: `"linear"` as in the paper, or `"spherical"`, see `slerp`.
        levels: As `blend` takes them.
        labels: As `blend` takes them.
        context: As `blend` takes it.

    Returns:
        `uint8` `[steps, H, W, C]`.

    Raises:
        TypeError: If the images are not `uint8`.
        ValueError: If there is no such method or level, or shapes do not fit.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> a, b = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 1], np.uint8)
        >>> between = latents.interpolate(model, a, b, 5)
        >>> bool(tf.reduce_all(between[0] == a)), bool(tf.reduce_all(between[4] == b))
        (True, True)

    References:
        Kingma and Dhariwal. Glow. 2018. Section 6, figure 5.
    """
    return blend(
        model,
        a,
        b,
        np.linspace(0.0, 1.0, _checked(steps)),
        method=method,
        levels=levels,
        labels=labels,
        context=context,
    )


def interpolate_path(
    model: GlowModel,
    images: tf.Tensor,
    steps: int = 9,
    *,
    method: str = "linear",
    labels: Labels = None,
    context: tf.Tensor | None = None,
) -> tf.Tensor:
    """Images along a path through several.

    Args:
        model: The model.
        images: The images of the path, `uint8` `[N, H, W, C]`, at least two.
        steps: How many images from each to the next, both included.
        method: `"linear"` or `"spherical"`.
        labels: Where the model has classes, integers `[N]`, or one for all.
        context: The same for a model with a context: `[N, ...]`, or one for all.

    Returns:
        `uint8` `[(N - 1) (steps - 1) + 1, H, W, C]`.

    Raises:
        TypeError: If the images are not `uint8`.
        ValueError: If there are too few, there is no such method, or shapes do not fit.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> images = np.random.default_rng(0).integers(0, 256, [3, 8, 8, 1], np.uint8)
        >>> latents.interpolate_path(model, images, 5).shape
        TensorShape([9, 8, 8, 1])
    """
    if len(images) < 2:
        raise ValueError(
            f"A path needs at least two images. Received: {len(images)} in `images`."
        )
    _check_condition(model, labels, context, len(images))
    parts = [
        interpolate(
            model,
            images[i],
            images[i + 1],
            steps,
            method=method,
            **_of_images(model, labels, context, [i, i + 1]),
        )
        for i in range(len(images) - 1)
    ]
    return tf.concat([parts[0], *(part[1:] for part in parts[1:])], axis=0)


def interpolate_grid(
    model: GlowModel,
    corners: tf.Tensor,
    steps: int = 5,
    *,
    method: str = "linear",
    labels: Labels = None,
    context: tf.Tensor | None = None,
) -> tf.Tensor:
    """Images between four.

    Args:
        model: The model.
        corners: `uint8` `[4, H, W, C]`: top left, top right, bottom left, bottom right.
        steps: How many rows, and how many columns.
        method: `"linear"`, or `"spherical"`: first along rows, then down columns.
        labels: Where the model has classes, integers `[4]`, or one for all; an image
            is decoded with that of the nearest corner.
        context: The same for a model with a context: `[4, ...]`, or one for all.

    Returns:
        `uint8` `[steps, steps, H, W, C]`.

    Raises:
        TypeError: If the images are not `uint8`.
        ValueError: If there are not four, there is no such method, or shapes do not
            fit.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> corners = np.random.default_rng(0).integers(0, 256, [4, 8, 8, 1], np.uint8)
        >>> latents.interpolate_grid(model, corners, 3).shape
        TensorShape([3, 3, 8, 8, 1])
    """
    check_choice("method", method, _METHODS)
    if len(corners) != 4:
        raise ValueError(
            f"A grid needs four images. Received: {len(corners)} in `corners`."
        )
    mix, weights = _METHODS[method], np.linspace(0.0, 1.0, _checked(steps))
    corners = tf.stack([check_image("corners", c, model.event_shape) for c in corners])
    _check_condition(model, labels, context, 4)
    condition = _of_images(model, labels, context, range(4))
    z = model.encode(corners, **condition)
    top, bottom = (mix(z[i], z[i + 1], weights) for i in (0, 2))  # [columns, H W C]
    grid = mix(top, bottom, weights[:, np.newaxis])  # [rows, columns, H W C]
    is_second = (weights > 0.5).astype(int)
    nearest = 2 * is_second[:, np.newaxis] + is_second
    images = model.decode(
        tf.reshape(grid, [steps * steps, -1]),
        **_of_images(model, labels, context, nearest.ravel()),
    )
    return tf.reshape(images, [steps, steps, *model.event_shape])


def _checked(steps: int) -> int:
    check_positive_integer("steps", steps)
    if steps < 2:
        raise ValueError(f"`steps` counts both ends. Received: steps={steps}.")
    return steps


def _check_condition(
    model: GlowModel, labels: Labels, context: tf.Tensor | None, num_images: int
) -> None:
    """Raises `ValueError` unless there are labels and contexts of all, or one."""
    if labels is not None and np.ndim(labels):
        check_labels(labels, model.glow.num_classes, num_images)
    event_rank = len(model.glow.context_shape or ())
    is_of_each = context is not None and np.ndim(context) > event_rank
    if is_of_each and len(context) != num_images:
        raise ValueError(
            f"`context` must be of {num_images} images, or one for all. Received: "
            f"shape={np.shape(context)}."
        )


def _of_images(
    model: GlowModel, labels: Labels, context: tf.Tensor | None, indices: Iterable[int]
) -> dict[str, tf.Tensor | None]:
    """Labels and context of the images at some places; one for all is repeated."""
    indices = list(indices)
    if labels is not None:
        labels = tf.convert_to_tensor(labels)
        is_one = labels.shape.rank == 0
        labels = (
            tf.fill([len(indices)], labels) if is_one else tf.gather(labels, indices)
        )
    if context is not None:
        context = tf.convert_to_tensor(context)
        if context.shape.rank > len(model.glow.context_shape or ()):
            context = tf.gather(context, indices)
    return {"labels": labels, "context": context}
