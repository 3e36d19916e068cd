"""What the page does with a model, without the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, prod

import numpy as np

from tfp_glow._batches import slices
from tfp_glow.glow_model import GlowModel
from tfp_glow.latents import AttributeDirections, blend, sample_latents
from tfp_glow.latents.levels import level_mask
from tfp_glow.plots import tile

__all__ = ["Studio"]

_SEED = 0  # of the noise in bits/dim: a picture has one number
_UNUSUAL = 0.05  # share of known pictures on either side that are further out
_SMALL = 64 * 64  # pixels of an image of which many are computed at a time
_NUM_SHOWN = 12
_ABSURD = 100  # bits/dim beyond which a figure says nothing


@dataclass(eq=False)
class Studio:
    """A trained model and what is known of its data.

    Attributes:
        model: The model, without a context.
        name: What it is called.
        examples: Images to begin with, which it was not trained on, `uint8`
            `[N, H, W, C]`, at least one.
        labels: Their classes `[N]`, where they are known.
        class_names: Names of the classes, where they are known.
        directions: Attributes that can be changed; none where they are not known.

    Raises:
        ValueError: If there are no examples, or the model needs what the page does not
            know.
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
        if self.model.glow.context_shape is not None:
            raise ValueError(
                "The page has no place for a context, which this model needs. Use "
                "`tfp_glow.latents` from Python."
            )
        if not len(self.examples) or (self.has_classes and self.labels is None):
            raise ValueError(
                "The page needs images to begin with, with their classes where the "
                f"model has classes. Received: {len(self.examples)} images."
            )
        bits = self._measure_examples()
        self._usual = bits[np.isfinite(bits)]
        if not len(self._usual):
            raise ValueError(
                "The model has no finite bits/dim for any image to begin with. "
                "`tfp-glow check RUN` looks for what is wrong."
            )
        image, label = self.examples[0], self.label_of(0)
        self.change(self.encode(image, label), {}, label=label)
        self.blend(image, image, 0.5, labels=(label, label))
        self.draw([1.0] * self.num_levels, _SEED, label)
        self.say_bits(image, label)

    @property
    def num_levels(self) -> int:
        """Levels of the model."""
        return len(self.model.glow.chain.latent_sizes)

    @property
    def has_classes(self) -> bool:
        """Whether the model is class-conditional."""
        return self.model.glow.num_classes is not None

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return () if self.directions is None else self.directions.names

    @property
    def num_samples(self) -> int:
        """New pictures at a time."""
        return 16 if prod(self.model.event_shape[:2]) <= _SMALL else 4

    @property
    def shown(self) -> list[int]:
        """Numbers of the examples to choose from: one of each class, if they do.

        A class alone would leave one to choose.
        """
        if self.labels is not None:
            _, first = np.unique(self.labels, return_index=True)
            if 1 < len(first) <= _NUM_SHOWN:
                return first.tolist()
        return list(range(min(_NUM_SHOWN, len(self.examples))))

    def label_of(self, number: int) -> int | None:
        """The class of an example, where the model has classes."""
        return int(self.labels[number]) if self.has_classes else None

    def name_of(self, label: int) -> str:
        """What a class is called."""
        return self.class_names[label] if len(self.class_names) else str(label)

    def describe(self, number: int) -> str:
        """An example in words."""
        if self.labels is None:
            return f"Example {number + 1}"
        return f"Example {number + 1}: {self.name_of(int(self.labels[number]))}"

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
        labels: tuple[int | None, int | None] = (None, None),
    ) -> np.ndarray:
        """An image between two, along the arc between their latents.

        Args:
            a: An image, `uint8` `[H, W, C]`.
            b: Another.
            weight: How much of `b`, from 0 to 1.
            levels: Levels that are blended, 0 the finest; all when not given.
            labels: Their classes, where the model has classes.

        Returns:
            `uint8` `[H, W, C]`.
        """
        return blend(
            self.model,
            a,
            b,
            weight,
            method="spherical",
            levels=levels,
            labels=labels if self.has_classes else None,
        ).numpy()

    def draw(
        self, temperatures: Sequence[float], seed: int, label: int | None = None
    ) -> np.ndarray:
        """A grid of new images, at a temperature for each level, the finest first.

        Returns:
            RGB, `uint8` `[rows, columns, 3]`.
        """
        z = sample_latents(
            self.model, self.num_samples, temperature=temperatures, seed=seed
        )
        labels = None if label is None else np.repeat(label, self.num_samples)
        return tile(self.model.decode(z, labels).numpy(), None)

    def say_bits(self, image: np.ndarray, label: int | None = None) -> str:
        """Bits/dim of an image, and what that means, in Markdown."""
        bits = self._bits(image[np.newaxis], _one(label)).item()
        if not np.isfinite(bits):
            return "**No bits/dim.** This picture is beyond what the model can measure."
        raw_bits = self.model.num_bits
        raw_bytes = prod(self.model.event_shape) * raw_bits / 8
        low, high = np.quantile(self._usual, [_UNUSUAL, 1 - _UNUSUAL])
        usual = (
            "Nine in ten pictures of the kind that it was trained on take "
            f"{low:.2f} to {high:.2f} bits/dim."
        )
        if bits > max(raw_bits, high):
            figure = f"{bits:.2f}" if bits < _ABSURD else f"More than {_ABSURD}"
            return (
                f"**{figure} bits/dim.** That is more than the {raw_bits} that it "
                "takes as it is: such pictures are strange to the model. "
                f"{usual}"
            )
        packed_bytes = ceil(raw_bytes * bits / raw_bits)
        if bits > high:
            meaning = "This one takes more: it is strange to the model."
        elif bits < low:
            meaning = (
                "This one takes less: it is simple, which does not mean that the model "
                "has seen such pictures."
            )
        else:
            meaning = "So does this one: to the model it is an ordinary picture."
        return (
            f"**{bits:.2f} bits/dim.** Packed with what the model knows, this picture "
            f"would take {packed_bytes:,} bytes instead of {ceil(raw_bytes):,}. "
            f"{usual} {meaning}"
        )

    def say_what_is_lost(self, image: np.ndarray, again: np.ndarray) -> str:
        """What is wrong in what its latent gives back, in Markdown; or nothing."""
        unused = 8 - self.model.num_bits
        wrong = np.count_nonzero(image >> unused != again >> unused)
        if not wrong:
            return ""
        return (
            f"**The model cannot give this picture back:** {wrong:,} of its "
            f"{image.size:,} values come back wrong, so unlike is it to those that the "
            "model was trained on. What is shown beside it, and blends with it, mean "
            "little."
        )

    def _measure_examples(self) -> np.ndarray:
        num_at_once = max(1, 16 * _SMALL // prod(self.model.event_shape[:2]))
        labels = self.labels if self.has_classes else None
        return np.concatenate(
            [
                self._bits(self.examples[b], None if labels is None else labels[b])
                for b in slices(len(self.examples), num_at_once)
            ]
        )

    def _bits(self, images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return self.model.bits_per_dim(images, labels, seed=_SEED).numpy()


def _one(label: int | None) -> np.ndarray | None:
    return None if label is None else np.array([label])
