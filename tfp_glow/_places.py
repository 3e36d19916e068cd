"""Where in a model a variable belongs, and how large what passes there is."""

from dataclasses import dataclass

import tensorflow as tf

from tfp_glow._inputs import check_condition
from tfp_glow._probed_glow import ProbedGlow
from tfp_glow.dequantization import bin_centers
from tfp_glow.flow_model import FlowModel
from tfp_glow.glow_model import GlowModel

__all__ = ["Activations", "Place", "places"]


@dataclass(frozen=True)
class Place:
    """A variable, or what a step of a Glow has of one.

    Attributes:
        part: `"level 1, step 17"`, `"level 0, split"`, `"top prior"`, or nothing.
        name: Name of the variable there, such as `"network/kernel_3"`.
        index: Its number among the trainable variables.
        step: The step's number along its first axis, or `...` for all of it.
    """

    part: str
    name: str
    index: int
    step: object = ...

    def __str__(self) -> str:
        """Both names."""
        return f"{self.part}, {self.name}" if self.part else self.name


def places(model: FlowModel) -> list[Place]:
    """All places of a model's trainable variables, those nearest the image first."""
    variables = [variable.value for variable in model.trainable_variables]
    index_of = {id(variable): i for i, variable in enumerate(variables)}
    found = _glow_places(model, index_of) if isinstance(model, GlowModel) else []
    known = {place.index for place in found}
    rest = [
        Place("", variable.name.split(":")[0], i)
        for i, variable in enumerate(variables)
        if i not in known
    ]
    return [*found, *rest]


def _glow_places(model: GlowModel, index_of: dict[int, int]) -> list[Place]:
    found = []

    def add(part: str, owner: str, variables: list[tf.Variable]) -> None:
        for variable in variables:
            name = variable.name.split(":")[0].split(f"{owner}/")[-1]
            if id(variable) in index_of:
                found.append(Place(part, name, index_of[id(variable)]))

    chain = model.glow.chain
    for i, level in enumerate(model.glow.levels):
        for k in range(level.num_steps):
            part = f"level {i}, step {k}"
            found += [
                Place(part, name, index_of[id(variable)], k)
                for name, variable in level.stacked.items()
                if id(variable) in index_of
            ]
            if level.networks is not None:
                add(part, part, level.networks[k].trainable_variables)
        if i < len(chain.split_priors):
            prior = chain.split_priors[i]
            add(f"level {i}, split", prior.name, prior.trainable_variables)
    if chain.top_prior is not None:
        add("top prior", chain.top_prior.name, chain.top_prior.trainable_variables)
    return found


class Activations:
    """How large what comes out of each part is for the first batch of a `fit`."""

    def __init__(self, model: FlowModel) -> None:
        """Takes the model, whose `fit` is running."""
        self._probed = None
        if isinstance(model, GlowModel):
            inputs, _ = model.unpack(model.first_batch)
            self._x = bin_centers(
                inputs["images"], model.num_bits, dtype=model.glow.dtype
            )
            self._condition = check_condition(
                model.glow, inputs.get("labels"), inputs.get("context"), self._x
            )
            self._probed = ProbedGlow(model.glow)

    def largest(self) -> dict[str, float]:
        """Largest absolute values, with the weights as they are now.

        Returns:
            The values by the names of the parts, in the order in which an image is
            encoded; none for a model that is no `GlowModel`.
        """
        if self._probed is None:
            return {}
        # Another tensor each time, for TFP keeps what came of the last one.
        values = self._probed.encode(tf.identity(self._x), self._condition).numpy()
        names = [part.name for part in self._probed.parts]
        return dict(zip(names, map(float, values), strict=True))
