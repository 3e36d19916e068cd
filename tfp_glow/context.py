"""What a flow is conditioned on besides labels: a vector or an image.

A context's shape, batch dimensions apart, is `[D]` for a vector or `[H, W, D]` for an
image. A vector is the same at every pixel. An image has the height and width of what is
modelled, and is squeezed as that is: a level whose image is four times smaller sees
blocks of 4 x 4 of the context's pixels as `16 D` channels, and loses nothing.
"""

from collections.abc import Sequence
from math import isqrt

import tensorflow as tf

from tfp_glow._checks import are_compatible, check_positive_integer

__all__ = [
    "ContextShape",
    "check_context",
    "check_context_shape",
    "context_at",
    "context_shape_at",
    "joined_if_image",
    "map_channels",
    "num_channels",
    "vector_channels",
    "with_context",
    "with_known_shape",
]

ContextShape = Sequence[int | None] | None


def check_context_shape(
    context_shape: ContextShape, spatial_shape: tuple[int, int] | None = None
) -> tuple[int | None, ...] | None:
    """Returns a context's shape as a tuple; raises where it is none.

    Args:
        context_shape: `[D]`, `[H, W, D]`, or None for no context.
        spatial_shape: Height and width of what is modelled, which an image has to have;
            any when not given.

    Raises:
        ValueError: If it is something else.
    """
    if context_shape is None:
        return None
    try:
        shape = tuple(tf.TensorShape(context_shape))
    except (TypeError, ValueError):
        shape = ()
    if len(shape) not in (1, 3):
        raise ValueError(
            "`context_shape` must be [D] for a vector or [H, W, D] for an image, "
            f"without the batch. Received: context_shape={context_shape!r}."
        )
    check_positive_integer("context_shape[-1]", shape[-1])
    if len(shape) == 3 and spatial_shape not in (None, shape[:2]):
        raise ValueError(
            "A context that is an image must have the height and width of what is "
            f"modelled, {spatial_shape}. Received: context_shape={context_shape!r}. "
            "Resize it, or make a vector of it by a network of yours."
        )
    return shape


def check_context(
    context: tf.Tensor | None, context_shape: ContextShape, name: str
) -> None:
    """Raises `ValueError` unless there is a context where, and only where, it belongs.

    Args:
        context: What was given.
        context_shape: What is expected, or None.
        name: Who expects it.
    """
    if (context is None) != (context_shape is None):
        if context is None:
            problem = (
                f"needs `context`, [..., {', '.join(map(str, context_shape))}]. "
                "Received: none. With a distribution, pass "
                '`bijector_kwargs={"context": context}`; inside a `tfb.Chain`, '
                f'`{{"{name}": {{"context": context}}}}`.'
            )
        else:
            problem = (
                "was made without `context_shape` and takes no `context`. Received: "
                "context."
            )
        raise ValueError(f"`{name}` {problem}")


def with_known_shape(context: tf.Tensor, context_shape: ContextShape) -> tf.Tensor:
    """A context as a tensor, whose shape is known where it was not when traced."""
    context = tf.convert_to_tensor(context)
    shape = context.shape[: -len(context_shape)].concatenate(context_shape)
    is_new = context.shape != shape and context.shape.is_compatible_with(shape)
    return tf.ensure_shape(context, shape) if is_new else context


def context_shape_at(context_shape: ContextShape, factor: int) -> ContextShape:
    """Shape of a context where the image has been made `factor` times smaller."""
    if context_shape is None or len(context_shape) == 1:
        return context_shape
    height, width, channels = context_shape
    return (
        height and height // factor,
        width and width // factor,
        channels * factor**2,
    )


def context_at(
    context: tf.Tensor | None, context_shape: ContextShape, x: tf.Tensor, name: str
) -> tf.Tensor | None:
    """A context as it belongs to images of a batch: one each, at their resolution.

    Args:
        context: `[..., D]` or `[..., H, W, D]`, whose leading dimensions broadcast to
            those of `x`; or None.
        context_shape: What a network at this resolution was made for, or None.
        x: `[..., h, w, C]`, whose height and width divide those of the context.
        name: Who expects it.

    Returns:
        `[B, D]` or `[B, h, w, D H W / (h w)]`, where `B` is the number of images in
        `x`, in the type of `x`; None where there is none.

    Raises:
        TypeError: If it is `uint8`, of which nobody says here what the values mean.
        ValueError: If a context is missing, not wanted, or of another shape.
    """
    check_context(context, context_shape, name)
    if context is None:
        return None
    context = tf.convert_to_tensor(context)
    if context.dtype == tf.uint8:
        raise TypeError(
            f"`context` of `{name}` must be of the numbers that its networks are to "
            "see. Received: dtype=uint8. Of images `GlowModel` makes values in "
            "(-0.5, 0.5) by `(context + 0.5) / 256 - 0.5`; of else cast it to float32."
        )
    context = tf.cast(context, x.dtype)
    ndims, wanted = len(context_shape), context_shape[-1]
    if context.shape.rank is None or context.shape.rank < ndims:
        _raise_for_shape(context, context_shape, x)
    # Where they are not known when it is traced, they are those that are wanted.
    channels = wanted if context.shape[-1] is None else context.shape[-1]
    factor = isqrt(wanted // max(1, channels)) if ndims == 3 else 1
    sides = zip(context.shape[-ndims:-1], x.shape[-3:-1], strict=False)
    fits = all(None in pair or pair[0] == factor * pair[1] for pair in sides)
    leading = context.shape[:-ndims]
    fits &= are_compatible(leading, x.shape[:-3]) and factor**2 * channels == wanted
    if not fits:
        _raise_for_shape(context, context_shape, x)
    event_shape = [
        tf.shape(context)[axis] if context.shape[axis] is None else context.shape[axis]
        for axis in range(-ndims, -1)
    ]
    if context.shape[-1] is None:
        context = tf.ensure_shape(context, [*context.shape[:-1], channels])
    if not leading.is_fully_defined() or leading != x.shape[:-3]:
        shape = tf.concat([tf.shape(x)[:-3], [*event_shape, channels]], axis=0)
        context = tf.broadcast_to(context, shape)
    context = tf.reshape(context, [-1, *event_shape, channels])
    return tf.nn.space_to_depth(context, factor) if factor > 1 else context


def map_channels(context_shape: ContextShape) -> int:
    """Channels that a context adds to the input of a network: an image's, or 0."""
    is_map = context_shape is not None and len(context_shape) == 3
    return context_shape[-1] if is_map else 0


def num_channels(context_shape: ContextShape) -> int:
    """Numbers of a context at each pixel, whichever it is; 0 without one."""
    return 0 if context_shape is None else context_shape[-1]


def vector_channels(context_shape: ContextShape) -> int:
    """Size of a context that is a vector, or 0."""
    is_vector = context_shape is not None and len(context_shape) == 1
    return context_shape[-1] if is_vector else 0


def joined_if_image(
    x: tf.Tensor, context: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Images with a context that is one as further channels; else both as they are."""
    if context is None or context.shape.rank == 2:
        return x, context
    return with_context(x, context), None


def with_context(x: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
    """Images `[B, h, w, C]` with a context as further channels."""
    if context.shape.rank == 2:
        context = context[:, tf.newaxis, tf.newaxis, :]
        shape = tf.concat([tf.shape(x)[:3], tf.shape(context)[3:]], axis=0)
        context = tf.broadcast_to(context, shape)
    return tf.concat([x, tf.cast(context, x.dtype)], axis=-1)


def _raise_for_shape(
    context: tf.Tensor, context_shape: Sequence[int | None], x: tf.Tensor
) -> None:
    wanted = f"[..., {context_shape[0]}]"
    if len(context_shape) == 3:
        wanted = (
            f"[..., H, W, D], {context_shape[-1]} numbers for each pixel of what is "
            "modelled, once it is as small"
        )
    raise ValueError(
        f"`context` must have shape {wanted}, one an image or one for all. Received: "
        f"shape={context.shape} for images of shape {x.shape}. Give what "
        "`context_shape` says, or make the bijector with the shape of what there is."
    )
