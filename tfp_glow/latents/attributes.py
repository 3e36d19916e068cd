"""Directions that stand for attributes, found and gone along."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_glow._batches import slices
from tfp_glow._checks import check_finite, check_positive_integer
from tfp_glow._inputs import check_image, check_no_context
from tfp_glow.glow_model import GlowModel
from tfp_glow.latents.directions import AttributeDirections
from tfp_glow.latents.levels import level_mask

__all__ = ["attribute_directions", "manipulate"]


def attribute_directions(
    model: GlowModel,
    images: Iterable[Any] | np.ndarray,
    labels: np.ndarray | None = None,
    *,
    names: Sequence[str] | None = None,
    classes: np.ndarray | None = None,
    batch_size: int = 128,
) -> AttributeDirections:
    """Mean latents of the images that have an attribute, minus those of the others.

    All attributes are found in one pass, with a sum for each: the images need not fit
    into memory.

    Args:
        model: The model.
        images: `uint8` `[N, H, W, C]`, with `labels`; or batches of `(images, labels)`,
            such as those of a `tf.data.Dataset`.
        labels: Classes, integers `[N]`, each of which is an attribute that the images
            of the others have not. Or `[N, A]`, above 0 where an image has an
            attribute (so 1 and 0, 1 and -1, or True and False). Or booleans `[N]`, for
            one attribute.
        names: Names of the attributes; their numbers when not given.
        classes: Where the model has classes and `labels` are something else, what
            `encode` needs; of a data set the third part of `(images, labels, classes)`.
        batch_size: How many images are encoded at a time, where they are an array.

    Returns:
        The directions.

    Raises:
        ValueError: If an attribute is one of all images or of none, or names, labels
            and images do not fit, or the model has a context.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> images, digits = data.load_arrays("digits", "train", limit=100)
        >>> directions = latents.attribute_directions(model, images, digits)
        >>> directions["3"].shape
        (64,)
        >>> is_even = latents.attribute_directions(
        ...     model, images, digits % 2 == 0, names=["even"]
        ... )
        >>> latents.manipulate(model, images[0], is_even["even"], [-1, 0, 1]).shape
        TensorShape([3, 8, 8, 1])

    References:
        Kingma and Dhariwal. Glow. 2018. Section 6, figure 6.
    """
    names = None if names is None else list(names)
    if names and len(set(names)) < len(names):
        raise ValueError(f"`names` must differ. Received: names={names}.")
    check_no_context(model, "attribute_directions")
    check_positive_integer("batch_size", batch_size)
    num_names = 0 if names is None else len(names)
    num_dims = sum(model.glow.chain.latent_sizes)
    total, count = np.zeros(num_dims), 0
    sums, num_positives = np.zeros([num_names, num_dims]), np.zeros(num_names)
    for batch, batch_labels, batch_classes in _batches(
        images, labels, classes, batch_size
    ):
        has_attribute = _has_attribute(batch_labels, len(sums))
        if model.glow.num_classes is not None and batch_classes is None:
            batch_classes = _as_classes(batch_labels)
        z = np.asarray(model.encode(batch, batch_classes), np.float64)
        if len(z) != len(has_attribute):
            raise ValueError(
                f"Each image needs its labels. Received: {len(z)} images, and labels "
                f"of shape {np.shape(batch_labels)}."
            )
        missing = has_attribute.shape[1] - len(sums)
        # Classes may show up late, attributes of an image may not.
        if missing and (names is not None or (count and np.ndim(batch_labels) == 2)):
            raise ValueError(
                f"There must be labels for {len(sums)} attributes, as before or as "
                f"`names` says. Received: labels for {has_attribute.shape[1]}."
            )
        sums = np.pad(sums, [(0, missing), (0, 0)])
        num_positives = np.pad(num_positives, (0, missing))
        sums += has_attribute.T @ z
        num_positives += has_attribute.sum(axis=0)
        total += z.sum(axis=0)
        count += len(z)
    names = tuple(map(str, range(len(sums)) if names is None else names))
    num_negatives = count - num_positives
    empty = [
        name
        for name, p, n in zip(names, num_positives, num_negatives, strict=True)
        if not p or not n
    ]
    if empty or not names:
        raise ValueError(
            "Each attribute needs images that have it and images that have it not. "
            f"Received: {count} images, all or none of which have {empty or 'any'}. "
            "Take more images; where a class has none, number the others without gaps, "
            "or pass booleans [N, A]."
        )
    vectors = (
        sums / num_positives[:, np.newaxis]
        - (total - sums) / num_negatives[:, np.newaxis]
    )
    return AttributeDirections(
        names,
        vectors.astype(np.float32),
        num_positives.astype(np.int64),
        num_negatives.astype(np.int64),
    )


def _batches(
    images: Any, labels: Any, classes: Any, batch_size: int
) -> Iterator[tuple[Any, np.ndarray, Any]]:
    if labels is not None:
        if len(labels) != len(images):
            raise ValueError(
                f"Each image needs its labels. Received: {len(images)} images and "
                f"{len(labels)} labels."
            )
        for part in slices(len(images), batch_size):
            of_part = None if classes is None else classes[part]
            yield images[part], np.asarray(labels[part]), of_part
        return
    for batch in images:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise ValueError(
                "Without `labels`, `images` must give batches of (images, labels). "
                f"Received: {type(batch).__name__}."
            )
        of_images, of_labels, *rest = batch
        yield of_images, np.asarray(of_labels), rest[0] if rest else None


def _as_classes(labels: np.ndarray) -> np.ndarray:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "The model has classes, and `labels` are something else: pass `classes`, "
            "integers [N], too. Received: labels of "
            f"dtype={labels.dtype}, shape={labels.shape}."
        )
    return labels


def _has_attribute(labels: np.ndarray, num_known: int) -> np.ndarray:
    """Who has what, as 1 and 0, float64 `[B, A]`; classes may be more than known."""
    if labels.ndim == 1 and labels.dtype == bool:
        labels = labels[:, np.newaxis]
    elif labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        if labels.min(initial=0) < 0:
            raise ValueError(
                "`labels` that are classes must be at least 0. Received: "
                f"{labels.min()}. Where these are attributes, pass [N, 1]."
            )
        num_classes = max(num_known, int(labels.max(initial=0)) + bool(labels.size))
        labels = labels[:, np.newaxis] == np.arange(num_classes)
    elif labels.ndim != 2:
        raise ValueError(
            "`labels` must be integers [N], booleans [N], or [N, A] for A attributes. "
            f"Received: dtype={labels.dtype}, shape={labels.shape}."
        )
    check_finite("labels", labels)
    return (labels > 0).astype(np.float64)


def manipulate(
    model: GlowModel,
    image: tf.Tensor,
    direction: tf.Tensor,
    alphas: Sequence[float] | tf.Tensor,
    *,
    levels: Iterable[int] | None = None,
    label: int | None = None,
    context: tf.Tensor | None = None,
) -> tf.Tensor:
    """An image with more or less of an attribute: `decode(encode(image) + alpha * d)`.

    Args:
        model: The model.
        image: `uint8` `[H, W, C]`.
        direction: `[H W C]`, such as `directions["Smiling"]`.
        alphas: How far to go, `[...]`: from -1 to 1 in openai/glow's demonstration, 0
            for the image itself.
        levels: Levels whose latents are moved: `[0]` for the finest alone, `[-1]` for
            the coarsest alone. All when not given.
        label: The image's, where the model has classes.
        context: The image's, where the model has one.

    Returns:
        `uint8` `[..., H, W, C]`.

    Raises:
        TypeError: If the image is not `uint8`, or the direction no numbers.
        ValueError: If there is no such level, an alpha is not finite, or shapes do not
            fit.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> image = np.zeros([8, 8, 1], np.uint8)
        >>> moved = latents.manipulate(model, image, np.ones(64), [0.0, 1.0])
        >>> bool(tf.reduce_all(moved[0] == image))
        True

    References:
        Kingma and Dhariwal. Glow. 2018. Section 6, figure 6, and
        https://github.com/openai/glow, `demo/model.py`, `manipulate`.
    """
    if isinstance(direction, str | AttributeDirections):
        raise TypeError(
            "`direction` must be the numbers of one: `directions['NAME']`. Received: "
            f"{getattr(direction, 'names', direction)!r}."
        )
    check_finite("alphas", alphas)
    mask = level_mask(model, levels)
    direction = tf.convert_to_tensor(direction, mask.dtype)
    if direction.shape != mask.shape:
        raise ValueError(
            f"`direction` must be of shape {mask.shape}, one number for each of the "
            f"latent. Received: shape={direction.shape}."
        )
    alphas = tf.convert_to_tensor(alphas, mask.dtype)
    labels = None if label is None else [label]
    image = check_image("image", image, model.event_shape)
    z = model.encode(image[tf.newaxis], labels, context=context)
    z += tf.reshape(alphas, [-1, 1]) * direction * mask  # [N, H W C]
    labels = None if label is None else tf.fill([len(z)], label)
    images = model.decode(z, labels, context=context)
    return tf.reshape(images, [*alphas.shape, *model.event_shape])
