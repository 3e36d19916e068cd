"""The multi-scale architecture: after each level half of the channels are finished."""

from collections.abc import Callable, Sequence
from math import prod

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_event, with_event
from tfp_glow.bijectors.glow_affine_coupling import GlowAffineCoupling
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.bijectors.one_pass import OnePass
from tfp_glow.context import ContextShape, context_shape_at
from tfp_glow.layers import EdgeConv

tfb = tfp.bijectors

__all__ = ["MultiScaleChain"]


class MultiScaleChain(OnePass):
    """Levels in sequence; after each but the last, half of the channels are split off.

    - Inverse, image to latent:
      h_i, e_i = split(prior_i.inverse(level_i.inverse(h_{i-1}))),  h_0 = x,
      z = concat(flatten(e_1), ..., flatten(e_L))
    - Forward, latent to image: the other way round

    The prior of a split keeps the first half of the channels, which goes on to the next
    level, and standardises the second given the first: `e = (x_b - mean(x_a)) /
    exp(log_scale(x_a))`. That is an affine coupling, and any bijector of
    `[h, w, c]` does instead. At the last level nothing is split off, and the optional
    top prior acts on everything. The base distribution is then a standard normal.

    Shapes:
        x: `[..., H, W, C]`; z: `[..., H W C]`, the finest level first, each part as
        `[h, w, c]` flattened.

    Log-determinant, in nats:
        The sum of the levels' and the priors'.

    Keyword arguments go to the part of that name, as in `tfb.Chain`: labels for the top
    prior are `{"top_prior": {"labels": labels}}`.

    Example:
        >>> levels = [tfb.Chain([Squeeze(), ActNormBijector(4)]), Squeeze()]
        >>> chain = MultiScaleChain(levels, event_shape=[8, 8, 1])
        >>> chain.inverse(tf.ones([5, 8, 8, 1])).shape
        TensorShape([5, 64])
        >>> chain.forward(tf.ones([5, 64])).shape
        TensorShape([5, 8, 8, 1])

    References:
        Dinh et al. Density estimation using Real NVP. 2017. Section 3.6.
        Kingma and Dhariwal. Glow. 2018. Figure 2b.
    """

    def __init__(
        self,
        levels: Sequence[tfb.Bijector],
        event_shape: Sequence[int],
        *,
        split_priors: Sequence[tfb.Bijector] | None = None,
        split_log_scale_fn: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
        top_prior: tfb.Bijector | None = None,
        context_shape: ContextShape = None,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "multi_scale_chain",
    ) -> None:
        """Works out the levels' shapes, and makes the priors of the splits.

        Args:
            levels: Bijectors of images, the one nearest the image first.
            event_shape: Shape of an image, `[H, W, C]`.
            split_priors: One bijector for each level but the last, which leaves the
                first half of the channels as it is. New ones, learned and starting as
                the identity, when not given.
            split_log_scale_fn: The new ones' `log_scale_fn`, see `GlowAffineCoupling`.
            top_prior: A bijector of the last level's output. None when not given.
            context_shape: `[D]` or `[H, W, D]`, of a context that the new priors of the
                splits see: `{"split_prior_0": {"context": context}}`, and so on.
            dtype: Type of new variables, and of the events.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            ValueError: If there is no level, a level's output cannot be split, or the
                number of priors is wrong.
        """
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self.levels = list(levels)
            self._event_shape = tf.TensorShape(event_shape)
            self._level_shapes = _level_shapes(self.levels, self._event_shape)
            if split_priors is None:
                split_priors = [
                    GlowAffineCoupling(
                        shape[-1],
                        network=EdgeConv(
                            shape[-1] // 2,
                            shape[-1],
                            context_shape=self._context_at(context_shape, shape),
                            dtype=dtype,
                            name=f"split_prior_{i}",
                        ),
                        context_shape=self._context_at(context_shape, shape),
                        log_scale_fn=split_log_scale_fn,
                        dtype=dtype,
                        name=f"split_prior_{i}",
                    )
                    for i, shape in enumerate(self._level_shapes[:-1])
                ]
            if len(split_priors) != len(self.levels) - 1:
                raise ValueError(
                    "`split_priors` must hold one bijector for each level but the "
                    f"last: {len(self.levels) - 1}. Received: {len(split_priors)}."
                )
            self.split_priors = list(split_priors)
            self.top_prior = top_prior
            # `copy` builds from `parameters`: without this a copy is untrained.
            parameters["split_priors"] = split_priors
            super().__init__(
                forward_min_event_ndims=1,
                inverse_min_event_ndims=3,
                dtype=dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, tfp.util.ParameterProperties]:
        parts = tfp.util.BatchedComponentProperties
        return {
            # z has 2 dimensions less than the images that the parts see.
            "levels": parts(lambda self, ndims: [ndims + 2] * len(self.levels)),
            "split_priors": parts(
                lambda self, ndims: [ndims + 2] * len(self.split_priors)
            ),
            "top_prior": parts(event_ndims=3),
        }

    @property
    def event_shape(self) -> tf.TensorShape:
        """Shape of an image, `[H, W, C]`."""
        return self._event_shape

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Shape that each level puts out, before its split."""
        return self._level_shapes

    @property
    def latent_sizes(self) -> tuple[int, ...]:
        """How many numbers of the latent each level gives: of the last one all."""
        *finer, top = (prod(shape) for shape in self._level_shapes)
        return (*(size // 2 for size in finer), top)

    @property
    def parts(self) -> list[tfb.Bijector]:
        """Levels and priors, the part nearest the image first."""
        return [part for parts in self._parts() for part in parts]

    def _context_at(
        self, context_shape: ContextShape, shape: Sequence[int]
    ) -> ContextShape:
        """Shape of a context at the resolution of a level's output."""
        return context_shape_at(context_shape, self._event_shape[0] // shape[0])

    def _parts(self) -> list[list[tfb.Bijector]]:
        """What acts on each level, the part nearest the image first."""
        tops = [] if self.top_prior is None else [self.top_prior]
        ends = [[prior] for prior in self.split_priors] + [tops]
        return [[level, *end] for level, end in zip(self.levels, ends, strict=True)]

    def _check_arguments(self, kwargs: dict[str, dict[str, object]]) -> None:
        names = [part.name for part in self.parts]
        if unknown := sorted(kwargs.keys() - names):
            raise ValueError(
                f"`{self.name}` hands arguments to its parts by their names, {names}: "
                f'with a distribution `bijector_kwargs={{"{names[-1]}": {{...}}}}`. '
                f"Received: {', '.join(unknown)}."
            )

    def _inverse_and_log_det(
        self, x: tf.Tensor, **kwargs: dict[str, object]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        self._check_arguments(kwargs)
        x = check_event(x, self._event_shape, self.name)
        # Subtractions. Of additions TensorFlow would make one `AddN`, and of a graph
        # with an `AddN` of three it simulates the memory, for a tenth of a second.
        minus_log_det = tf.zeros([], x.dtype)
        finished = []
        for i, parts in enumerate(self._parts()):
            for part in parts:
                part_kwargs = kwargs.get(part.name, {})
                h, x = x, part.inverse(x, **part_kwargs)
                minus_log_det -= part.inverse_log_det_jacobian(h, 3, **part_kwargs)
            if i < len(self.split_priors):
                x, half = tf.split(x, 2, axis=-1)  # [..., h, w, c / 2]
                finished.append(_flatten(half))
        z = tf.concat([*finished, _flatten(x)], axis=-1)  # [..., H W C]
        return z, 0.0 - minus_log_det

    def _forward_and_log_det(
        self, z: tf.Tensor, **kwargs: dict[str, object]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        self._check_arguments(kwargs)
        z = check_event(z, [prod(self._event_shape)], self.name)
        minus_log_det = tf.zeros([], z.dtype)
        *finished, top = tf.split(z, self.latent_sizes, axis=-1)
        x = _unflatten(top, self._level_shapes[-1])
        for i, parts in reversed(list(enumerate(self._parts()))):
            if i < len(finished):
                height, width, channels = self._level_shapes[i]
                half = _unflatten(finished[i], (height, width, channels // 2))
                x = tf.concat([x, half], axis=-1)  # [..., h, w, c]
            for part in reversed(parts):
                part_kwargs = kwargs.get(part.name, {})
                h, x = x, part.forward(x, **part_kwargs)
                minus_log_det -= part.forward_log_det_jacobian(h, 3, **part_kwargs)
        return x, 0.0 - minus_log_det  # [..., H, W, C]

    def last_level_output(self, z: tf.Tensor, **kwargs: dict[str, object]) -> tf.Tensor:
        """What the last level has put out, before the top prior standardised it.

        Args:
            z: What `inverse` returned, `[..., H W C]`.
            **kwargs: What `inverse` was given.

        Returns:
            `[..., h, w, c]`, the last of `level_shapes`.
        """
        top = _unflatten(z[..., -self.latent_sizes[-1] :], self._level_shapes[-1])
        if self.top_prior is None:
            return top
        return self.top_prior.forward(top, **kwargs.get(self.top_prior.name, {}))

    def _initialize(
        self, x: tf.Tensor, *, only_new: bool, **kwargs: dict[str, object]
    ) -> tf.Tensor:
        """Initialises level by level, and returns what the batch becomes."""
        finished = []
        for i, parts in enumerate(self._parts()):
            for part in parts:
                part_kwargs = kwargs.get(part.name, {})
                x = initialize_bijector(part, x, only_new=only_new, **part_kwargs)
            if i < len(self.split_priors):
                x, half = tf.split(x, 2, axis=-1)  # [..., h, w, c / 2]
                finished.append(_flatten(half))
        return tf.concat([*finished, _flatten(x)], axis=-1)  # [..., H W C]

    def _inverse_event_shape(self, x_shape: tf.TensorShape) -> tf.TensorShape:
        with_event(x_shape, self._event_shape, self.name)
        return x_shape[:-3].concatenate([prod(self._event_shape)])

    def _forward_event_shape(self, z_shape: tf.TensorShape) -> tf.TensorShape:
        with_event(z_shape, [prod(self._event_shape)], self.name)
        return z_shape[:-1].concatenate(self._event_shape)

    def _inverse_event_shape_tensor(self, x_shape: tf.Tensor) -> tf.Tensor:
        self._inverse_event_shape(tf.TensorShape(tf.get_static_value(x_shape)))
        return tf.concat([x_shape[:-3], [prod(self._event_shape)]], axis=0)

    def _forward_event_shape_tensor(self, z_shape: tf.Tensor) -> tf.Tensor:
        self._forward_event_shape(tf.TensorShape(tf.get_static_value(z_shape)))
        return tf.concat([z_shape[:-1], self._event_shape.as_list()], axis=0)


def _level_shapes(
    levels: Sequence[tfb.Bijector], event_shape: tf.TensorShape
) -> tuple[tuple[int, ...], ...]:
    """Shape that each level puts out; raises where half of it cannot be split off."""
    if not levels or event_shape.rank != 3 or not event_shape.is_fully_defined():
        raise ValueError(
            "`MultiScaleChain` needs at least one level, and `event_shape`=[H, W, C] "
            f"in numbers. Received: {len(levels)} levels, event_shape={event_shape}."
        )
    shapes = []
    shape = event_shape
    for i, level in enumerate(levels):
        shape = level.inverse_event_shape(shape)
        shapes.append(tuple(shape))
        if i < len(levels) - 1:
            height, width, channels = shape
            if channels % 2:
                raise ValueError(
                    "After each level but the last half of the channels is split off, "
                    f"so their number must be even. Received: level {i} puts out "
                    f"{tuple(shape)}. Let it begin with a `Squeeze`."
                )
            shape = tf.TensorShape([height, width, channels // 2])
    return tuple(shapes)


def _flatten(x: tf.Tensor) -> tf.Tensor:
    """`[..., h, w, c]` to `[..., h w c]`."""
    return _reshape_event(x, 3, [prod(x.shape[-3:])])


def _unflatten(z: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """`[..., h w c]` to `[..., h, w, c]`."""
    return _reshape_event(z, 1, shape)


def _reshape_event(x: tf.Tensor, event_ndims: int, shape: Sequence[int]) -> tf.Tensor:
    leading = x.shape[: x.shape.rank - event_ndims]
    if leading.rank == 1:
        return tf.reshape(x, [-1, *shape])
    known = leading if leading.is_fully_defined() else tf.shape(x)[: leading.rank]
    return tf.reshape(x, tf.concat([known, shape], axis=0))
