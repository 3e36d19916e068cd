"""A guard against steps that would ruin a model."""

import math
from numbers import Integral

import keras
import numpy as np
import tensorflow as tf

from tfp_glow._checks import check_positive_integer, check_positive_number
from tfp_glow._places import Activations, Place, places
from tfp_glow.flow_model import FlowModel
from tfp_glow.step_guard import StepGuard

__all__ = ["DivergenceGuard", "ScaledSchedule", "TrainingDiverged"]

_GROWTH = 10.0
"""Times by which what a part puts out must have grown, for it to be named."""


class TrainingDiverged(ValueError):
    """Training went wrong again and again."""


@keras.saving.register_keras_serializable("tfp_glow")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule, times a number that may change.

    Attributes:
        factor: The number.
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        factor: float = 1.0,
    ) -> None:
        """Takes the schedule.

        Args:
            schedule: The schedule.
            factor: The number to begin with.
        """
        self.schedule = schedule
        self.factor = tf.Variable(float(factor), trainable=False)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step."""
        return self.schedule(step) * self.factor

    def get_config(self) -> dict:
        """What `from_config` needs."""
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "factor": float(self.factor.numpy())}

    @classmethod
    def from_config(cls, config: dict) -> "ScaledSchedule":
        """Makes it again."""
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["factor"])


class DivergenceGuard(keras.callbacks.Callback):
    """Keeps a training from blowing up.

    A step is bad if its loss or gradient is not finite, or its loss is far above the
    mean of the last ones. It is skipped within the training step: neither weights nor
    the optimizer's slots and averages see it, and the epoch's metrics are as if its
    batch had not been there. After several bad steps in a row, or a validation loss
    that is not finite, the weights are to blame: everything goes back to where it was
    before it went wrong, the learning rate is lowered, and a message names the part of
    the model that went first. `fit` logs `num_skipped` and
    `num_rollbacks`, counted since it began.

    Each `fit` is a training of its own: mean loss, skipped steps and `max_rollbacks`
    begin anew, also where the same guard is used for one epoch after the other; only a
    lowered learning rate stays as it is. A training that was interrupted goes on with
    them where the guard is among the `parts` of its `TrainingState`.

    Within several steps at once, of `compile`'s `steps_per_execution`, bad ones are
    skipped alike; it tells of them, and goes back, when all have been made, if the last
    ones were bad.

    What to go back to is copied every `every_n_steps` good steps, and trusted after as
    many more: two copies of weights and slots are in the computer's memory.

    Example:
        >>> x = np.random.default_rng(0).normal(size=[64, 3]).astype("float32")
        >>> x[:8] = np.nan
        >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [3])
        >>> shift = tfb.Shift(tf.Variable(tf.zeros([3])))
        >>> model = FlowModel(tfd.TransformedDistribution(base, shift))
        >>> history = model.fit(
        ...     x, batch_size=8, shuffle=False, callbacks=[DivergenceGuard()], verbose=0
        ... )
        Step 1 was skipped: its loss is nan.
        >>> history.history["num_skipped"], bool(history.history["loss"][0] < 10)
        ([1], True)
    """

    def __init__(
        self,
        *,
        max_jump: float = 1.0,
        max_bad_steps: int = 3,
        every_n_steps: int = 100,
        factor: float = 0.5,
        max_rollbacks: int = 5,
    ) -> None:
        """Takes what it allows.

        Args:
            max_jump: A loss is bad if it is above `m + max_jump * max(1, abs(m))`;
                m is the mean of the last hundred good losses or so.
            max_bad_steps: Bad steps in a row before weights go back.
            every_n_steps: Good steps between two copies of the weights.
            factor: What the learning rate is multiplied by when weights go back.
            max_rollbacks: How often they may in one `fit`; once more and it raises
                `TrainingDiverged`, a `ValueError`.
        """
        super().__init__()
        check_positive_number("max_jump", max_jump)
        check_positive_number("factor", factor)
        check_positive_integer("max_bad_steps", max_bad_steps)
        check_positive_integer("every_n_steps", every_n_steps)
        if not isinstance(max_rollbacks, Integral) or max_rollbacks < 0:
            raise ValueError(
                "`max_rollbacks` must be an integer of at least 0; 0 allows none. "
                f"Received: max_rollbacks={max_rollbacks!r}."
            )
        self._max_jump = max_jump
        self._max_bad_steps = max_bad_steps
        self._every_n_steps = every_n_steps
        self._factor = factor
        self._max_rollbacks = max_rollbacks
        self._num_rollbacks = 0
        self._guard: StepGuard | None = None
        self._guarded: list[keras.Variable] = []  # the variables that it is for

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Makes the model's steps guarded, and takes a copy of its weights."""
        if not isinstance(self.model, FlowModel):
            raise TypeError(
                "Only a `FlowModel` or a `GlowModel` can be guarded. Received: "
                f"{type(self.model).__name__}."
            )
        if hasattr(self.model.optimizer, "inner_optimizer"):
            raise ValueError(
                "A `LossScaleOptimizer` skips steps of its own, and cannot be guarded. "
                "Leave the guard or the scaling out."
            )
        for variable in self.model.trainable_variables:
            if not np.all(np.isfinite(variable.numpy())):
                raise ValueError(
                    f"The weights are not finite before the first step: {variable.name}"
                    " is not. Does the first batch hold what is no number?"
                )
        self._make_step_guard()
        self._make_learning_rate_scalable()
        self.model.guard_steps(self._guard)
        self._num_skipped = self._num_good = self._num_rollbacks = 0
        self._trusted = self._latest = self._copy()
        self._activations: Activations | None = None  # made when it is needed

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Tells of a bad step, or counts a good one."""
        num_skipped = int(self._guard.num_skipped.numpy())
        if num_skipped > self._num_skipped:
            number, self._num_skipped = num_skipped - self._num_skipped, num_skipped
            what = f"Step {self._step() + 1} was skipped"
            if self.model.steps_per_execution > 1:
                what = f"{number} of the last steps skipped, the last of them"
            print(f"{what}: {self._reason()}.")
            if int(self._guard.num_bad.numpy()) >= self._max_bad_steps:
                self._roll_back(f"{self._max_bad_steps} bad steps in a row")
        elif int(self._guard.num_good.numpy()) >= self._num_good + self._every_n_steps:
            self._num_good = int(self._guard.num_good.numpy())
            self._trusted, self._latest = self._latest, self._copy()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the validation loss."""
        logs = {} if logs is None else logs
        if not math.isfinite(logs.get("val_loss", 0.0)):
            # What goes back is the weights and their average, each in its own place.
            swaps = [
                callback
                for callback in self.model.running_callbacks
                if isinstance(callback, keras.callbacks.SwapEMAWeights)
            ]
            for swap in swaps:
                swap.on_epoch_begin(epoch)  # the weights, where the average was
            self._roll_back("The validation loss is not finite")
            for swap in swaps:
                swap.on_epoch_end(epoch)
        logs["num_skipped"] = self._num_skipped
        logs["num_rollbacks"] = self._num_rollbacks

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs, as arrays; the copies of the weights are not in it."""
        guard = self._guard
        variables = [guard.mean_loss, guard.num_good, guard.num_bad, guard.num_skipped]
        values = [variable.numpy() for variable in variables]
        values += [self._num_rollbacks, self._learning_rate_factor()]
        return {"numbers": np.array(values, np.float64)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a state; the weights that the model has now are trusted."""
        mean_loss, *counts, factor = state["numbers"]
        guard = self._guard
        guard.mean_loss.assign(mean_loss)
        variables = (guard.num_good, guard.num_bad, guard.num_skipped)
        *values, self._num_rollbacks = map(int, counts)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self._num_good, _, self._num_skipped = values
        if isinstance(self.model.optimizer._learning_rate, ScaledSchedule):
            self.model.optimizer._learning_rate.factor.assign(factor)
        self._trusted = self._latest = self._copy()

    def _make_step_guard(self) -> None:
        """Has one that has seen no step; for the same variables the one traced."""
        variables = self.model.trainable_variables
        if self._guard and list(map(id, variables)) == list(map(id, self._guarded)):
            self._guard.reset()
            return
        with self.model.distribute_strategy.scope():
            self._guard = StepGuard(variables, max_jump=self._max_jump)
        self._guarded = variables

    def _step(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def _reason(self) -> str:
        """Why the last bad step was bad."""
        loss = float(self._guard.loss.numpy())
        if not math.isfinite(loss):
            return f"its loss is {loss}"
        if math.isfinite(float(self._guard.gradient_norm.numpy())):
            mean = float(self._guard.mean_loss.numpy())
            return f"its loss, {loss:.6g}, is far above the mean, {mean:.6g}"
        is_finite = [variable.numpy() for variable in self._guard.is_finite]
        bad = [p for p in places(self.model) if not np.all(is_finite[p.index][p.step])]
        # Gradients are computed from the latents to the image.
        return f"the gradient of {bad[-1]} is not finite" if bad else "its norm is"

    def _roll_back(self, reason: str) -> None:
        """Goes back to weights that were good, and lowers the learning rate."""
        self._num_rollbacks += 1
        bad_weights = [v.numpy() for v in self.model.trainable_variables]
        if self._activations is None:
            self._activations = Activations(self.model)
        bad = self._activations.largest()
        learning_rate = self._learning_rate_factor()
        for variable, value in zip(self._variables(), self._trusted, strict=True):
            variable.assign(value)
        self._latest = self._trusted
        self._guard.num_bad.assign(0)
        self._set_learning_rate_factor(learning_rate * self._factor)
        where = self._first_to_go(bad, bad_weights)
        if self._num_rollbacks > self._max_rollbacks:
            raise TrainingDiverged(
                f"Training diverged: {_lower(reason)}, after the weights had gone back "
                f"{self._max_rollbacks} times already. {where} Lower the learning rate."
            )
        print(
            f"{reason}: back to the weights of step {self._step()}, and the learning "
            f"rate times {self._factor:g}. {where}"
        )

    def _first_to_go(self, bad: dict[str, float], bad_weights: list[np.ndarray]) -> str:
        """A sentence on the part that went first, now that weights are good again."""
        good = self._activations.largest()
        part = next(
            (p for p, v in bad.items() if not v < _GROWTH * max(1.0, good[p])), None
        )
        found = [p for p in places(self.model) if part is None or p.part == part]
        changes = [self._change(place, bad_weights) for place in found]
        if part is None and not max(changes, default=0) > _GROWTH:
            return "The weights look as they did; it may be the data."
        if not found:
            return f"First to go was {part}."
        first = found[int(np.argmax(changes))]
        if part is None:
            return f"What changed most is {first}."
        return f"First to go was {part}; what changed most in it is {first.name}."

    def _change(self, place: Place, bad_weights: list[np.ndarray]) -> float:
        """How far a variable went from good weights, in terms of these."""
        good = self.model.trainable_variables[place.index].numpy()[place.step]
        change = np.max(np.abs(bad_weights[place.index][place.step] - good), initial=0)
        change = float(change) / max(1.0, float(np.max(np.abs(good), initial=0)))
        return math.inf if math.isnan(change) else change

    def _variables(self) -> list[keras.Variable]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def _copy(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._variables()]

    def _make_learning_rate_scalable(self) -> None:
        optimizer = self.model.optimizer
        schedule = optimizer._learning_rate  # Keras shows its value alone.
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            if not isinstance(schedule, ScaledSchedule):
                with self.model.distribute_strategy.scope():
                    optimizer.learning_rate = ScaledSchedule(schedule)
                self.model.forget_steps()  # They were traced with the one before.
        elif not isinstance(schedule, keras.Variable):
            raise ValueError(
                "The guard has to lower the learning rate: it must be a number or a "
                f"schedule. Received: learning_rate={schedule!r}."
            )

    def _learning_rate_factor(self) -> float:
        """What a schedule is multiplied by; else the learning rate itself."""
        rate = self.model.optimizer._learning_rate
        return float(
            (rate.factor if isinstance(rate, ScaledSchedule) else rate).numpy()
        )

    def _set_learning_rate_factor(self, factor: float) -> None:
        rate = self.model.optimizer._learning_rate
        (rate.factor if isinstance(rate, ScaledSchedule) else rate).assign(factor)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
