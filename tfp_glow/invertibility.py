"""Whether a trained model can be inverted in the precision that it computes in."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, prod
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_positive_integer
from tfp_glow._inputs import check_images, check_labels
from tfp_glow.bijectors import (
    Glow,
    GlowStep,
    LUInvertibleConv,
    MultiScaleChain,
    Squeeze,
)
from tfp_glow.bijectors.coupling import Coupling
from tfp_glow.dequantization import as_seed, bin_centers, quantize
from tfp_glow.glow_model import GlowModel

tfb = tfp.bijectors

__all__ = ["InvertibilityReport", "PartReport", "check_invertibility"]

_BATCH_SIZE = 32
_PROBED = "probed_"
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
        """Whether every pixel came back, and every sample is an image."""
        return not (self.num_wrong_pixels or self.num_not_finite or self.num_black)

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

    def verdict(self) -> str:
        """One sentence: what is wrong, and where it begins, or that nothing is."""
        if self.is_invertible:
            return (
                f"invertible in {self.dtype}: all pixels of {self.num_images} images "
                f"came back, and {self.num_samples} samples are images."
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
        if self.num_black:
            problems.append(f"{self.num_black} of {self.num_samples} samples are black")
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

        return plain(asdict(self) | {"is_invertible": self.is_invertible})


class _Probe(tfb.Bijector):
    """The identity, which keeps what has passed in each direction."""

    def __init__(self, name: str = "probe") -> None:
        super().__init__(forward_min_event_ndims=3, parameters=dict(locals()))
        self.inverse_value: tf.Tensor | None = None
        self.forward_value: tf.Tensor | None = None

    def _inverse(self, x: tf.Tensor) -> tf.Tensor:
        self.inverse_value = x
        return tf.identity(x)

    def _forward(self, z: tf.Tensor) -> tf.Tensor:
        self.forward_value = z
        return tf.identity(z)

    def _inverse_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return tf.zeros([], x.dtype)

    @property
    def error(self) -> float:
        """Largest absolute difference between what passed in either direction."""
        return _max_abs(self.inverse_value - self.forward_value)


@dataclass(frozen=True)
class _ProbedPart:
    """A step or a prior between two probes."""

    report: PartReport
    part: tfb.Bijector
    image_side: _Probe
    latent_side: _Probe

    @property
    def bijector(self) -> tfb.Bijector:
        parts = [self.image_side, self.part, self.latent_side]
        return tfb.Chain(parts, name=_PROBED + self.part.name)

    def add_log_scale(self, z: tf.Tensor) -> None:
        """Takes the coupling's scale into account, on what is on its latent side."""
        coupling = getattr(self.part, "coupling", self.part)
        if isinstance(coupling, Coupling):
            log_scale = _max_abs(coupling.log_scale(z))
            self.report.coupling_log_scale = max(
                log_scale, self.report.coupling_log_scale or 0.0
            )


def check_invertibility(
    model: GlowModel,
    images: tf.Tensor,
    labels: tf.Tensor | None = None,
    *,
    num_samples: int = 64,
    seed: int = 0,
) -> InvertibilityReport:
    """Encodes images and decodes them, decodes latents and encodes them, part by part.

    Affine flows divide by what they have multiplied by: where a scale is small or a
    matrix badly conditioned, rounding errors grow, and samples may overflow. To tell
    rounding from a defect, check `model.with_dtype("float64")` too.

    Args:
        model: The model.
        images: `uint8` `[B, H, W, C]`, preferably held out.
        labels: Integers `[B]`, where the model has classes.
        num_samples: How many samples to draw, at temperature 1; of a model with classes
            in turn from each.
        seed: Seed of the samples.

    Returns:
        The report.

    Raises:
        TypeError: If `images` is not `uint8`.
        ValueError: If shapes or labels do not fit the model.

    Example:
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> report = check_invertibility(model, np.zeros([4, 8, 8, 1], np.uint8))
        >>> report.num_wrong_pixels, report.is_invertible
        (0, True)
        >>> [part.name for part in report.parts]
        ['level 0, step 0', 'level 0, split', 'level 1, step 0', 'top prior']
    """
    check_positive_integer("num_samples", num_samples)
    images = check_images(images, model.event_shape)
    labels = check_labels(labels, model.glow.num_classes, images.shape[0])
    parts = _probed_parts(model.glow)
    chain = _probed_chain(model.glow, parts)
    report = InvertibilityReport(dtype=model.glow.dtype.name)
    report.parts = [part.report for part in parts]
    for start in range(0, len(images), _BATCH_SIZE):
        batch = slice(start, start + _BATCH_SIZE)
        kwargs = _kwargs(model.glow, None if labels is None else labels[batch])
        _check_data(model, chain, parts, images[batch], kwargs, report)
    latents = tf.random.stateless_normal(
        [num_samples, prod(model.event_shape)], as_seed(seed), dtype=tf.float64
    )
    for start in range(0, num_samples, _BATCH_SIZE):
        batch = tf.cast(latents[start : start + _BATCH_SIZE], model.glow.dtype)
        indices = tf.range(start, start + len(batch))
        num_classes = model.glow.num_classes
        kwargs = _kwargs(model.glow, num_classes and indices % num_classes)
        _check_samples(model, chain, parts, batch, kwargs, report)
    return report


def _check_data(
    model: GlowModel,
    chain: MultiScaleChain,
    parts: list[_ProbedPart],
    images: tf.Tensor,
    kwargs: Mapping[str, Any],
    report: InvertibilityReport,
) -> None:
    x = bin_centers(images, model.num_bits, dtype=model.glow.dtype)
    z = chain.inverse(x, **kwargs)
    decoded = chain.forward(tf.identity(z), **kwargs)
    wrong = quantize(decoded, model.num_bits) != quantize(x, model.num_bits)
    report.num_images += len(images)
    report.num_wrong_pixels += int(tf.math.count_nonzero(wrong))
    report.data_error = max(report.data_error, _max_abs(decoded - x))
    for part in parts:
        part.add_log_scale(part.latent_side.inverse_value)
        part.report.data_error = max(part.report.data_error, part.image_side.error)


def _check_samples(
    model: GlowModel,
    chain: MultiScaleChain,
    parts: list[_ProbedPart],
    z: tf.Tensor,
    kwargs: Mapping[str, Any],
    report: InvertibilityReport,
) -> None:
    x = chain.forward(z, **kwargs)
    encoded = chain.inverse(tf.identity(x), **kwargs)
    axes = [1, 2, 3]
    finite = tf.reduce_all(tf.math.is_finite(x), axes)
    black = tf.reduce_all(quantize(x, model.num_bits) == 0, axes) & finite
    report.num_samples += len(z)
    report.num_not_finite += int(tf.math.count_nonzero(~finite))
    report.num_black += int(tf.math.count_nonzero(black))
    report.largest_value = max(report.largest_value, _max_abs(x))
    report.sample_error = max(report.sample_error, _max_abs(encoded - z))
    for part in parts:
        part.add_log_scale(part.latent_side.forward_value)
        found, value = part.report, _max_abs(part.image_side.forward_value)
        found.sample_error = max(found.sample_error, part.latent_side.error)
        found.sample_value = max(found.sample_value, value)


def _probed_parts(glow: Glow) -> list[_ProbedPart]:
    """All steps and priors, the one nearest the image first."""
    parts = []
    for i, level in enumerate(glow.levels):
        for k, step in enumerate(level.steps):
            parts.append(_probed(step, f"level {i}, step {k}"))
        if i < len(glow.levels) - 1:
            parts.append(_probed(glow.chain.split_priors[i], f"level {i}, split"))
    if glow.chain.top_prior is not None:
        parts.append(_probed(glow.chain.top_prior, "top prior"))
    return parts


def _probed(part: tfb.Bijector, name: str) -> _ProbedPart:
    report = PartReport(name)
    if isinstance(part, GlowStep):
        report.act_norm_log_scale = _max_abs(part.act_norm.log_scale)
        if isinstance(part.permutation, LUInvertibleConv):
            report.log_diag = _max_abs(tf.convert_to_tensor(part.permutation.log_diag))
            matrix = tf.cast(part.permutation.matrix(), tf.float64).numpy()
            finite = np.all(np.isfinite(matrix))
            report.condition_number = float(np.linalg.cond(matrix)) if finite else inf
    return _ProbedPart(report, part, _Probe(), _Probe())


def _probed_chain(glow: Glow, parts: list[_ProbedPart]) -> MultiScaleChain:
    """The model's chain, of the same parts with probes between them."""
    queue = iter(parts)
    levels, split_priors, top_prior = [], [], None
    for i, level in enumerate(glow.levels):
        steps = [next(queue).bijector for _ in level.steps]
        levels.append(tfb.Chain([Squeeze(), *steps]))
        if i < len(glow.levels) - 1:
            split_priors.append(next(queue).bijector)
    if glow.chain.top_prior is not None:
        top_prior = next(queue).bijector
    return MultiScaleChain(
        levels,
        glow.event_shape,
        split_priors=split_priors,
        top_prior=top_prior,
        dtype=glow.dtype,
    )


def _kwargs(glow: Glow, labels: tf.Tensor | None) -> dict[str, Any]:
    """Labels as the probed chain takes them: for the prior, in its `tfb.Chain`."""
    if labels is None:
        return {}
    name = glow.chain.top_prior.name
    return {_PROBED + name: {name: {"labels": labels}}}


def _max_abs(x: tf.Tensor) -> float:
    """Largest absolute value; infinite where there is what is no number."""
    value = float(tf.reduce_max(tf.abs(x)))
    return value if isfinite(value) else inf
