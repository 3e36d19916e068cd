"""What the page does with a model, without the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, prod

import numpy as np

from tfp_glow.glow_model import GlowModel
from tfp_glow.latents import AttributeDirections, blend, sample_latents
from tfp_glow.latents.levels import level_mask
from tfp_glow.plots import tile

__all__ = ["NUM_SAMPLES", "Studio"]

NUM_SAMPLES = 16
"""On the page's grid."""

_SEED = 0  # of the noise in bits/dim: a picture has one number
_UNUSUAL = 0.05  # share of known pictures on either side that are further out


@dataclass
class Studio:
    """A trained model and what is known of its data.

    Attributes:
        model: The model.
        name: What it is called.
        examples: Images to begin with, which it was not trained on, `uint8`
            `[N, H, W, C]`, at least one.
        labels: Their classes `[N]`, where the model has classes.
        class_names: Names of the classes, where the model has them.
        directions: Attributes that can be changed; none where they are not known.
    """

    model: GlowModel
    name: str
    examples: np.ndarray
    labels: np.ndarray | None = None
    class_names: Sequence[str] = ()
    directions: AttributeDirections | None = None
    _usual: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Measures what is usual, and lets TensorFlow trace all that the page asks."""
        bits = self.model.bits_per_dim(self.examples, self.labels, seed=_SEED)
        self._usual = np.sort(bits.numpy())
        z = self.encode(self.examples[0], self.label_of(0))
        self.change(z, {}, None, self.label_of(0))
        self.blend(*self.examples[[0, -1]], 0.5, label=self.label_of(0))
        self.draw([1.0] * self.num_levels, 0, self.label_of(0))
        self.say_bits(self.examples[0], self.label_of(0))

    @property
    def num_levels(self) -> int:
        """Levels of the model."""
        return len(self.model.glow.chain.latent_sizes)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return () if self.directions is None else self.directions.names

    def label_of(self, number: int) -> int | None:
        """The class of an example, where the model has classes."""
        return None if self.labels is None else int(self.labels[number])

    def encode(self, image: np.ndarray, label: int | None = None) -> np.ndarray:
        """The latent of an image, `[H W C]`."""
        return self.model.encode(image[np.newaxis], _one(label)).numpy()[0]

    def change(
        self,
        z: np.ndarray,
        alphas: Mapping[str, float],
        levels: Sequence[int] | None = None,
        label: int | None = None,
    ) -> np.ndarray:
        """The image of a latent with more or less of some attributes.

        Args:
            z: The latent, `[H W C]`.
            alphas: How much more, by attribute.
            levels: Levels that change, 0 the finest; all when not given.
            label: The class, where the model has classes.

        Returns:
            `uint8` `[H, W, C]`.
        """
        mask = level_mask(self.model, levels).numpy()
        for name, alpha in alphas.items():
            if alpha:
                z = z + np.float32(alpha) * self.directions[name] * mask
        return self.model.decode(z[np.newaxis], _one(label)).numpy()[0]

    def blend(
        self,
        a: np.ndarray,
        b: np.ndarray,
        weight: float,
        levels: Sequence[int] | None = None,
        label: int | None = None,
    ) -> np.ndarray:
        """An image between two, along the arc between their latents."""
        mixed = blend(
            self.model, a, b, weight, method="spherical", levels=levels, labels=label
        )
        return mixed.numpy()

    def draw(
        self, temperatures: Sequence[float], seed: int, label: int | None = None
    ) -> np.ndarray:
        """A grid of new images, at a temperature for each level, the finest first.

        Returns:
            RGB, `uint8` `[rows, columns, 3]`.
        """
        z = sample_latents(
            self.model, NUM_SAMPLES, temperature=temperatures, seed=int(seed)
        )
        labels = None if label is None else np.repeat(label, NUM_SAMPLES)
        return tile(self.model.decode(z, labels).numpy(), None)

    def say_bits(self, image: np.ndarray, label: int | None = None) -> str:
        """Bits/dim of an image, and what that means."""
        bits = float(
            self.model.bits_per_dim(image[np.newaxis], _one(label), seed=_SEED)[0]
        )
        num_bytes = ceil(bits * prod(self.model.event_shape) / 8)
        low, high = np.quantile(self._usual, [_UNUSUAL, 1 - _UNUSUAL])
        if bits > high:
            meaning = (
                "That is more than pictures like those it was trained on need: this "
                "one is strange to it."
            )
        elif bits < low:
            meaning = (
                "That is less than pictures like those it was trained on need, which "
                "simple pictures do too: it need not know this one."
            )
        else:
            meaning = "That is what pictures like those it was trained on need."
        return (
            f"{bits:.2f} bits/dim: the model would need {num_bytes:,} bytes to store "
            f"this picture, at {self.model.num_bits} bits a value. Known pictures: "
            f"{low:.2f} to {high:.2f}. {meaning}"
        )


def _one(label: int | None) -> np.ndarray | None:
    return None if label is None else np.array([label])
