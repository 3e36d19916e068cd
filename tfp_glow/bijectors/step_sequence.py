"""How a level runs its steps: looped or unrolled, activations stored or rebuilt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfp_glow.bijectors.coupling import Coupling
from tfp_glow.bijectors.glow_step import mix, unmix
from tfp_glow.bijectors.once_done import once_done
from tfp_glow.convolution import is_for_xla

__all__ = ["StepSequence"]

Tensors = dict[str, tf.Tensor]
Number = int | tf.Tensor


@dataclass(frozen=True)
class StepSequence:
    """Equal steps of flow in one direction, as a function of an image and of tensors.

    - Inverse, image to latent, step by step:
      y = (x + shift) @ matrix,  z = coupling.inverse(y)
    - Forward, latent to image, from the last step to the first:
      y = coupling.forward(z),  x = y @ matrix - shift

    Act-norm's scale and the permutation are one `matrix`; forward is given its inverse.
    The tensors are stacked over the steps: `shift` `[K, C]`, `matrix` `[K, C, C]`, and
    what the coupling needs. A context is the same for all steps. The log-determinants
    of act-norm and permutation depend on no image and are not counted here.

    Attributes:
        make_coupling: Makes a step's coupling of the step's tensors and number; in a
            loop the number is a tensor.
        num_steps: K.
        is_inverse: The direction.
        is_looped: Whether the steps are one `tf.while_loop`, whose graph is that of one
            step, or follow one another.
        is_trained: Whether gradients with respect to the tensors are wanted.
    """

    make_coupling: Callable[[Tensors, Number], Coupling]
    num_steps: int
    is_inverse: bool
    is_looped: bool
    is_trained: bool = True

    def run(
        self, x: tf.Tensor, stacked: Tensors, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs all steps; TensorFlow stores what their gradient needs.

        Args:
            x: What goes into the first step that runs, `[B, H, W, C]`.
            stacked: The steps' tensors.
            context: `[B, D]` or `[B, H, W, D]`, where the couplings have one.

        Returns:
            What comes out of the last, and the couplings' log-determinant, `[B]`.
        """
        # The gradient of a slice is as large as what it was cut from, that of a list's
        # element is an element. But lists are copies of all parameters, which is not
        # worth it for samples, of which few want gradients.
        is_training = self.is_inverse and self.is_trained
        if self.is_looped and is_training:
            lists, read = _arrays(stacked) if is_for_xla() else _lists(stacked)
        else:
            lists, read = (), self._slices(stacked)
        return self._run(
            x, read, context, lists=lists, parallel_iterations=1 + is_training
        )

    def run_reversible(
        self,
        x: tf.Tensor,
        stacked: Tensors,
        undoing_matrix: Callable[[], tf.Tensor],
        context: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs all steps and stores nothing: the gradient rebuilds inputs from outputs.

        Args:
            x: What goes into the first step that runs, `[B, H, W, C]`.
            stacked: The steps' tensors.
            undoing_matrix: Gives the inverse of `matrix`, `[K, C, C]`; only a gradient
                calls it.
            context: `[B, D]` or `[B, H, W, D]`, where the couplings have one.

        Returns:
            What comes out of the last, and the couplings' log-determinant, `[B]`.

        References:
            Gomez et al. The reversible residual network: backpropagation without
            storing activations. 2017. https://arxiv.org/abs/1707.04585
        """
        contexts = () if context is None else (context,)

        def named(values: Sequence[tf.Tensor]) -> Tensors:
            return dict(zip(stacked, values[len(contexts) :], strict=True))

        @tf.custom_gradient
        def run(x: tf.Tensor, *values: tf.Tensor) -> tuple:
            contexts_ = values[: len(contexts)]
            z, log_det = self._run(x, self._slices(named(values)), *contexts_)

            def gradient(
                dz: tf.Tensor,
                d_log_det: tf.Tensor,
                variables: Sequence[tf.Variable] = (),
            ) -> tuple:
                @tf.custom_gradient
                def pull_back(
                    z: tf.Tensor,
                    dz: tf.Tensor,
                    d_log_det: tf.Tensor,
                    undoing: tf.Tensor,
                    *values: tf.Tensor,
                ) -> tuple:
                    result = self._pull_back(
                        z,
                        dz,
                        d_log_det,
                        named(values),
                        undoing,
                        variables,
                        values[: len(contexts)],
                    )
                    return result, _raise_for_second_derivative

                undoing = undoing_matrix()
                result = list(pull_back(z, dz, d_log_det, undoing, *values))
                if not variables:
                    return result
                return result[: 1 + len(values)], result[1 + len(values) :]

            return (z, log_det), gradient

        return run(x, *contexts, *stacked.values())

    def _run(
        self,
        x: tf.Tensor,
        read: Callable[..., tuple[Tensors, Sequence[tf.Tensor]]],
        context: tf.Tensor | None = None,
        *,
        lists: Sequence[tf.Tensor] = (),
        parallel_iterations: int = 1,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs all steps on tensors that `read` gives, of a number and of lists.

        It gives what is left of the lists besides.
        """

        def run_step(
            k: Number, x: tf.Tensor, log_det: tf.Tensor, *left: tf.Tensor
        ) -> tuple:
            step, left = read(k, *left)
            coupling = self.make_coupling(_without_mixing(step), k)
            if self.is_inverse:
                y = mix(x, step["shift"], step["matrix"])
                z, step_log_det = coupling._inverse_and_log_det(y, context)
            else:
                y, step_log_det = coupling._forward_and_log_det(x, context)
                z = unmix(y, step["shift"], step["matrix"])
            return (z, log_det + step_log_det, *left), {}

        log_det = tf.zeros(tf.shape(x)[:1], x.dtype)
        (z, log_det, *_), _ = self._scan(
            run_step,
            (x, log_det, *lists),
            self._number,
            parallel_iterations=parallel_iterations,
        )
        return z, log_det

    def _pull_back(
        self,
        z: tf.Tensor,
        dz: tf.Tensor,
        d_log_det: tf.Tensor,
        stacked: Tensors,
        undoing: tf.Tensor,
        variables: Sequence[tf.Variable],
        contexts: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor, ...]:
        """Gradients with respect to x, contexts, the stacked tensors and variables."""
        read = self._slices({**stacked, "undoing": undoing})
        of_variables: list[tf.Tensor | None] = [None] * len(variables)

        def pull_back_step(
            k: Number, z: tf.Tensor, dz: tf.Tensor, *d_contexts: tf.Tensor
        ) -> tuple:
            step, _ = read(k)
            undoing = step.pop("undoing")
            of_network = _without_mixing(step)
            coupling = self.make_coupling(of_network, k)
            sources = [*of_network.values(), *variables, *contexts]

            def pull_back_coupling(z: tf.Tensor, dz: tf.Tensor) -> tuple:
                return coupling.pull_back(
                    z,
                    dz,
                    d_log_det,
                    sources,
                    is_inverse=self.is_inverse,
                    context=contexts[0] if contexts else None,
                )

            def pull_back_mixing(z: tf.Tensor, dz: tf.Tensor) -> tuple:
                do, undo = (mix, unmix) if self.is_inverse else (unmix, mix)
                x = undo(z, step["shift"], undoing)
                sources = [x, *(step[key] for key in _MIXING)]
                with tf.GradientTape() as tape:
                    tape.watch(sources)
                    z = do(*sources)
                dx, *gradients = tape.gradient(z, sources, dz)
                return x, dx, gradients

            if self.is_inverse:
                y, dy, found = pull_back_coupling(z, dz)
                x, dx, of_mixing = pull_back_mixing(y, dy)
            else:
                y, dy, of_mixing = pull_back_mixing(z, dz)
                x, dx, found = pull_back_coupling(y, dy)
            gradients = dict(zip(_MIXING, of_mixing, strict=True))
            gradients |= zip(of_network, found[: len(of_network)], strict=True)
            of_others = found[len(of_network) :]
            for i, gradient in enumerate(of_others[: len(variables)]):
                if gradient is not None:  # a step's network is not the others'
                    gradient = tf.convert_to_tensor(gradient)
                    old = of_variables[i]
                    of_variables[i] = gradient if old is None else old + gradient
            d_contexts = tuple(
                old if new is None else old + new
                for old, new in zip(
                    d_contexts, of_others[len(variables) :], strict=True
                )
            )
            carried = (x, dx, *d_contexts)
            if not self.is_looped and k != self._number(0):  # one is still to come
                # Else all inputs are rebuilt first, and all activations kept.
                done = filter(tf.is_tensor, [*gradients.values(), *of_variables])
                carried = once_done(carried, list(done))
            return carried, gradients

        (_, dx, *d_contexts), of_stacked = self._scan(
            pull_back_step,
            (z, dz, *map(tf.zeros_like, contexts)),
            lambda i: self._number(self.num_steps - 1 - i),
            stacked,
        )
        return (
            dx,
            *d_contexts,
            *(of_stacked[key] for key in stacked),
            *(
                tf.zeros_like(variable) if gradient is None else gradient
                for variable, gradient in zip(variables, of_variables, strict=True)
            ),
        )

    def _number(self, i: Number) -> Number:
        """Number of the step that runs as the i-th."""
        return i if self.is_inverse else self.num_steps - 1 - i

    def _scan(
        self,
        function: Callable[..., tuple[tuple[tf.Tensor, ...], Tensors]],
        carried: tuple[tf.Tensor, ...],
        number: Callable[[Number], Number],
        outputs_like: Tensors | None = None,
        *,
        parallel_iterations: int = 1,
    ) -> tuple[tuple[tf.Tensor, ...], Tensors]:
        """Calls `carried, outputs = function(k, *carried)` for every step.

        Args:
            function: What to do in a step.
            carried: What is handed on from step to step; shapes stay what they are.
            number: The number of the step of the i-th call.
            outputs_like: Tensors of the stacked outputs' types and shapes.
            parallel_iterations: Steps that a loop, and its gradient, work at together.
                With two, the gradients of a step's parameters need not be done before
                the next step begins, which is faster; but until then its activations
                have to stay, where nothing else keeps them.

        Returns:
            What the last step handed on, and the outputs, stacked by number.
        """
        outputs_like = outputs_like or {}
        if not self.is_looped:
            outputs: list[Tensors] = [{}] * self.num_steps
            for i in range(self.num_steps):
                k = number(i)
                carried, outputs[k] = function(k, *carried)
            return carried, {
                key: tf.stack([step[key] for step in outputs]) for key in outputs_like
            }

        def body(i: tf.Tensor, carried: tuple, arrays: dict) -> tuple:
            k = number(i)
            new, outputs = function(k, *carried)
            new = tuple(  # a list has no shape
                n if n.dtype == tf.variant else tf.ensure_shape(n, old.shape)
                for n, old in zip(new, carried, strict=True)
            )
            arrays = {key: a.write(k, outputs[key]) for key, a in arrays.items()}
            return i + 1, new, arrays

        _, carried, arrays = tf.while_loop(
            lambda i, *_: i < self.num_steps,
            body,
            (tf.constant(0), carried, {k: _array(v) for k, v in outputs_like.items()}),
            maximum_iterations=self.num_steps,
            parallel_iterations=parallel_iterations,
        )
        return carried, {key: array.stack() for key, array in arrays.items()}

    def _slices(self, stacked: Tensors) -> Callable[..., tuple[Tensors, tuple]]:
        """Each step's tensors, as parts of the stacked ones; no lists."""
        if self.is_looped:
            return lambda k: ({key: value[k] for key, value in stacked.items()}, ())
        # The gradient of K slices is the sum of K tensors of the full size, that of an
        # `unstack` is one `stack`.
        slices = {
            key: tf.unstack(value, self.num_steps) for key, value in stacked.items()
        }
        return lambda k: ({key: value[k] for key, value in slices.items()}, ())


_MIXING = ("shift", "matrix")


def _without_mixing(step: Tensors) -> Tensors:
    return {key: value for key, value in step.items() if key not in _MIXING}


def _array(stacked: tf.Tensor) -> tf.TensorArray:
    """An empty array for what is stacked in a tensor."""
    return tf.TensorArray(
        stacked.dtype, stacked.shape[0], element_shape=stacked.shape[1:]
    )


def _arrays(stacked: Tensors) -> tuple[tuple, Callable[..., tuple[Tensors, tuple]]]:
    """No lists, and how a step reads its own tensors of arrays.

    XLA knows their sizes; lists take it up to 4% longer on a CPU.
    """
    arrays = {key: _array(value).unstack(value) for key, value in stacked.items()}
    return (), lambda k: ({key: array.read(k) for key, array in arrays.items()}, ())


def _lists(
    stacked: Tensors,
) -> tuple[tuple[tf.Tensor, ...], Callable[..., tuple[Tensors, list[tf.Tensor]]]]:
    """Lists with the first step's tensors last, and how a step takes its own off them.

    For steps that run from the first to the last, whose numbers then do not matter.
    A step's gradients are then put onto lists. A `tf.TensorArray`, which is read by
    number, makes a loop keep its length and the shape of its elements in each
    iteration, and its gradient is a sum of arrays with one element that is not zero.
    """
    lists = tuple(
        tf.raw_ops.TensorListFromTensor(
            tensor=tf.reverse(value, [0]), element_shape=value.shape[1:]
        )
        for value in stacked.values()
    )

    def pop(_: tf.Tensor, *lists: tf.Tensor) -> tuple:
        rest, step = [], {}
        for (key, value), items in zip(stacked.items(), lists, strict=True):
            items, element = tf.raw_ops.TensorListPopBack(
                input_handle=items,
                element_shape=value.shape[1:],
                element_dtype=value.dtype,
            )
            # Without this the graph's optimizer does not know the shape, and does not
            # make one operation of a convolution and the bias that is added.
            step[key] = tf.reshape(element, value.shape[1:])
            rest.append(items)
        return step, rest

    return lists, pop


def _raise_for_second_derivative(*_: object, **__: object) -> None:
    raise NotImplementedError(
        '`memory`="reversible" has first derivatives only: its backward pass rebuilds '
        "activations and keeps none. Received: a gradient of its gradient. Make the "
        'bijector with `memory`="stored".'
    )
