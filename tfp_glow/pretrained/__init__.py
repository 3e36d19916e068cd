"""Small trained models that come with the package, to play with at once.

Each folder holds the weights, those of coupling networks rounded to float16, what
`benchmarks/make_pretrained.py` made of them (directions of attributes, held-out
images), their checksums, figures and a model card.

    >>> digits = pretrained.load("digits")
    >>> digits.model.sample(4, temperature=0.7, seed=0).shape
    TensorShape([4, 8, 8, 1])
    >>> more_of_a_3 = digits.directions["3"]
    >>> latents.manipulate(digits.model, digits.images[0], more_of_a_3, [0, 1]).shape
    TensorShape([2, 8, 8, 1])
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfp_glow._checks import check_choice
from tfp_glow._download import check_sha256
from tfp_glow.glow_model import GlowModel
from tfp_glow.latents import AttributeDirections
from tfp_glow.publishing import WEIGHTS

__all__ = ["NAMES", "Pretrained", "load"]

NAMES = ("digits", "fashion")
"""Names of the models."""

CHECKSUMS = "SHA256SUMS"
DIRECTIONS = "attributes.npz"
EXAMPLES = "examples.npz"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A trained model and something to use it on.

    Attributes:
        model: The model.
        directions: Of its classes and of what was measured of the images, found on
            training images.
        images: Test images, which it was not trained on, `uint8` `[N, H, W, C]`.
        labels: Their classes, integers `[N]`.
        class_names: Names of the classes.
        folder: Where its files lie: `MODEL_CARD.md` has its figures.
    """

    model: GlowModel
    directions: AttributeDirections
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    folder: Path


def load(name: str) -> Pretrained:
    """Loads a model that comes with the package.

    Args:
        name: `"digits"`, scikit-learn's, 8 x 8 x 1 and 4 bits; or `"fashion"`,
            Fashion-MNIST, 32 x 32 x 1 and 8 bits.

    Returns:
        The model, `.model`, and test images, classes and directions of attributes.

    Raises:
        FileNotFoundError: If a file of the package is missing.
        ValueError: If there is no model of that name, or a file is damaged.
    """
    check_choice("name", name, NAMES)
    folder = Path(__file__).parent / name
    for line in (folder / CHECKSUMS).read_text(encoding="ascii").splitlines():
        checksum, file = line.split()
        check_sha256(folder / file, checksum, str(folder / file))
    with np.load(folder / EXAMPLES, allow_pickle=False) as examples:
        images, labels = examples["images"], examples["labels"]
        class_names = tuple(map(str, examples["class_names"]))
    return Pretrained(
        GlowModel.from_pretrained(folder / WEIGHTS),
        AttributeDirections.load(folder / DIRECTIONS),
        images,
        labels,
        class_names,
        folder,
    )
