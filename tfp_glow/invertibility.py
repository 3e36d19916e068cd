"""Whether a trained model can be inverted in the precision that it computes in."""

from dataclasses import asdict, dataclass, field
from math import inf, isfinite, prod
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_glow._checks import check_positive_integer
from tfp_glow._inputs import check_condition, check_images
from tfp_glow._probed_glow import ProbedGlow, ProbedPart, max_abs
from tfp_glow.bijectors import GlowStep, LUInvertibleConv
from tfp_glow.dequantization import as_seed, bin_centers, quantize
from tfp_glow.glow_model import GlowModel
from tfp_glow.image_flow import Condition

__all__ = [
    "InvertibilityReport",
    "PartReport",
    "check_inputs",
    "check_invertibility",
]

_BATCH_SIZE = 64
_LARGEST_LATENT_ERROR = 0.1
_SCALES = ("coupling_log_scale", "act_norm_log_scale", "log_diag", "condition_number")


@dataclass
class PartReport:
    """How large a part's scales are, and the errors that have built up behind it.

    Attributes:
        name: Of a step, `"level 0, step 3"`, or of a prior.
        coupling_log_scale: Largest absolute logarithm of the coupling's scale, or of a
            split prior's, on data and samples; None where there is none.
        act_norm_log_scale: Largest absolute logarithm of act-norm's scale.
        log_diag: Largest absolute logarithm of the diagonal of U in W = P L U.
        condition_number: Of W, in the 2-norm.
        data_error: Largest absolute difference between what went into this part when
            images were encoded, and what came out of it when they were decoded again.
        sample_error: The same between what went into it when latents were decoded, and
            what came out of it when they were encoded again.
        sample_value: Largest absolute value that came out of it when latents were
            decoded: where samples explode, it grows from part to part.
    """

    name: str
    coupling_log_scale: float | None = None
    act_norm_log_scale: float | None = None
    log_diag: float | None = None
    condition_number: float | None = None
    data_error: float = 0.0
    sample_error: float = 0.0
    sample_value: float = 0.0


@dataclass
class InvertibilityReport:
    """What `check_invertibility` found.

    Attributes:
        dtype: Precision of the computation.
        num_images: Images that were encoded and decoded.
        num_wrong_pixels: Numbers in them that did not come back.
        data_error: Largest absolute error of a continuous image.
        num_samples: Samples at temperature 1.
        num_not_finite: Samples with infinities or what is no number.
        num_black: Samples with nothing but zeros.
        sample_error: Largest absolute error of a latent.
        largest_value: Largest absolute value in a continuous sample; images are within
            0.5.
        parts: Each step and prior, the one nearest the image first.
    """

    dtype: str
    num_images: int = 0
    num_wrong_pixels: int = 0
    data_error: float = 0.0
    num_samples: int = 0
    num_not_finite: int = 0
    num_black: int = 0
    sample_error: float = 0.0
    largest_value: float = 0.0
    parts: list[PartReport] = field(default_factory=list)

    @property
    def is_invertible(self) -> bool:
        """Whether every pixel came back, samples are finite, and so did their latents.

        Latents have a standard deviation of 1: an error of 0.1 has lost something.
        """
        lost = self.num_wrong_pixels or self.num_not_finite
        return not lost and self.sample_error <= _LARGEST_LATENT_ERROR

    @property
    def is_sound(self) -> bool:
        """Whether it is invertible, and no sample is black."""
        return self.is_invertible and not self.num_black

    def worst(self, attribute: str) -> tuple[float, str]:
        """Largest value of an attribute of the parts, and the name of its part."""
        values = [
            (value, part.name)
            for part in self.parts
            if (value := getattr(part, attribute)) is not None
        ]
        return max(values, key=lambda pair: pair[0], default=(0.0, "no part"))

    def summary(self) -> dict[str, float]:
        """The figures in short: errors, counts, and the parts' largest scales."""
        return {
            "num_wrong_pixels": self.num_wrong_pixels,
            "num_bad_samples": self.num_not_finite + self.num_black,
            "data_error": self.data_error,
            "sample_error": self.sample_error,
            **{f"max_{name}": self.worst(name)[0] for name in _SCALES},
        }

    def __str__(self) -> str:
        """The verdict."""
        return f"The model is {self.verdict()}"

    def verdict(self) -> str:
        """One sentence: what is wrong, and where it begins, or that nothing is."""
        if self.is_invertible:
            black = f"{self.num_black}" if self.num_black else "none"
            return (
                f"invertible in {self.dtype}: all pixels of {self.num_images} images "
                f"came back, and so did the latents of {self.num_samples} samples, of "
                f"which {black} {'are' if self.num_black > 1 else 'is'} black."
            )
        problems = []
        if self.num_wrong_pixels:
            problems.append(
                f"{self.num_wrong_pixels} pixels of {self.num_images} images did not "
                f"come back; the error grows most in {self._grows_most('data_error')}"
            )
        if self.num_not_finite:
            problems.append(
                f"{self.num_not_finite} of {self.num_samples} samples are not finite; "
                f"they grow most in {self._grows_most('sample_value')}"
            )
        elif self.sample_error > _LARGEST_LATENT_ERROR:
            problems.append(
                f"the latents of samples did not come back; they grow most in "
                f"{self._grows_most('sample_value')}"
            )
        return f"not invertible in {self.dtype}: {'. Besides, '.join(problems)}."

    def _grows_most(self, attribute: str) -> str:
        """Name of the part in which a figure grows most on the way to the image."""
        factor, name, before = 0.0, "no part", 0.0
        for part in reversed(self.parts):
            value = getattr(part, attribute)
            if before and before < inf and value / before > factor:
                factor, name = value / before, part.name
            before = value
        return name

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it: what is not finite becomes None."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(v) for key, v in value.items()}
            if isinstance(value, list):
                return [plain(v) for v in value]
            return None if isinstance(value, float) and not isfinite(value) else value

        verdicts = {"is_invertible": self.is_invertible, "is_sound": self.is_sound}
        return plain(asdict(self) | verdicts)


def check_invertibility(
    model: GlowModel,
    images: tf.Tensor,
    labels: tf.Tensor | None = None,
    *,
    context: tf.Tensor | None = None,
    num_samples: int = 64,
    seed: int = 0,
) -> InvertibilityReport:
    """Encodes images and decodes them, decodes latents and encodes them, part by part.

    Affine flows divide by what they have multiplied by: where a scale is small or a
    matrix badly conditioned, rounding errors grow, and samples may overflow. To tell
    rounding from a defect, check `model.with_dtype("float64")` too. The parts are
    walked one by one, with what is between them rounded to the type of the model. The
    model keeps more digits within a level, and so errs less than it says here.

    Args:
        model: The model.
        images: `uint8` `[B, H, W, C]`, preferably held out.
        labels: Integers `[B]`, where the model has classes.
        context: `[B, D]` or `[B, H, W, D]`, where the model has one.
        num_samples: How many samples to draw, at temperature 1; of a model with classes
            in turn from each; with a context in turn from those of the images.
        seed: Seed of the samples.

    Returns:
        The report.

    Raises:
        TypeError: If `model` is no `GlowModel`, or `images` is not `uint8`.
        ValueError: If shapes or labels do not fit the model, or there is no image.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> report = check_invertibility(model, np.zeros([4, 8, 8, 1], np.uint8))
        >>> report.num_wrong_pixels, report.is_invertible
        (0, True)
        >>> [part.name for part in report.parts]
        ['level 0, step 0', 'level 0, split', 'level 1, step 0', 'top prior']
    """
    check_positive_integer("num_samples", num_samples)
    images, condition = check_inputs(model, images, labels, context)
    glow = model.glow
    probed = ProbedGlow(glow)
    report = InvertibilityReport(dtype=glow.dtype.name)
    report.parts = [_part_report(part) for part in probed.parts]
    for batch in _batches(len(images)):
        x = bin_centers(images[batch], model.num_bits, dtype=glow.dtype)
        of_batch = {key: value[batch] for key, value in condition.items()}
        _check_images(probed, x, of_batch, model.num_bits, report)
    latents = tf.random.stateless_normal(
        [num_samples, prod(glow.event_shape)], as_seed(seed), dtype=tf.float64
    )
    for batch in _batches(num_samples):
        z = tf.cast(latents[batch], glow.dtype)
        indices = tf.range(num_samples)[batch]
        of_batch = {
            key: tf.gather(value, indices % len(images))
            for key, value in condition.items()
        }
        if "labels" in of_batch:
            of_batch["labels"] = indices % glow.num_classes
        _check_samples(probed, z, of_batch, model.num_bits, report)
    return report


def check_inputs(
    model: GlowModel,
    images: tf.Tensor,
    labels: tf.Tensor | None,
    context: tf.Tensor | None,
) -> tuple[tf.Tensor, Condition]:
    """Checks that images, labels and context fit a model, and that there are any."""
    if not isinstance(model, GlowModel):
        raise TypeError(
            f"Only a `GlowModel` can be checked. Received: {type(model).__name__}."
        )
    images = check_images(images, model.event_shape)
    if not len(images):
        raise ValueError("`images` must hold at least one. Received: none.")
    return images, check_condition(model.glow, labels, context, images)


def _check_images(
    probed: ProbedGlow,
    x: tf.Tensor,
    condition: Condition,
    num_bits: int,
    report: InvertibilityReport,
) -> None:
    """Adds what becomes of continuous images to a report."""
    decoded, found = probed.encode_and_decode(x, condition)
    wrong = quantize(decoded, num_bits) != quantize(x, num_bits)
    wrong |= ~tf.math.is_finite(decoded)  # which would be black
    report.num_images += len(x)
    report.num_wrong_pixels += int(tf.math.count_nonzero(wrong))
    _raise_to(report, data_error=max_abs(decoded - x))
    for part, (log_scale, error) in zip(report.parts, found, strict=True):
        _raise_to(part, coupling_log_scale=log_scale, data_error=error)


def _check_samples(
    probed: ProbedGlow,
    z: tf.Tensor,
    condition: Condition,
    num_bits: int,
    report: InvertibilityReport,
) -> None:
    """Adds what becomes of latents to a report."""
    x, encoded, found = probed.decode_and_encode(z, condition)
    axes = [1, 2, 3]
    finite = tf.reduce_all(tf.math.is_finite(x), axes)
    black = tf.reduce_all(quantize(x, num_bits) == 0, axes) & finite
    report.num_samples += len(z)
    report.num_not_finite += int(tf.math.count_nonzero(~finite))
    report.num_black += int(tf.math.count_nonzero(black))
    _raise_to(report, largest_value=max_abs(x), sample_error=max_abs(encoded - z))
    for part, (log_scale, error, value) in zip(report.parts, found, strict=True):
        _raise_to(
            part, coupling_log_scale=log_scale, sample_error=error, sample_value=value
        )


def _batches(num: int) -> list[slice]:
    starts = range(0, num, _BATCH_SIZE)
    return [slice(start, start + _BATCH_SIZE) for start in starts]


def _raise_to(report: InvertibilityReport | PartReport, **values: tf.Tensor) -> None:
    """Raises figures of a report, but those that it does not have."""
    for name, value in values.items():
        before = getattr(report, name)
        if before is not None:
            setattr(report, name, max(before, float(value)))


def _part_report(probed: ProbedPart) -> PartReport:
    """What the variables alone say, and zeros."""
    report = PartReport(probed.name)
    if probed.coupling is not None:
        report.coupling_log_scale = 0.0
    if isinstance(probed.part, GlowStep):
        report.act_norm_log_scale = float(max_abs(probed.part.act_norm.log_scale))
        permutation = probed.part.permutation
        if isinstance(permutation, LUInvertibleConv):
            log_diag = tf.convert_to_tensor(permutation.log_diag)
            report.log_diag = float(max_abs(log_diag))
            matrix = tf.cast(permutation.matrix(), tf.float64).numpy()
            is_finite = np.all(np.isfinite(matrix))
            report.condition_number = (
                float(np.linalg.cond(matrix)) if is_finite else inf
            )
    return report
