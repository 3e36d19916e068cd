"""Named configurations: a model and how it is trained."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PRESETS", "Preset", "preset_for"]


@dataclass(frozen=True)
class Preset:
    """A model and how it is trained.

    Attributes:
        description: One line about it.
        model: Arguments of `GlowModel`, those apart that a data set gives
            (`event_shape`, `num_classes`, and `num_bits` if it is not among them).
        dataset: Name of the data set that it is for; any when empty.
        event_shape: `(H, W, C)` of the images that it is for; any when `None`.
        is_default: Whether it is what `dataset` is trained with where none is named.
        conditional: Whether the model depends on the class.
        batch_size: Images in a batch.
        epochs: Passes over the training images; the best on the validation images is
            kept.
        learning_rate: Adamax's, after the warm-up and before its decay.
        decay: `"cosine"`, to zero at the end, or `"constant"`.
        warmup_steps: Steps over which the learning rate rises from zero.
        weight_decay: Decoupled weight decay.
        clip_norm: Largest norm of the gradient; any when `None`.
        guard: Whether steps that would ruin the model are skipped, and weights go back.
        ema_momentum: Of the moving average of the weights that is evaluated and kept.
        crop: How squares are cut out of pictures of any size.
        max_shift: Pixels by which half of the training images are moved, at most.
        flips: Whether half of the training images are mirrored, left for right.
        bits_per_dim: What the paper reports on test images; `None` where nothing.
        measured: What README reports of this very preset; `None` where nothing.
        cost: What the paper's training took, as far as it is known.
    """

    description: str
    model: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = ""
    event_shape: tuple[int, int, int] | None = None
    is_default: bool = False
    conditional: bool = False
    batch_size: int = 64
    epochs: int = 50
    learning_rate: float = 1e-3
    decay: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    guard: bool = True
    ema_momentum: float = 0.99
    crop: str = "center"
    max_shift: int = 0
    flips: bool = False
    bits_per_dim: float | None = None
    measured: float | None = None
    cost: str = ""


_EPOCH = 50_000
"""Images that openai/glow counts as an epoch, whatever the data set."""


def _paper(
    description: str,
    dataset: str,
    size: int,
    *,
    num_levels: int,
    num_steps: int,
    batch_size: int,
    coupling: str = "affine",
    num_bits: int = 8,
    **others: Any,
) -> Preset:
    """A row of the paper's tables of hyperparameters, or a command of openai/glow's.

    Warm-up and moving average are openai/glow's defaults: 10 epochs and one. How many
    epochs there are is ours: it trained until it was stopped.
    """
    return Preset(
        description,
        {
            "num_levels": num_levels,
            "num_steps": num_steps,
            "hidden_channels": 512,
            "coupling": coupling,
            "num_bits": num_bits,
        },
        dataset,
        (size, size, 3),
        batch_size=batch_size,
        warmup_steps=10 * _EPOCH // batch_size,
        ema_momentum=1 - batch_size / _EPOCH,
        **others,
    )


def _variant(preset: Preset, description: str, **changes: Any) -> Preset:
    """A model that the paper reports neither bits/dim nor cost of."""
    return dataclasses.replace(
        preset, description=description, bits_per_dim=None, cost="", **changes
    )


_CIFAR10 = _paper(
    "the paper's CIFAR-10 model",
    "cifar10",
    32,
    num_levels=3,
    num_steps=32,
    batch_size=512,
    epochs=1000,
    flips=True,
    bits_per_dim=3.35,
    cost="8 GPUs, 6.8 days",
)
_IMAGENET_32 = _paper(
    "the paper's ImageNet model at 32 x 32",
    "downsampled_imagenet/32x32",
    32,
    num_levels=3,
    num_steps=48,
    batch_size=512,
    epochs=100,
    bits_per_dim=4.09,
)
_ABLATION = {"reverse": "reverse", "shuffle": "shuffle", "1x1": "invertible_conv"}

PRESETS: dict[str, Preset] = {
    "digits": Preset(
        "8 x 8 handwritten digits, in minutes on a CPU",
        {"num_levels": 2, "num_steps": 16, "hidden_channels": 128},
        "digits",
        is_default=True,
        epochs=60,
        learning_rate=2e-3,
        warmup_steps=50,
        weight_decay=0.1,
        max_shift=1,
        measured=2.022,
    ),
    "fashion-small": Preset(
        "Fashion-MNIST, for a CPU",
        {"num_levels": 3, "num_steps": 8, "hidden_channels": 64},
        "fashion_mnist",
        (32, 32, 1),
        is_default=True,
        epochs=10,
        warmup_steps=200,
        flips=True,
    ),
    "fashion": Preset(
        "Fashion-MNIST, in an hour or two on a CPU",
        {"num_levels": 3, "num_steps": 8, "hidden_channels": 96},
        "fashion_mnist",
        (32, 32, 1),
        epochs=10,
        learning_rate=2e-3,
        warmup_steps=200,
    ),
    "cifar10-small": Preset(
        "CIFAR-10, for a CPU",
        {"num_levels": 3, "num_steps": 8, "hidden_channels": 64},
        "cifar10",
        (32, 32, 3),
        is_default=True,
        epochs=10,
        warmup_steps=200,
        flips=True,
    ),
    "small": Preset(
        "images up to 32 x 32, a first try on a CPU",
        {"num_levels": 3, "num_steps": 4, "hidden_channels": 64},
        epochs=5,
    ),
    "cifar10": _CIFAR10,
    "cifar10-conditional": _variant(
        _CIFAR10,
        "the same with classes and openai/glow's classifier",
        model={**_CIFAR10.model, "weight_y": 0.01},
        conditional=True,
    ),
    "imagenet32": _IMAGENET_32,
    "imagenet32-conditional": _variant(
        _IMAGENET_32,
        "the same with classes and classifier, of image-net.org's images",
        model={**_IMAGENET_32.model, "weight_y": 0.01},
        dataset="imagenet_resized/32x32",
        conditional=True,
    ),
    "imagenet64": _paper(
        "the paper's ImageNet model at 64 x 64",
        "downsampled_imagenet/64x64",
        64,
        num_levels=4,
        num_steps=48,
        batch_size=128,
        epochs=100,
        bits_per_dim=3.81,
    ),
    **{
        f"lsun-{category}": _paper(
            f"the paper's model of LSUN's {category} pictures, cut at random",
            f"lsun/{category.replace('church', 'church_outdoor')}",
            64,
            num_levels=3,
            num_steps=48,
            batch_size=128,
            epochs=100,
            crop="random",
            bits_per_dim=bits,
        )
        for category, bits in [("bedroom", 2.38), ("tower", 2.46), ("church", 2.67)]
    },
    **{
        f"lsun-{size}": _paper(
            "the paper's model for samples of LSUN, 5 bits",
            "lsun/bedroom",
            size,
            num_levels=5,
            num_steps=64,
            batch_size=batch_size,
            coupling="additive",
            num_bits=5,
            epochs=100,
        )
        for size, batch_size in [(96, 320), (128, 160)]
    },
    "celeba-hq-256": _paper(
        "the paper's faces, 5 bits: about 600 convolutions",
        "celeb_a_hq/256",
        256,
        num_levels=6,
        num_steps=32,
        batch_size=40,
        coupling="additive",
        num_bits=5,
        epochs=100,
        cost="40 GPUs, about a week",
    ),
    **{
        f"ablation-{name}-{coupling}": _variant(
            _CIFAR10,
            f"figure 3 of the paper: {name}, {coupling}"
            + (", as RealNVP" if (name, coupling) == ("reverse", "affine") else ""),
            model={
                **_CIFAR10.model,
                "permutation": permutation,
                "coupling": coupling,
            },
        )
        for name, permutation in _ABLATION.items()
        for coupling in ("additive", "affine")
    },
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
        >>> preset_for("cifar10").model["num_steps"], PRESETS["cifar10"].bits_per_dim
        (8, 3.35)
    """
    if name is not None:
        from tfp_glow._checks import check_choice  # TensorFlow: `presets` needs none

        check_choice("preset", name, PRESETS)
        return PRESETS[name]
    for preset in PRESETS.values():
        if preset.is_default and preset.dataset == dataset:
            return preset
    return PRESETS["small"]
