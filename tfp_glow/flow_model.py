"""A Keras model that trains any TFP distribution by maximum likelihood."""

import inspect
from collections.abc import Iterable
from typing import Any, NoReturn

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._callback_list import (
    each_callback,
    look_for_minimum,
    tell_of_failed_test,
)
from tfp_glow._checks import check_positive_number
from tfp_glow._first_batch import (
    as_weights,
    check_sample_weight,
    initialize_distribution,
    look_at_first,
    look_at_validation,
    reject_targets,
)
from tfp_glow._losses import clipped, mean_over_batch, norm_of, sum_with_gradients
from tfp_glow._replicas import for_keras, make_equal, sum_over_replicas
from tfp_glow._trainable import Weight, follow_layers, freeze, frozen
from tfp_glow.adamax import Adamax
from tfp_glow.bijectors.initialize import is_initialized
from tfp_glow.step_guard import StepGuard

tfd = tfp.distributions

_FIT = inspect.signature(keras.Model.fit)

__all__ = ["FlowModel"]


class FlowModel(keras.Model):
    """Trains a distribution's variables with Keras: the loss is `-mean(log_prob(x))`.

    The model's weights are the distribution's own `tf.Variable`s: `fit`, callbacks and
    `save_weights` see them, and the distribution sees what is trained. Before the first
    step `fit` initialises the bijectors of ours from the first batch, unless
    `tfp_glow.initialize` has.

    Shapes:
        x: `[B, ...]`, continuous; the model's output is `log_prob(x)`, `[B]`, in nats.

    Example:
        >>> flow = tfb.Chain([ActNormBijector(3), LUInvertibleConv(3, seed=0)])
        >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [3])
        >>> model = FlowModel(tfd.TransformedDistribution(base, flow))
        >>> x = np.random.default_rng(0).normal(5.0, 2.0, [256, 3]).astype("float32")
        >>> history = model.fit(x, epochs=2, verbose=0)
        >>> len(history.history["loss"])
        2
    """

    def __init__(
        self, distribution: tfd.Distribution, *, name: str = "flow_model", **kwargs: Any
    ) -> None:
        """Makes the distribution's variables the weights of a model.

        Args:
            distribution: Any TFP distribution that holds variables, `tf.Variable`.
            name: Name of the model.
            **kwargs: What `keras.Model` takes besides.

        Raises:
            TypeError: If `distribution` is no TFP distribution.
        """
        if not isinstance(distribution, tfd.Distribution):
            raise TypeError(
                "`distribution` must be a TFP distribution, such as what "
                f"`tfp_glow.glow_distribution` returns. Received: {distribution!r}."
            )
        super().__init__(name=name, autocast=False, **kwargs)
        self.distribution = distribution
        self._add_variables(distribution.variables)
        self.clip_norm: float | None = None
        self.step_guard: StepGuard | None = None
        self._asked_jit_compile: bool | str = "auto"
        self.first_batch: tuple | None = None  # of `fit`, while it runs
        self.running_callbacks: tuple = ()  # so too
        self._is_prepared = False  # for `train_on_batch`
        self._other_steps: tuple | None = None  # with or without a guard
        self._gradient_norm = keras.metrics.Mean(name="gradient_norm")
        self.built = True

    def _add_variables(self, variables: Iterable[tf.Variable]) -> None:
        """Makes variables that exist already weights of the model."""
        for variable in variables:
            # Private in Keras, which has no public way to give a model a variable that
            # exists already.
            self._track_variable(Weight.of(variable))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Log-density of each example, `[B]`, in nats, in the distribution's type."""
        dtype = self.distribution.dtype
        if isinstance(dtype, tf.DType) and dtype.is_floating:
            inputs = tf.convert_to_tensor(inputs)
            if inputs.dtype.is_floating:  # Else TFP tells what is wrong.
                inputs = tf.cast(inputs, dtype)
        return self.distribution.log_prob(inputs)

    def stateless_call(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises: the distribution computes with variables of its own alone.

        Raises:
            NotImplementedError: Always; Keras would leave given values unused.
        """
        raise NotImplementedError(
            f"`stateless_call` cannot give a {type(self).__name__} other weights for a "
            "call: its distribution computes with the `tf.Variable`s that it holds. "
            "Assign them, as with `set_weights`, and call the model."
        )

    def compute_loss(
        self,
        x: tf.Tensor | None = None,
        y: tf.Tensor | None = None,
        y_pred: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Mean negative log-likelihood in nats; there are no targets `y`."""
        del x, training
        reject_targets(y)
        return mean_over_batch(-y_pred, sample_weight)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One step of the optimizer; with a guard, none where it finds the step bad.

        Logs `gradient_norm` besides: that of all variables together, summed over
        replicas, before it is clipped.
        """
        metrics = [v.value for metric in self.metrics for v in metric.variables]
        before = [tf.identity(value) for value in metrics if self.step_guard]
        with tf.GradientTape() as tape:
            loss, num_examples = self._loss_of(data)
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        (loss, num_examples), gradients = sum_with_gradients(
            [loss, num_examples], gradients
        )
        self._track_loss(loss, num_examples)
        norm = norm_of(gradients, loss.dtype) / self.optimizer.scale_loss(1.0)
        self._gradient_norm.update_state(norm)
        if self.step_guard is None:
            self._apply(gradients, norm)
        else:
            self.step_guard.run(
                self._apply, loss, norm, gradients, undo=(metrics, before)
            )
        return for_keras(self.get_metrics_result())

    def _apply(self, gradients: list[tf.Tensor | None], norm: tf.Tensor) -> None:
        """Clips gradients that are summed over replicas, and applies them."""
        if self.clip_norm is not None:
            gradients = clipped(gradients, norm, self.clip_norm)
        self.optimizer.apply(gradients, self.trainable_variables)

    def test_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """The loss of one batch."""
        self._track_loss(*sum_over_replicas(self._loss_of(data)))
        logs = self.get_metrics_result()
        logs.pop("gradient_norm", None)
        return for_keras(logs)

    def _loss_of(self, data: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of one batch, and how many examples that has."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x)
        one_each = tf.nest.flatten(y_pred)[0]  # [B]
        sample_weight = as_weights(sample_weight, one_each)
        loss = self.compute_loss(x, y, y_pred, sample_weight)
        return loss, tf.cast(tf.size(one_each), one_each.dtype)

    def _track_loss(self, loss: tf.Tensor, num_examples: tf.Tensor) -> None:
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=num_examples)

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: what Keras would build is there.

        It would take a batch away from the training to do so, and of several workers
        fails (keras-team/keras#20585).
        """

    def guard_steps(self, guard: StepGuard | None) -> None:
        """Makes training steps ask a guard, or none; `DivergenceGuard` calls this."""
        if guard is self.step_guard:
            return
        # The function was traced with the other guard. It is kept for the next `fit`.
        other = self._other_steps
        self._other_steps = (self.step_guard, self.train_function)
        known = other is not None and other[0] is guard
        self.step_guard = guard
        self.train_function = other[1] if known else None
        self.make_train_function()

    def forget_steps(self) -> None:
        """Has training steps traced anew, as where they need another learning rate."""
        self._other_steps = None
        self.make_train_function(force=True)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adamax",
        *,
        clip_norm: float | None = None,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configures training: `keras.Model.compile`, with other defaults.

        Args:
            optimizer: Name or instance; `tfg.Adamax` with learning rate 1e-3 when not
                given, as in the paper.
            clip_norm: Largest norm of the gradient, of all variables together and
                summed over replicas; a longer one is shortened to it. Keras's
                `global_clipnorm` would clip what each replica gives.
            jit_compile: Whether to use XLA. `"auto"` does where there is a GPU: on a
                CPU its steps are not faster, and the first takes twice as long.
            **kwargs: What `keras.Model.compile` takes besides.

        Raises:
            ValueError: If a `loss` or metrics are given, or `clip_norm` is no positive
                number.
        """
        if clip_norm is not None:
            check_positive_number("clip_norm", clip_norm)
        for name in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    "The loss is the negative log-likelihood, and cannot be chosen; "
                    "there are no targets for metrics. "
                    f"Received: {name}={kwargs[name]!r}. Leave `{name}` out."
                )
        if optimizer == "adamax":
            optimizer = Adamax()
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        if jit_compile == "auto" and not tf.config.list_physical_devices("GPU"):
            self.jit_compile = False
        follow_layers(self.variables, self._flows())
        self.clip_norm = clip_norm
        self._asked_jit_compile = jit_compile
        self._other_steps = None
        self._is_prepared = False
        # Keras's optimizer would sum the gradients of all replicas once more; it has no
        # public way to be told not to.
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        inner._all_reduce_sum_gradients = list

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile_from_config` needs."""
        config = super().get_compile_config()
        # Keras's has what "auto" has become here: another machine is to choose anew.
        ours = {"clip_norm": self.clip_norm, "jit_compile": self._asked_jit_compile}
        return config and {**config, **ours, **frozen(self.variables)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Restores what `compile` was given, and the optimizer's variables."""
        config = dict(config)
        # The optimizer has no slots of these.
        indices = config.pop("frozen", ()), config.pop("frozen_by_layers", None)
        freeze(self.variables, self._flows(), *indices)
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains: `keras.Model.fit`, after the data-dependent initialisation.

        Args:
            x: A `tf.data.Dataset`, arrays, or anything that Keras takes. Keras makes
                arrays of float64 float32, and leaves a data set of them as it is.
            y: Labels, where the model takes them.
            batch_size: Examples in a batch, for arrays; 32 when not given.
            *args: What `keras.Model.fit` takes besides.
            **kwargs: What `keras.Model.fit` takes besides. Callbacks whose `mode` is
                "auto" have it set to "min" where they monitor a figure of the model's.

        Returns:
            Keras's `History`.

        Raises:
            TypeError: If an argument is unknown, or data of a wrong type.
            ValueError: If there is no data, no variable, or `sample_weight` alone, or
                data or validation data do not fit the model.
        """
        arguments = _FIT.bind(self, x, y, batch_size, *args, **kwargs).arguments
        del arguments["self"]
        check_sample_weight(y, arguments)
        if not self.weights:
            what = f"Received: {self.distribution!r}, without a `tf.Variable`."
            mend = "Make its bijector or base of variables, as `tfp_glow.Glow` is."
            raise ValueError(f"There is nothing to train. {what} {mend}")
        if not self.compiled:
            self.compile()
        y = self._check_targets(y)
        validation = look_at_validation(
            arguments.get("validation_data"), self._check_targets, self._check_batch
        )
        first, x = look_at_first(x, y, batch_size or 32)
        self._prepare_for(first)
        arguments |= {"x": x, "y": y, "validation_data": validation}
        if isinstance(x, tf.data.Dataset):  # Keras warns of its default
            arguments.setdefault("shuffle", False)
        callbacks = each_callback(arguments.get("callbacks"))
        look_for_minimum(callbacks)
        self.first_batch, self.running_callbacks = first, tuple(callbacks)
        try:
            return super().fit(**arguments)
        finally:
            self.first_batch, self.running_callbacks = None, ()
            self._initial_epoch = None  # Keras's, where a callback has failed
            self.guard_steps(None)

    def train_on_batch(
        self, x: Any, y: Any = None, *args: Any, **kwargs: Any
    ) -> float | list[float] | dict[str, float]:
        """One step: `keras.Model.train_on_batch`, the first after what `fit` does."""
        if not self.compiled:
            self.compile()
        if not self._is_prepared:
            self._prepare_for((x,) if y is None else (x, y))
        return super().train_on_batch(x, y, *args, **kwargs)

    def _prepare_for(self, first: tuple) -> None:
        """Checks what is trained on first, and initialises what that is for."""
        self._check_data(first)
        if not all(map(is_initialized, self._flows())):
            self._initialize_from(first)
            # What workers see first may differ, as where a data set shuffles.
            make_equal(self.distribute_strategy, self.trainable_variables)
        if not self.optimizer.built:
            # Keras would do so while it traces the first step, and trace it again.
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        self._is_prepared = True

    def evaluate(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> float | list[float] | dict[str, float]:
        """Loss on held-out data: `keras.Model.evaluate`, after a look at all labels."""
        check_sample_weight(y, kwargs)
        y = self._check_targets(y)
        if not self.compiled:
            self.compile()
        try:
            return super().evaluate(x, y, *args, **kwargs)
        except BaseException:
            tell_of_failed_test(each_callback(kwargs.get("callbacks")))
            raise

    def _flows(self) -> list[tfd.Distribution | tf.Module]:
        """What may need data-dependent initialisation."""
        return [self.distribution]

    def _check_targets(self, y: Any) -> Any:
        """All targets that are given, as Keras is to get them."""
        reject_targets(y)
        return y

    def _check_batch(self, batch: tuple) -> Any:
        """Raises where a batch is none for the model; also while it is traced."""
        _, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        reject_targets(y)

    def _check_data(self, batch: tuple) -> None:
        """Raises before training where a batch cannot be trained on."""
        self._check_batch(batch)

    def _initialize_from(self, batch: tuple) -> None:
        """Data-dependent initialisation of whatever has not had it."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        initialize_distribution(self.distribution, x, self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        """Raises: a distribution in general cannot be written to a file.

        Raises:
            NotImplementedError: Always; weights can be saved.
        """
        raise NotImplementedError(
            "A `FlowModel` of somebody's own distribution cannot be written to a "
            "`.keras` file: Keras would not know how to build it again. Use "
            "`save_weights` and `load_weights`, or a `GlowModel`."
        )
