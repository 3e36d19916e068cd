"""Named configurations: a model and how it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfp_glow._checks import check_choice

__all__ = ["PRESETS", "Preset", "preset_for"]


@dataclass(frozen=True)
class Preset:
    """A model and how it is trained.

    Attributes:
        description: One line about it.
        model: Arguments of `GlowModel`, those apart that a data set gives
            (`event_shape`, `num_bits`).
        batch_size: Images in a batch.
        epochs: Passes over the training images; the best on the validation images is
            kept.
        learning_rate: Adamax's, after the warm-up and before its cosine decay.
        warmup_steps: Steps over which the learning rate rises from zero.
        weight_decay: Decoupled weight decay.
        ema_momentum: Of the moving average of the weights that is evaluated and kept.
        max_shift: Pixels by which half of the training images are moved, at most.
    """

    description: str
    model: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64
    epochs: int = 50
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    weight_decay: float = 0.0
    ema_momentum: float = 0.99
    max_shift: int = 0


PRESETS: dict[str, Preset] = {
    "digits": Preset(
        description="8 x 8 handwritten digits, in minutes on a CPU",
        model={"num_levels": 2, "num_steps": 16, "hidden_channels": 128},
        epochs=60,
        learning_rate=2e-3,
        warmup_steps=50,
        weight_decay=0.1,
        max_shift=1,
    ),
    "small": Preset(
        description="images up to 32 x 32, a first try on a CPU",
        model={"num_levels": 3, "num_steps": 4, "hidden_channels": 64},
        epochs=5,
    ),
    "paper": Preset(
        description="the paper's CIFAR-10 model: 3 levels of 32 steps, 44 M parameters",
        model={"num_levels": 3, "num_steps": 32, "hidden_channels": 512},
        epochs=100,
    ),
}


def preset_for(dataset: str, name: str | None = None) -> Preset:
    """The preset of a name, or the one made for a data set.

    Args:
        dataset: Name of the data set.
        name: Name of a preset. The data set's own, else `"small"`, when not given.

    Returns:
        The preset.

    Raises:
        ValueError: If there is no preset of that name.

    Example:
        >>> preset_for("digits").model["num_levels"]
        2
    """
    if name is None:
        return PRESETS.get(dataset, PRESETS["small"])
    check_choice("preset", name, PRESETS)
    return PRESETS[name]
