"""Is an image one like those of the training? Scores, and how well they tell."""

import io
from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfp_glow._batches import slices
from tfp_glow._checks import check_choice, check_finite, check_positive_integer
from tfp_glow._inputs import check_no_context
from tfp_glow.dequantization import bin_centers, quantize
from tfp_glow.glow_model import GlowModel

__all__ = ["Roc", "compressed_bits_per_dim", "out_of_distribution_scores", "roc"]

_CHUNK_SIZE = 128

_FORMATS = {
    "png": {"format": "PNG", "optimize": True},
    "jpeg2000": {"format": "JPEG2000", "irreversible": False, "no_jp2": True},
}


def out_of_distribution_scores(
    model: GlowModel,
    images: np.ndarray,
    *,
    typical_bits: float,
    labels: np.ndarray | None = None,
    seed: int = 0,
    num_noise_samples: int = 1,
    batch_size: int = 128,
) -> dict[str, np.ndarray]:
    """How strange images are to a model, in three ways; more is stranger.

    - `"likelihood"`: bits/dim. It fails where the strange images are simpler than the
      model's own: they get higher likelihoods.
    - `"typicality"`: the distance of bits/dim from what is usual, `typical_bits`.
    - `"complexity"`: bits/dim, less those that a general compressor needs.

    Args:
        model: The model.
        images: `uint8` `[N, H, W, C]`.
        typical_bits: Mean bits/dim of images that are not strange, such as
            `tf.reduce_mean(model.bits_per_dim(train_images[:500]))`: an estimate of
            the model's entropy.
        labels: Integers `[N]`, where the model has classes.
        seed: Seed of the noise.
        num_noise_samples: Draws of noise, see `model.bits_per_dim`.
        batch_size: How many images are scored at a time.

    Returns:
        Three scores of each image, in bits/dim, `[N]`.

    Raises:
        TypeError: If the images are not `uint8`.
        ValueError: If shapes or labels do not fit the model, or it has a context, or
            its images other than 1 or 3 channels, which no compressor takes.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> images, _ = data.load_arrays("digits", "test", limit=20)
        >>> scores = latents.out_of_distribution_scores(
        ...     model, images, typical_bits=2.0
        ... )
        >>> {name: score.shape for name, score in scores.items()}
        {'likelihood': (20,), 'typicality': (20,), 'complexity': (20,)}

    References:
        Nalisnick et al. Do deep generative models know what they don't know? 2019, on
        the failure. https://arxiv.org/abs/1810.09136
        Nalisnick et al. Detecting out-of-distribution inputs to deep generative models
        using typicality. 2019, with one image a batch.
        https://arxiv.org/abs/1906.02994
        Serrà et al. Input complexity and out-of-distribution detection with
        likelihood-based generative models. 2020. Equation 2.
        https://arxiv.org/abs/1909.11480
    """
    check_no_context(model, "out_of_distribution_scores")
    check_choice("model.event_shape[-1]", model.event_shape[-1], (1, 3))
    check_finite("typical_bits", typical_bits)
    check_positive_integer("batch_size", batch_size)
    bits = np.concatenate(
        [np.zeros(0, np.float32)]
        + [
            model.bits_per_dim(
                images[part],
                None if labels is None else labels[part],
                # A batch's draws count up from the second number.
                seed=[seed, part.start * num_noise_samples],
                num_noise_samples=num_noise_samples,
            )
            for part in slices(len(images), batch_size)
        ]
    )
    return {
        "likelihood": bits,
        "typicality": np.abs(bits - typical_bits),
        "complexity": bits - compressed_bits_per_dim(images, model.num_bits),
    }


def compressed_bits_per_dim(
    images: np.ndarray,
    num_bits: int = 8,
    formats: Sequence[str] = ("png", "jpeg2000"),
) -> np.ndarray:
    """Bits/dim of images in lossless files: how complex they are to anybody.

    Of small images the files' own beginnings, some 60 bytes, are a large part, and the
    same for each.

    Args:
        images: `uint8` `[N, H, W, C]`, `C` 1 or 3.
        num_bits: How many of the 8 bits are kept, the highest ones.
        formats: Of `"png"` and `"jpeg2000"`; for each image the shortest file counts.

    Returns:
        `8 * bytes / (H W C)` of each image, `[N]`.

    Raises:
        TypeError: If the images are not `uint8`.
        ValueError: If there is no such format, or another number of channels.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 3], np.uint8)
        >>> bool(np.all(latents.compressed_bits_per_dim(noise) > 8))
        True

    References:
        Serrà et al. Input complexity and out-of-distribution detection with
        likelihood-based generative models. 2020. Section 3, with FLIF besides.
        https://arxiv.org/abs/1909.11480
    """
    formats = [formats] if isinstance(formats, str) else list(formats)
    for name in formats or [""]:
        check_choice("formats", name, _FORMATS)
    if np.ndim(images) != 4 or np.shape(images)[-1] not in (1, 3):
        raise ValueError(
            "`images` must be of shape [N, H, W, 1] or [N, H, W, 3]. Received: "
            f"shape={np.shape(images)}."
        )
    num_bytes = []
    for part in slices(len(images), _CHUNK_SIZE):
        kept = quantize(bin_centers(images[part], num_bits), num_bits).numpy()
        for image in kept:
            num_bytes.append(min(_num_bytes(image, **_FORMATS[n]) for n in formats))
    return 8 * np.array(num_bytes) / prod(np.shape(images)[1:])


def _num_bytes(image: np.ndarray, **options: object) -> int:
    file = io.BytesIO()
    is_grey = image.shape[-1] == 1
    Image.fromarray(image[..., 0] if is_grey else image).save(file, **options)
    return len(file.getvalue())


class Roc(NamedTuple):
    """What `roc` returns.

    Attributes:
        area: Area under the curve: the probability that a strange image has the higher
            score. 0.5 is chance, and below it the score has it the wrong way round.
        false_positive_rate: Images that are not strange but above a threshold, `[T]`.
        true_positive_rate: Strange images above it, `[T]`.
    """

    area: float
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray


def roc(inside: np.ndarray, outside: np.ndarray) -> Roc:
    """How well a score tells strange images from others.

    Args:
        inside: Scores of images like those of the training, `[N]`; also infinite.
        outside: Scores of strange ones, `[M]`, which should be higher.

    Returns:
        The receiver operating characteristic.

    Raises:
        TypeError: If all three scores are given.
        ValueError: If there are no scores of one kind, or one is not a number.

    Example:
        >>> latents.roc(np.array([1.0, 2.0]), np.array([1.5, 3.0])).area
        0.75
    """
    from sklearn.metrics import auc, roc_curve

    for scores in (inside, outside):
        if isinstance(scores, Mapping):
            raise TypeError(
                "These must be scores of one kind, such as `scores['typicality']`. "
                f"Received: those of {list(scores)}."
            )
    inside, outside = np.ravel(inside), np.ravel(outside)
    if not np.size(inside) or not np.size(outside):
        raise ValueError(
            "There must be scores of both kinds. Received: "
            f"{np.size(inside)} inside, {np.size(outside)} outside."
        )
    is_outside = np.repeat([0, 1], [np.size(inside), np.size(outside)])
    scores = np.concatenate([inside, outside])
    if np.isnan(scores).any():
        raise ValueError(
            f"Scores must be numbers. Received: {np.isnan(scores).sum()} that are NaN, "
            f"of {len(scores)}."
        )
    # Their order is all that counts, and scikit-learn takes no infinite ones.
    _, ranks = np.unique(scores, return_inverse=True)
    false, true, _ = roc_curve(is_outside, ranks)
    return Roc(float(auc(false, true)), false, true)
