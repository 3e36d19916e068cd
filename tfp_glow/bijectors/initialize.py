"""Data-dependent initialisation, for our bijectors and for chains that hold them."""

import warnings

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_continuous

tfb = tfp.bijectors
tfd = tfp.distributions

__all__ = ["dtype_of", "initialize", "initialize_bijector", "is_initialized", "is_set"]


def initialize(
    bijector_or_distribution: tfb.Bijector | tfd.Distribution,
    x: tf.Tensor,
    **kwargs: object,
) -> None:
    """Sets every act-norm so that its output on a batch has mean 0 and variance 1.

    Data-dependent initialisation, layer by layer in the direction image to latent; the
    act-norms inside coupling networks too. It overwrites what they hold. Chains of
    TFP's and of our bijectors are walked through; call it eagerly.

    Args:
        bijector_or_distribution: A bijector, or a `tfd.TransformedDistribution`.
        x: A batch of continuous inputs as `bijector.inverse` takes them, `[B, ...]`.
        **kwargs: What `bijector.inverse` takes besides, such as `labels`.

    Raises:
        TypeError: If `x` does not hold floating-point numbers.
        ValueError: If `x` is empty.

    Warns:
        UserWarning: Where a bijector of ours lies in one of TFP's that is no
            composition, or is one of a level's `steps`, so that it keeps its values.

    Example:
        >>> bijector = tfb.Chain([ActNormBijector(2), tfb.Scale(2.0)])
        >>> initialize(bijector, tf.constant([[1.0, 10.0], [3.0, 30.0]]))
        >>> bijector.bijectors[0].shift.numpy().tolist()
        [-2.0, -20.0]

    References:
        Kingma and Dhariwal. Glow. 2018. Section 3.1.
    """
    bijector = _bijector_of(bijector_or_distribution)
    x = tf.convert_to_tensor(x)
    check_continuous("x", x.dtype)
    if 0 in x.shape:
        raise ValueError(
            f"`x` must hold at least one example. Received: shape={x.shape}."
        )
    x = tf.cast(x, dtype_of(bijector) or x.dtype)
    # What TFP has cached for this very tensor is about to be wrong.
    initialize_bijector(bijector, tf.identity(x), only_new=False, **kwargs)
    for module in (bijector, *bijector.submodules):
        if isinstance(module, tfb.Bijector):
            module._cache.clear()
    if not is_initialized(bijector):
        warnings.warn(
            f"{bijector.name} holds act-norms inside bijectors that `initialize` "
            "cannot walk through; they keep their values. It knows `tfb.Chain`, TFP's "
            "other compositions, and the bijectors of tfp_glow; for the `steps` of a "
            "level give it the level.",
            stacklevel=2,
        )


def dtype_of(bijector: tfb.Bijector) -> tf.DType | None:
    """Type of a bijector's input; None where it takes any.

    A chain has no type of its own where a part has none, such as `tfb.Reshape`: that of
    its variables counts then.
    """
    own_types = [variable.dtype for variable in bijector.trainable_variables]
    return bijector.dtype or next(iter(own_types), None)


def is_initialized(bijector_or_distribution: tfb.Bijector | tfd.Distribution) -> bool:
    """Whether nothing is left to initialise in a bijector or distribution.

    Args:
        bijector_or_distribution: A bijector, or a distribution that may hold one.

    Returns:
        True when all its act-norms are initialised, or when there are none.
    """
    modules = (bijector_or_distribution, *bijector_or_distribution.submodules)
    flags = [getattr(module, "initialized", None) for module in modules]
    flags = [flag() if callable(flag) else flag for flag in flags]  # of a level's steps
    return all(is_set(flag) for flag in flags if isinstance(flag, tf.Variable))


def is_set(flag: tf.Variable) -> bool:
    """Whether a boolean variable is true; a mirrored one itself always is to Python."""
    return bool(tf.convert_to_tensor(flag))


def initialize_bijector(
    bijector: tfb.Bijector, x: tf.Tensor, *, only_new: bool, **kwargs: object
) -> tf.Tensor:
    """Initialises one bijector from a batch.

    Args:
        bijector: One of ours, a `tfb.Chain` or other composition, or anything else.
        x: `[B, ...]`.
        only_new: Whether to leave alone what is initialised already.
        **kwargs: What `bijector.inverse` takes besides.

    Returns:
        `bijector.inverse(x)` under the new values.
    """
    if hasattr(bijector, "_initialize"):
        return bijector._initialize(x, only_new=only_new, **kwargs)
    if isinstance(bijector, tfb.Composition):  # by its own walk, as `inverse` goes

        def step(part: tfb.Bijector, y: tf.Tensor, **part_kwargs: object) -> tf.Tensor:
            return initialize_bijector(part, y, only_new=only_new, **part_kwargs)

        return bijector._walk_inverse(step, x, **kwargs)
    return bijector.inverse(x, **kwargs)


def _bijector_of(
    bijector_or_distribution: tfb.Bijector | tfd.Distribution,
) -> tfb.Bijector:
    if isinstance(bijector_or_distribution, tfb.Bijector):
        return bijector_or_distribution
    # Not by class: TFP makes another one for bijectors that are no composite tensors.
    bijector = getattr(bijector_or_distribution, "bijector", None)
    if isinstance(bijector, tfb.Bijector):
        return bijector
    raise TypeError(
        "Expected a bijector or a `tfd.TransformedDistribution`. "
        f"Received: {bijector_or_distribution!r}."
    )
