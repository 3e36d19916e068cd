"""What a guarded training step looks at before it changes anything."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

__all__ = ["StepGuard"]

_NUM_RECENT = 100


def _counter() -> tf.Variable:
    # Of int32 a GPU's program may have no variable: TensorFlow keeps those on the host.
    return tf.Variable(0, dtype=tf.int64, trainable=False)


class StepGuard(tf.Module):
    """Tells good steps from bad ones within the graph, and keeps what it saw.

    A step is bad if its loss or gradient is not finite, or if the loss is more than
    `max_jump * max(1, |m|)` above m, the mean of the last hundred good losses or so.

    Attributes:
        mean_loss: m.
        num_good: Good steps so far.
        num_bad: Bad steps since the last good one.
        num_skipped: Bad steps so far.
        loss: That of the last bad step.
        gradient_norm: That of the last bad step.
        is_finite: For each variable whether its gradient was finite in the last bad
            step, by its first axis, which in a level of a Glow is that of the steps.
    """

    def __init__(self, variables: Sequence[tf.Variable], *, max_jump: float) -> None:
        """Has seen no step yet.

        Args:
            variables: Those whose gradients a step gives.
            max_jump: By how much a loss may be above the mean.
        """
        super().__init__()
        self.max_jump = max_jump
        self.mean_loss = tf.Variable(0.0, trainable=False)
        self.num_good = _counter()
        self.num_bad = _counter()
        self.num_skipped = _counter()
        self.loss = tf.Variable(0.0, trainable=False)
        self.gradient_norm = tf.Variable(0.0, trainable=False)
        self.is_finite = [
            tf.Variable(tf.ones(v.shape[:1], tf.bool), trainable=False)
            for v in variables
        ]

    def reset(self) -> None:
        """Forgets all steps: another training begins."""
        self.mean_loss.assign(0.0)
        for counter in (self.num_good, self.num_bad, self.num_skipped):
            counter.assign(0)

    def run(
        self,
        apply: Callable[[list[tf.Tensor | None], tf.Tensor], None],
        loss: tf.Tensor,
        gradient_norm: tf.Tensor,
        gradients: list[tf.Tensor | None],
        undo: tuple[list[tf.Variable], list[tf.Tensor]],
    ) -> None:
        """Makes a good step; a bad one leaves everything as if it had not been.

        Args:
            apply: Called with gradients and norm to make the step.
            loss: The loss, summed over replicas.
            gradient_norm: The norm of all gradients together.
            gradients: The gradients, summed over replicas; None where there is none.
            undo: What a bad step has changed already, and the values it had before.
        """
        known = [i for i, gradient in enumerate(gradients) if gradient is not None]
        changed, before = undo

        def apply_known(norm: tf.Tensor, *values: tf.Tensor) -> None:
            by_index = dict(zip(known, values, strict=True))
            apply([by_index.get(i) for i in range(len(gradients))], norm)

        def restore(*values: tf.Tensor) -> None:
            for variable, value in zip(changed, values, strict=True):
                variable.assign(value)

        def choose(
            strategy: tf.distribute.Strategy, per_replica: list, before: list
        ) -> None:
            # The same in all replicas, for these were summed or are averages.
            loss, norm, *values = (
                strategy.experimental_local_results(value)[0] for value in per_replica
            )

            def make() -> None:
                self.accept(loss)
                strategy.extended.call_for_each_replica(
                    apply_known, args=tuple(per_replica[1:])
                )

            def skip() -> None:
                self.reject(loss, norm, dict(zip(known, values, strict=True)))
                strategy.extended.call_for_each_replica(restore, args=tuple(before))

            tf.cond(self.accepts(loss, norm), make, skip)

        # Not in the replicas: what an optimizer does to several may be in no branch.
        tf.distribute.get_replica_context().merge_call(
            choose, args=([loss, gradient_norm, *(gradients[i] for i in known)], before)
        )

    def accepts(self, loss: tf.Tensor, gradient_norm: tf.Tensor) -> tf.Tensor:
        """Whether a step may be made."""
        loss = tf.cast(loss, tf.float32)
        mean = self.mean_loss.read_value()
        limit = mean + self.max_jump * tf.maximum(tf.abs(mean), 1.0)
        is_jump = (self.num_good > 0) & (loss > limit)
        is_finite = tf.math.is_finite(loss) & tf.math.is_finite(gradient_norm)
        return is_finite & ~is_jump

    def accept(self, loss: tf.Tensor) -> None:
        """Counts a good step."""
        self.num_bad.assign(0)
        num_good = self.num_good.assign_add(1)
        weight = 1 / tf.minimum(num_good, _NUM_RECENT)
        change = tf.cast(loss, tf.float32) - self.mean_loss
        self.mean_loss.assign_add(tf.cast(weight, tf.float32) * change)

    def reject(
        self,
        loss: tf.Tensor,
        gradient_norm: tf.Tensor,
        gradients: Mapping[int, tf.Tensor],
    ) -> None:
        """Counts a bad step, and keeps what was bad about it.

        Args:
            loss: The loss.
            gradient_norm: The norm of all gradients together.
            gradients: By the number of their variable.
        """
        self.num_bad.assign_add(1)
        self.num_skipped.assign_add(1)
        self.loss.assign(tf.cast(loss, tf.float32))
        self.gradient_norm.assign(tf.cast(gradient_norm, tf.float32))
        for i, gradient in gradients.items():
            axes = list(range(1, gradient.shape.rank))
            self.is_finite[i].assign(
                tf.reduce_all(tf.math.is_finite(gradient), axes)
                if axes
                else tf.math.is_finite(gradient)
            )
