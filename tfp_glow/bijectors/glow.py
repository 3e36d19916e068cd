"""Glow: the multi-scale chain of levels of steps of flow."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import (
    as_floating,
    check_choice,
    check_event,
    check_event_shape,
    check_positive_integer,
)
from tfp_glow.bijectors.glow_chain import check_chain, new_chain
from tfp_glow.bijectors.glow_level import GlowLevel
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.bijectors.memory import (
    MEMORY,
    choose_memory,
    set_memory,
    stored_bytes_per_image,
)
from tfp_glow.bijectors.multi_scale_chain import MultiScaleChain
from tfp_glow.bijectors.one_pass import ShapedByPart
from tfp_glow.bijectors.step_factory import COUPLINGS, PERMUTATIONS, SCALES
from tfp_glow.context import (
    ContextShape,
    check_context,
    check_context_shape,
    with_known_shape,
)

__all__ = ["Glow"]

_USUAL_BATCH_SIZE = 64
"""For which `memory="auto"` chooses where the batch's size is not known."""


class Glow(ShapedByPart):
    """Glow: levels of a squeeze, steps of flow and a split, with learned priors.

    - Inverse, image to latent:
      z = chain.inverse(x)
    - Forward, latent to image:
      x = chain.forward(z)

    where `chain` is a `MultiScaleChain` of `num_levels` `GlowLevel`s. The latent of an
    image is distributed as a standard normal: see `glow_distribution`.

    Shapes:
        x: `[..., H, W, C]`; z: `[..., H W C]`; labels, with `num_classes`: `[...]`;
        context, with `context_shape`: `[..., D]` or `[..., H, W, D]`.

    Log-determinant, in nats:
        The sum of those of levels and priors.

    Example:
        >>> glow = Glow([16, 16, 3], num_levels=2, num_steps=2, hidden_channels=32)
        >>> glow.inverse(tf.zeros([5, 16, 16, 3])).shape
        TensorShape([5, 768])
        >>> glow.levels[0].steps[1].permutation.matrix().shape
        TensorShape([12, 12])

    References:
        Kingma and Dhariwal. Glow: Generative flow with invertible 1x1 convolutions.
        2018. https://arxiv.org/abs/1807.03039
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_levels: int = 3,
        num_steps: int = 32,
        hidden_channels: int = 512,
        coupling: str = "affine",
        permutation: str = "invertible_conv",
        scale: str = "sigmoid",
        learn_top_prior: bool = True,
        num_classes: int | None = None,
        context_shape: ContextShape = None,
        memory: str = "auto",
        unroll: bool | None = None,
        network_dtype: tf.DType | None = None,
        network_fn: Callable[[int, int], Callable] | None = None,
        seed: int | None = None,
        chain: MultiScaleChain | None = None,
        dtype: tf.DType | None = None,
        validate_args: bool = False,
        name: str = "glow",
    ) -> None:
        """Creates levels and priors.

        Args:
            event_shape: Shape of an image, `[H, W, C]`.
            num_levels: Levels, L in the paper. H and W must be divisible by
                `2 ** num_levels`.
            num_steps: Steps of flow in each level, K in the paper.
            hidden_channels: Width of the paper's coupling network.
            coupling: `"affine"`, `"additive"` or `"logistic_mixture"`, Flow++'s, of 4
                components, see `LogisticMixtureCoupling`.
            permutation: `"invertible_conv"`, `"shuffle"` or `"reverse"`.
            scale: What a network's output becomes where it scales: `"sigmoid"` is
                openai/glow's; with `"bounded"` every logarithm of a coupling's scale is
                within 0.25 of zero, and of a split prior's within 3, so that a deep
                model's samples do not explode. Of a mixture coupling it is the scale
                that follows the mixture.
            learn_top_prior: Whether the last latent's mean and scale are learned.
            num_classes: Number of labels on which the last latent's mean and scale
                depend. Without it the model takes no labels.
            context_shape: Shape of a context, which every coupling network and prior
                sees: `[D]` for a vector, or `[H, W, D]` for an image as large as what
                is modelled. Without it the model takes no `context`.
            memory: `"stored"` keeps all activations for the backward pass.
                `"reversible"` rebuilds them from the outputs: memory does not grow with
                `num_steps` but for parameters, a training step takes about 30%
                longer, gradients are the same but for the rounding of networks that
                XLA compiles in two ways, and there are no second derivatives and no
                forward mode. Networks from `network_fn` must then be functions of
                their input and their trainable variables alone. It saves memory inside
                a `tf.function`, as Keras trains: an eager `tf.GradientTape` keeps what
                it sees. `"auto"` takes `"stored"` where the activations of a batch need
                at most half of the device's memory, and says in the log `tfp_glow` what
                it took: see `memory`. It belongs to the chain, and so to all copies
                that share it: the one made last decides for all.
            unroll: Whether the steps of a level follow one another in the graph, or run
                as one loop, whose graph does not grow with `num_steps`. Unrolled steps
                are a little faster, and many of them start much later. By default up
                to 4 are unrolled; those with networks from `network_fn` always are.
            network_dtype: Type that the paper's coupling networks compute in, such as
                `tf.bfloat16`; all else stays as it is. `dtype` when not given. Networks
                from `network_fn` know their own.
            network_fn: Called as `network_fn(channels_in, channels_out)` for each step,
                returns its coupling network. The paper's when not given. Its input
                ends with the channels of a context, where there is one.
            seed: Seed of the initial values; drawn from Python's `random` by default.
            chain: The chain, when it exists already. What shapes a new one, such as
                `num_levels` and `num_steps`, changes nothing of it.
            dtype: Type of new variables, and of the events. That of `chain`, or
                `tf.float32`, when not given.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            TypeError: If a type is not one of floating-point numbers.
            ValueError: If `event_shape` is not divisible, a count is not a positive
                integer, a name is unknown, `event_shape` or `dtype` is not that of
                `chain`, or where `memory` is `"reversible"` a level of `chain` is not
                ours or a network no function of its input.
        """
        if chain is not None:
            num_levels, dtype = len(chain.levels), dtype or chain.dtype
        dtype = as_floating("dtype", dtype or tf.float32)
        network_dtype = as_floating("network_dtype", network_dtype or dtype)
        parameters = dict(locals())
        if chain is None:
            event_shape = check_event_shape(event_shape, num_levels)
        else:
            event_shape = check_chain(chain, event_shape, dtype)
        context_shape = check_context_shape(context_shape, event_shape[:2])
        check_positive_integer("num_steps", num_steps)
        check_positive_integer("hidden_channels", hidden_channels)
        check_choice("coupling", coupling, COUPLINGS)
        check_choice("permutation", permutation, PERMUTATIONS)
        check_choice("scale", scale, SCALES)
        check_choice("learn_top_prior", learn_top_prior, [True, False])
        check_choice("memory", memory, MEMORY)
        with tf.name_scope(name) as name:
            if chain is None:
                chain = new_chain(
                    event_shape,
                    num_levels=num_levels,
                    num_steps=num_steps,
                    hidden_channels=hidden_channels,
                    coupling=coupling,
                    permutation=permutation,
                    scale=scale,
                    learn_top_prior=learn_top_prior,
                    num_classes=num_classes,
                    context_shape=context_shape,
                    memory=memory,
                    unroll=unroll,
                    network_dtype=network_dtype,
                    network_fn=network_fn,
                    seed=seed,
                    dtype=dtype,
                )
            self.chain = chain
            self._num_classes = num_classes
            self._context_shape = context_shape
            set_memory(chain, memory)
            self._bytes_per_image = stored_bytes_per_image(
                chain.level_shapes,
                num_steps=num_steps,
                hidden_channels=hidden_channels,
                outputs_per_changed=COUPLINGS[coupling][1],
                dtype=dtype,
                network_dtype=network_dtype,
            )
            # `copy` builds from `parameters`: without this a copy is untrained.
            parameters["chain"] = chain
            super().__init__(
                forward_min_event_ndims=1,
                inverse_min_event_ndims=3,
                dtype=chain.dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    _OF_NEW_VARIABLES = ShapedByPart._OF_NEW_VARIABLES.union(
        ["coupling", "event_shape", "learn_top_prior", "num_levels"],
        ["permutation", "scale", "unroll"],
    )

    @property
    def event_shape(self) -> tf.TensorShape:
        """Shape of an image, `[H, W, C]`."""
        return self.chain.event_shape

    @property
    def _shaping_part(self) -> MultiScaleChain:
        return self.chain

    @property
    def levels(self) -> list[GlowLevel]:
        """The levels, the one nearest the image first."""
        return self.chain.levels

    @property
    def memory(self) -> str:
        """How the backward pass gets its activations.

        `"stored"` or `"reversible"`, or `"auto"` while there was nothing to choose for.
        """
        if self.chain.chooses_memory and not self._batch_size:
            return "auto"
        return getattr(self.levels[0], "memory", "stored")

    def choose_memory(self, batch_size: int | None = None) -> str:
        """Chooses how to train on batches of a size, where `memory` is `"auto"`.

        It happens by itself: `GlowModel.fit` chooses for its batches. Elsewhere
        `inverse` does for the largest batch that it has seen, or for 64 images where
        their number is unknown.

        Args:
            batch_size: Images in a batch, on one device; 64 when not given.

        Returns:
            `"stored"` or `"reversible"`.

        Raises:
            ValueError: If `batch_size` is not a positive integer.
        """
        if batch_size is None:
            batch_size = _USUAL_BATCH_SIZE
        check_positive_integer("batch_size", batch_size)
        if self.chain.chooses_memory and batch_size != self._batch_size:
            memory = choose_memory(
                self._bytes_per_image, batch_size, self._obstacle_to_reversing
            )
            for level in self.levels:
                level.memory = memory
            # The chain is what copies of a bijector share.
            self.chain.memory_batch_size = batch_size
        return self.memory

    def _obstacle_to_reversing(self) -> str | None:
        obstacles = (level.obstacle_to_reversing for level in self.levels)
        return next(filter(None, obstacles), None)

    @property
    def _batch_size(self) -> int:
        """For which memory was chosen; 0 before that."""
        return getattr(self.chain, "memory_batch_size", 0)

    @property
    def num_classes(self) -> int | None:
        """Number of labels, or None where the model takes none."""
        return self._num_classes

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """Shape of a context, or None where the model takes none."""
        return self._context_shape

    def copy(self, **overrides: Any) -> "Glow":
        """The same map, sharing the chain: its variables, and its memory.

        Args:
            **overrides: `chain`, `memory`, `name` or `validate_args`, where another is
                wanted.

        Raises:
            ValueError: If it is an argument that shapes a new chain.
        """
        has_memory = isinstance(self.levels[0], GlowLevel) and "chain" not in overrides
        if has_memory and not self.chain.chooses_memory:
            overrides.setdefault("memory", self.memory)  # as an earlier copy set it
        return super().copy(**overrides)

    def merged(self) -> "Glow":
        """The same map, of what the variables are now, to be used without training.

        Its levels keep what depends on their parameters alone, such as the inverses of
        matrices, so that no call computes it. Priors stay this one's: train it no more.

        Example:
            >>> glow = Glow([4, 4, 1], num_levels=1, num_steps=2, hidden_channels=4)
            >>> x, z = tf.ones([1, 4, 4, 1]), glow.inverse(tf.ones([1, 4, 4, 1]))
            >>> bool(np.allclose(glow.merged().inverse(x), z, atol=1e-5))
            True
        """
        levels = [
            level.merged() if isinstance(level, GlowLevel) else level
            for level in self.levels
        ]
        return self.copy(chain=self.chain.copy(levels=levels))

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, tfp.util.ParameterProperties]:
        return {"chain": tfp.util.BatchedComponentProperties(lambda self, ndims: ndims)}

    def _route(
        self, labels: tf.Tensor | None = None, context: tf.Tensor | None = None
    ) -> dict[str, dict[str, tf.Tensor]]:
        """Arguments of the chain: labels and context, to the parts that need them."""
        if (labels is None) != (self._num_classes is None):
            if labels is None:
                problem = (
                    f"needs `labels`, integers in [0, {self._num_classes}). Received: "
                    "none. With a distribution, pass "
                    '`bijector_kwargs={"labels": labels}`; inside a `tfb.Chain`, '
                    f'`{{"{self.name}": {{"labels": labels}}}}`.'
                )
            else:
                problem = (
                    "was made without `num_classes` and takes no `labels`. Received: "
                    "labels."
                )
            raise ValueError(f"`{self.name}` {problem}")
        check_context(context, self._context_shape, self.name)
        routes: dict[str, dict[str, tf.Tensor]] = {}
        if context is not None:
            context = with_known_shape(context, self._context_shape)
            routes = {part.name: {"context": context} for part in self.chain.parts}
        if labels is not None:
            routes.setdefault(self.chain.top_prior.name, {})["labels"] = labels
        return routes

    def _inverse_and_log_det(
        self, x: tf.Tensor, **condition: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = check_event(x, self.event_shape, self.name)
        self.choose_memory_for(x.shape[:-3])
        kwargs = self._route(**condition)
        z = self.chain.inverse(x, **kwargs)
        return z, self.chain.inverse_log_det_jacobian(x, event_ndims=3, **kwargs)

    def _forward_and_log_det(
        self, z: tf.Tensor, **condition: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kwargs = self._route(**condition)
        x = self.chain.forward(z, **kwargs)
        return x, self.chain.forward_log_det_jacobian(z, event_ndims=1, **kwargs)

    def choose_memory_for(self, leading: tf.TensorShape) -> None:
        """Chooses, as `inverse` does, if there were never as many images, `[...]`."""
        num_images = leading.num_elements()
        if num_images is None:
            num_images = self._batch_size or _USUAL_BATCH_SIZE
        if self.chain.chooses_memory and num_images > self._batch_size:
            self.choose_memory(num_images)

    def last_level_output(
        self, z: tf.Tensor, **condition: tf.Tensor | None
    ) -> tf.Tensor:
        """What the last level has put out, before the top prior standardised it.

        Args:
            z: What `inverse` returned, `[..., H W C]`.
            **condition: The labels and the context that `inverse` was given.

        Returns:
            `[..., h, w, c]`.
        """
        return self.chain.last_level_output(z, **self._route(**condition))

    def _initialize(
        self, x: tf.Tensor, *, only_new: bool, **condition: tf.Tensor | None
    ) -> tf.Tensor:
        """Initialises the chain, and returns what the batch becomes."""
        x = check_event(x, self.event_shape, self.name)
        kwargs = self._route(**condition)
        return initialize_bijector(self.chain, x, only_new=only_new, **kwargs)
