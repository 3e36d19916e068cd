"""What a contender is, and the images that all of them see. Needs numpy alone."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

__all__ = ["LEARNING_RATE", "Subject", "smooth_images"]

# So low that no loss becomes NaN: without a warm-up, 1e-4 makes a deep flow diverge.
LEARNING_RATE = 1e-6


@dataclass
class Subject:
    """Something that is called again and again, and timed.

    Attributes:
        call: Does it once, and returns a number that must be finite.
        num_variables: Trainable variables.
        num_parameters: Numbers in them.
        facts: Says more about it, when all is timed.
    """

    call: Callable[[], float]
    num_variables: int = 0
    num_parameters: int = 0
    facts: Callable[[], dict[str, float]] = field(default=dict)


def smooth_images(batch_size: int, event_shape: tuple[int, int, int]) -> np.ndarray:
    """Images that are as smooth as photos, with the noise of dequantisation.

    Args:
        batch_size: How many.
        event_shape: `[H, W, C]`.

    Returns:
        float32 `[B, H, W, C]` in [-0.5, 0.5), the same ones each time.
    """
    height, width, channels = event_shape
    rng = np.random.default_rng(0)
    coarse = rng.uniform(-0.45, 0.45, [batch_size, 5, 5, channels])
    images = np.einsum(
        "hi,bijc,wj->bhwc", _interpolation(height), coarse, _interpolation(width)
    )
    return (images + rng.uniform(0.0, 1 / 256, images.shape)).astype(np.float32)


def _interpolation(size: int, num_knots: int = 5) -> np.ndarray:
    """Weights of linear interpolation, `[size, num_knots]`."""
    places = np.linspace(0.0, num_knots - 1, size)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(num_knots)))
