"""Which weights of a model are trained: it may freeze them, and Keras layers may."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_glow.user_network import UserNetwork

__all__ = ["Weight", "follow_layers", "freeze", "frozen"]


class Weight(keras.Variable):
    """A weight that is trained where neither the model nor a layer has frozen it.

    Attributes:
        is_frozen_by_layer: Whether a layer that holds it had, when `follow_layers` was
            last called.
    """

    is_frozen_by_layer = False

    @classmethod
    def of(cls, variable: tf.Variable) -> "Weight":
        """One that holds a variable that there is, and no copy of it."""
        return cls(
            variable,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            name=variable.name.split(":")[0].replace("/", "_"),
        )

    @property
    def is_frozen_by_model(self) -> bool:
        """Whether `trainable = False` was said of this very weight."""
        return not super().trainable

    @property
    def trainable(self) -> bool:
        """Whether it is trained; what is set here is the model's choice alone."""
        return not (self.is_frozen_by_model or self.is_frozen_by_layer)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.Variable.trainable.fset(self, value)


def follow_layers(weights: Iterable[Any], modules: Iterable[tf.Module]) -> None:
    """Tells weights whether Keras layers have them frozen now.

    Args:
        weights: The model's; they wrap the same `tf.Variable`s as those of the layers.
        modules: What may hold layers, in coupling networks.
    """
    of_layers = _variables_of_layers(modules)
    for weight in weights:
        of_layer = of_layers.get(id(weight.value))
        if of_layer is not None:
            weight.is_frozen_by_layer = not of_layer.trainable


def frozen(weights: Iterable[Any]) -> dict[str, list[int]]:
    """The numbers of weights that are frozen, as `freeze` takes them, by who did it."""
    known = [(i, weight) for i, weight in enumerate(weights) if type(weight) is Weight]
    return {
        "frozen": [i for i, weight in known if weight.is_frozen_by_model],
        "frozen_by_layers": [i for i, weight in known if weight.is_frozen_by_layer],
    }


def freeze(
    weights: Sequence[Any],
    modules: Iterable[tf.Module],
    frozen: Iterable[int],
    frozen_by_layers: Iterable[int] | None,
) -> None:
    """Freezes weights as those of another model were, the layers' in the layers.

    Args:
        weights: As of `follow_layers`.
        modules: What may hold layers, in coupling networks.
        frozen: The numbers of those that the model had frozen.
        frozen_by_layers: The numbers of those that layers had. None where nobody
            noted who it was: then the layers had theirs.
    """
    of_layers = _variables_of_layers(modules)
    if frozen_by_layers is None:
        frozen_by_layers = [i for i in frozen if id(weights[i].value) in of_layers]
        frozen = set(frozen).difference(frozen_by_layers)
    for i in frozen:
        weights[i].trainable = False
    for i in frozen_by_layers:
        of_layers[id(weights[i].value)].trainable = False


def _variables_of_layers(modules: Iterable[tf.Module]) -> dict[int, Any]:
    """Keras's variables of all coupling networks, by the id of their `tf.Variable`."""
    return {
        id(variable.value): variable
        for module in modules
        for submodule in module.submodules
        if isinstance(submodule, UserNetwork)
        for variable in submodule.keras_variables()
    }
