"""One level of Glow: a squeeze, then steps of flow whose parameters are stacked."""

from collections.abc import Callable
from functools import cached_property, partial

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import (
    as_rng,
    check_choice,
    check_event,
    check_positive_integer,
)
from tfp_glow.bijectors.flat_batch import apply_to_flat_batch
from tfp_glow.bijectors.glow_step import (
    GlowStep,
    folded_inverse_matrix,
    folded_log_det,
    folded_matrix,
)
from tfp_glow.bijectors.initialize import is_set
from tfp_glow.bijectors.merged_glow_level import MergedGlowLevel
from tfp_glow.bijectors.squeezed_steps import STATE, PreparedSteps, SqueezedSteps
from tfp_glow.bijectors.step_factory import (
    COUPLINGS,
    NOT_TRAINED,
    PERMUTATIONS,
    SCALES,
    StepFactory,
)
from tfp_glow.context import (
    ContextShape,
    check_context_shape,
    context_at,
    num_channels,
)
from tfp_glow.user_network import UserNetwork, as_network

tfb = tfp.bijectors

__all__ = ["GlowLevel"]

_MAX_UNROLLED_STEPS = 4
"""A loop of few steps saves no time at the start, and costs a little in every step."""


class GlowLevel(SqueezedSteps):
    """A squeeze and `num_steps` steps of flow, as one bijector.

    - Inverse, image to latent:
      z = step_K.inverse(... step_1.inverse(squeeze.inverse(x)))
    - Forward, latent to image: the other way round

    The steps' parameters are stacked along a leading `num_steps` axis, one variable a
    kind, so that optimiser, checkpoint and graph stay small; `steps[k]` shows step k as
    an ordinary bijector. Networks from `network_fn` keep variables of their own.

    Shapes:
        x: `[..., H, W, C]`; z: `[..., H / 2, W / 2, 4 C]`; context, with
        `context_shape`: `[..., D]` or `[..., H, W, D]`.

    Log-determinant, in nats:
        The sum of the steps'.

    Example:
        >>> level = GlowLevel(3, num_steps=4, hidden_channels=32)
        >>> level.inverse(tf.ones([8, 32, 32, 3])).shape
        TensorShape([8, 16, 16, 12])
        >>> level.steps[2].act_norm.shift.shape
        TensorShape([12])

    References:
        Kingma and Dhariwal. Glow. 2018. Figure 2b.
    """

    # The steps are views of `stacked`: walking them would only find it again.
    _TF_MODULE_IGNORED_PROPERTIES = frozenset(
        {"steps", "obstacle_to_reversing", *tfb.Bijector._TF_MODULE_IGNORED_PROPERTIES}
    )

    _OF_NEW_VARIABLES = SqueezedSteps._OF_NEW_VARIABLES | {"coupling", "permutation"}

    def __init__(
        self,
        channels: int,
        *,
        num_steps: int = 32,
        hidden_channels: int = 512,
        coupling: str = "affine",
        permutation: str = "invertible_conv",
        scale: str = "sigmoid",
        memory: str = "stored",
        unroll: bool | None = None,
        context_shape: ContextShape = None,
        network_fn: Callable[[int, int], Callable] | None = None,
        network_dtype: tf.DType | None = None,
        spatial_shape: tuple[int, int] = (8, 8),
        seed: int | None = None,
        stacked: dict[str, tf.Variable] | None = None,
        networks: list[UserNetwork] | None = None,
        initialized: tf.Variable | None = None,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "glow_level",
    ) -> None:
        """Creates the stacked variables, or takes those that are given.

        Args:
            channels: Channels of the image, before the squeeze.
            num_steps: Steps of flow, K in the paper.
            hidden_channels: Width of the paper's coupling network.
            coupling: `"affine"`, `"additive"` or `"logistic_mixture"`.
            permutation: `"invertible_conv"`, `"shuffle"` or `"reverse"`.
            scale: Of affine and mixture couplings: `"sigmoid"`, openai/glow's, or
                `"bounded"`.
            memory: `"stored"` or `"reversible"`, see `Glow`.
            unroll: Whether the steps follow one another in the graph, or run as one
                loop, see `Glow`.
            context_shape: `[D]` or `[H, W, D]`, of a context at the resolution that the
                steps see, hence after the squeeze; none when not given.
            network_fn: Called as `network_fn(channels_in, channels_out)` for each step,
                returns its coupling network, see `Glow`. The paper's when not given.
            network_dtype: Type that the paper's networks compute in, see `Glow`.
            spatial_shape: Height and width after the squeeze, on which networks from
                `network_fn` are built.
            seed: Seed of the initial values.
            stacked: The stacked parameters, by name. New variables when not given.
            networks: The networks that `network_fn` made.
            initialized: Whether data-dependent initialisation has happened.
            dtype: Type of new variables.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            ValueError: If a count is not a positive integer, `coupling`, `permutation`,
                `scale`, `memory` or `unroll` is none of its choices, or a network is
                found not to be a function of its input where `memory` is
                `"reversible"`.
        """
        parameters = dict(locals())
        check_positive_integer("channels", channels)
        check_positive_integer("num_steps", num_steps)
        check_positive_integer("hidden_channels", hidden_channels)
        check_choice("coupling", coupling, COUPLINGS)
        check_choice("permutation", permutation, PERMUTATIONS)
        check_choice("scale", scale, SCALES)
        check_choice("unroll", unroll, [None, True, False])
        with tf.name_scope(name) as name:
            channels = 4 * channels
            channels_in = channels // 2
            context_shape = check_context_shape(context_shape)
            channels_out = channels_in * COUPLINGS[coupling][1]
            if unroll is None:
                unroll = num_steps <= _MAX_UNROLLED_STEPS
            is_layer = hasattr(network_fn, "trainable_weights")  # Keras's
            is_layer &= not isinstance(network_fn, type)
            if network_fn is not None and (is_layer or not callable(network_fn)):
                raise TypeError(
                    "`network_fn` must be callable: it is given the channels in and "
                    "out, and makes a step's network, and is none. Received: "
                    f"network_fn={network_fn!r}."
                )
            if network_fn is not None and networks is None:
                networks = [
                    as_network(
                        network_fn(
                            channels_in + num_channels(context_shape),
                            channels_out,
                        ),
                        channels_in,
                        channels_out,
                        context_shape=context_shape,
                        spatial_shape=spatial_shape,
                        dtype=dtype,
                    )
                    for _ in range(num_steps)
                ]
            self.networks = networks
            factory = StepFactory(
                channels,
                coupling=coupling,
                permutation=permutation,
                scale=scale,
                networks=networks,
                network_dtype=network_dtype,
                context_shape=context_shape,
                dtype=dtype,
            )
            self.memory = memory
            if stacked is None:
                rng = as_rng(seed)
                initial = factory.initial_parameters(num_steps, hidden_channels, rng)
                stacked = {
                    key: tf.Variable(value, trainable=key not in NOT_TRAINED, name=key)
                    for key, value in initial.items()
                }
                initialized = tf.Variable(False, trainable=False, name="initialized")
            counts = {value.shape[0] for value in stacked.values()}
            if counts != {num_steps}:
                raise ValueError(
                    f"`stacked` must hold {num_steps} steps, along the first axis. "
                    f"Received: {sorted(counts)}."
                )
            self.stacked = stacked
            self.initialized = initialized
            # `copy` builds from `parameters`: without this a copy is untrained.
            parameters.update(
                stacked=stacked, networks=networks, initialized=initialized
            )
            super().__init__(
                factory,
                num_steps=num_steps,
                unroll=unroll,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @property
    def memory(self) -> str:
        """`"stored"` or `"reversible"`: how the backward pass gets its activations."""
        return self._memory

    @memory.setter
    def memory(self, memory: str) -> None:
        check_choice("memory", memory, ["reversible", "stored"])
        problem = self.obstacle_to_reversing if memory == "reversible" else None
        if problem:
            raise ValueError(problem)
        self._memory = memory

    @cached_property
    def obstacle_to_reversing(self) -> str | None:
        """Why `memory` cannot be `"reversible"`, as far as can be seen; else None."""
        for network in self.networks or ():
            if isinstance(network, UserNetwork) and not network.is_deterministic:
                return (
                    '`memory`="reversible" evaluates a coupling network twice and '
                    "needs the same output: it must be a function of its input, "
                    "without dropout and without variables that a call changes. "
                    f"Received: network={network.network!r}, whose output or "
                    "variables change from call to call. Mend the network, or use "
                    '`memory`="stored".'
                )
        return None

    @cached_property
    def steps(self) -> tuple[GlowStep, ...]:
        """The steps, first the one nearest the image, as views of the variables."""

        def view(variable: tf.Variable, k: int) -> tfp.util.DeferredTensor:
            return tfp.util.DeferredTensor(
                variable, lambda v: v[k], shape=variable.shape[1:]
            )

        with tf.init_scope():  # What is kept must not belong to a graph.
            return tuple(
                self._factory.step(
                    {key: view(v, k) for key, v in self.stacked.items()},
                    k,
                    initialized=partial(getattr, self, "initialized"),
                )
                for k in range(self._num_steps)
            )

    def prepare(self) -> PreparedSteps:
        """What depends on the parameters alone."""
        stacked = {key: tf.convert_to_tensor(v) for key, v in self.stacked.items()}
        act_norm, permutation = self._factory.mixing(
            stacked, self._num_steps, dtype=STATE
        )
        return PreparedSteps(
            shift=act_norm.shift,
            matrix=partial(folded_matrix, act_norm, permutation),
            inverse_matrix=partial(folded_inverse_matrix, act_norm, permutation),
            log_det=tf.reduce_sum(folded_log_det(act_norm, permutation)),
            networks=self._factory.prepare_networks(stacked),
        )

    def merged(self) -> MergedGlowLevel:
        """The same map, of what the parameters are now, to be used without training."""
        return MergedGlowLevel.of(
            self.prepare(),
            self._factory,
            num_steps=self._num_steps,
            unroll=self._unroll,
            name=self.name,
        )

    def _initialize(
        self, x: tf.Tensor, *, only_new: bool, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Initialises the steps in turn, and returns what the batch becomes."""
        if only_new and is_set(self.initialized):
            return self.inverse(x, **({} if context is None else {"context": context}))
        x = check_event(x, [None, None, self._factory.channels // 4], self.name)
        x = self._squeeze.inverse(x)
        standardize = partial(
            self._standardize,
            context=context_at(context, self._factory.context_shape, x, self.name),
        )
        z = apply_to_flat_batch(standardize, x)
        self.initialized.assign(True)
        return z

    def _standardize(self, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Initialises the steps in turn from squeezed images, `[B, H, W, C]`."""
        standardize = self._factory.standardize
        if self.networks is None:
            standardize = tf.function(standardize, autograph=False)  # once for all
        slices = {key: tf.unstack(variable) for key, variable in self.stacked.items()}
        steps = []
        for k in range(self._num_steps):
            step = {key: value[k] for key, value in slices.items()}
            x, found = standardize(x, step, k if self.networks else 0, context)
            steps.append(found)
        for key in steps[0]:
            self.stacked[key].assign(tf.stack([step[key] for step in steps]))
        return x
