"""From a checkpoint of openai/glow to a `GlowModel`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfp_glow._checks import check_positive_integer
from tfp_glow.bijectors import Glow, GlowLevel, LUInvertibleConv
from tfp_glow.glow_model import GlowModel
from tfp_glow.layers import ScaledLinear
from tfp_glow.openai.architecture import Architecture
from tfp_glow.openai.checkpoint import SCOPE, Checkpoint

__all__ = ["load_openai_checkpoint"]

# Where a variable of a step goes among a level's stacked parameters.
_STEP = {
    "actnorm_center/b": "act_norm/shift",
    "actnorm_scale/logs": "act_norm/raw_log_scale",
    "shuffle/indices": "permutation/order",
    "invconv/L": "permutation/lower",
    "invconv/U": "permutation/upper",
    "invconv/log_S": "permutation/log_diag",
    "invconv/sign_S": "permutation/sign",
    "invconv/P": "permutation/permutation",
    "f1/l_1/W": "network/kernel_1",
    "f1/l_1/actnorm_center/b": "network/shift_1",
    "f1/l_1/actnorm_scale/logs": "network/raw_log_scale_1",
    "f1/l_2/W": "network/kernel_2",
    "f1/l_2/actnorm_center/b": "network/shift_2",
    "f1/l_2/actnorm_scale/logs": "network/raw_log_scale_2",
    "f1/l_last/W": "network/kernel_3",
    "f1/l_last/b": "network/bias_3",
    "f1/l_last/logs": "network/raw_log_scale_3",
}
_SCALED_LINEAR = {"W": "kernel", "b": "bias", "logs": "raw_log_scale"}


def load_openai_checkpoint(
    directory: str | Path,
    image_size: int,
    num_bits: int = 8,
    weight_y: float = 0.0,
    *,
    use_ema: bool = False,
    dtype: str | None = None,
) -> GlowModel:
    """Loads a TensorFlow 1 checkpoint that openai/glow wrote.

    Levels, steps, width, couplings, permutations and priors are read from the names and
    shapes of its variables; a `W` of the 1 x 1 convolutions that was not kept as LU is
    decomposed. The model gives the likelihoods, latents and images of openai/glow; only
    what lies beyond the brightest bin is that bin here, and 255 there, which differs
    where `num_bits` is below 8.

    Image size and number of bits are not in the checkpoint: with other ones than it was
    trained with, likelihoods are wrong, and nothing can tell.

    Args:
        directory: Folder of the checkpoint, or the checkpoint's path without
            `.index`.
        image_size: Height and width of the images, `--image_size` of openai/glow.
        num_bits: Bits of a pixel, `--n_bits_x`.
        weight_y: Weight of the classifier's loss, `--weight_y`.
        use_ema: Whether to take the moving averages of the variables.
        dtype: `"float32"`, `"float64"` or `"mixed_bfloat16"`; Keras's default when not
            given.

    Returns:
        A `GlowModel`, initialised.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it is damaged, of another model, or does not fit an argument.

    References:
        https://github.com/openai/glow, `model.py` and `tfops.py`.
    """
    check_positive_integer("image_size", image_size)
    checkpoint = Checkpoint.open(directory)
    architecture = Architecture.read(checkpoint)
    if weight_y and not architecture.has_classifier:
        raise ValueError(
            f"{checkpoint.path} has no classifier for `weight_y` to weigh. Received: "
            f"weight_y={weight_y!r}. Leave `weight_y` at 0."
        )
    if image_size % (factor := 2**architecture.num_levels):
        raise ValueError(
            f"`image_size` must be divisible by {factor}, for {checkpoint.path} has "
            f"{architecture.num_levels} levels. Received: image_size={image_size}. "
            "Give the size of the images that it was trained on."
        )
    model = GlowModel(
        (image_size, image_size, architecture.channels // 4),
        num_bits=num_bits,
        num_levels=architecture.num_levels,
        num_steps=architecture.num_steps,
        hidden_channels=architecture.hidden_channels,
        coupling=architecture.coupling,
        permutation=architecture.permutation,
        learn_top_prior=architecture.learn_top_prior,
        num_classes=architecture.num_classes,
        weight_y=weight_y if architecture.has_classifier else None,
        seed=0,  # of values that are replaced
        dtype=dtype,
    )
    values = checkpoint.read(architecture.variables(), use_ema=use_ema)
    for name, value in values.items():
        if problem := _problem_with(name, value):
            raise ValueError(
                f"{checkpoint.path}: {SCOPE + name!r} {problem}. Take an earlier "
                "checkpoint."
            )
    _assign(model.glow, values, architecture)
    if model.classifier is not None:
        _assign_linear(model.classifier, values, "classifier")
    return model


def _problem_with(name: str, value: np.ndarray) -> str | None:
    """Why a permutation cannot be inverted, if it cannot."""
    kind = name.rpartition("/")[2]
    if kind == "W" and "invconv" in name:
        if np.linalg.matrix_rank(value.astype(np.float64)) < len(value):
            return "is a matrix that has no inverse"
    elif kind in ("indices", "indices_inverse"):
        if not np.array_equal(np.sort(value), np.arange(len(value))):
            return f"is no order of {len(value)} channels"
    elif kind == "P":
        identity = np.eye(len(value))
        if set(np.unique(value)) != {0, 1} or not np.array_equal(
            value @ value.T, identity
        ):
            return "is no permutation matrix"
    elif kind == "sign_S" and np.any(np.abs(value) != 1):
        return "must hold 1 and -1"
    return None


def _assign(
    glow: Glow, values: Mapping[str, np.ndarray], architecture: Architecture
) -> None:
    """Gives a Glow the values of a checkpoint."""
    for i, level in enumerate(glow.levels):
        _assign_level(level, i, values, architecture)
    for i, prior in enumerate(glow.chain.split_priors):
        # Theirs is z = (x - mean) / exp(logs), ours z = (x + shift) * scale.
        conv = {key: values[f"pool{i}/conv/{key}"] for key in _SCALED_LINEAR}
        for key, parameter in _SCALED_LINEAR.items():
            value = _halves(conv[key])
            sign = 1 if key == "logs" else -1
            _set(prior.network.parameters[parameter], sign * value)
    if architecture.learn_top_prior:
        prior = glow.chain.top_prior.prior.parameters
        # Its input is zero but for the edge indicator.
        _set(prior["kernel"], values["prior/p/W"][:, :, -1:])
        _set(prior["bias"], values["prior/p/b"])
        _set(prior["raw_log_scale"], values["prior/p/logs"])
    if architecture.num_classes is not None:
        _assign_linear(glow.chain.top_prior.class_prior, values, "prior/y_emb")


def _assign_level(
    level: GlowLevel,
    i: int,
    values: Mapping[str, np.ndarray],
    architecture: Architecture,
) -> None:
    steps = []
    for k in range(level.num_steps):
        step = {}
        for name, key in _STEP.items():
            if f"{i}/{k}/{name}" in values:
                step[key] = values[f"{i}/{k}/{name}"]
        if architecture.coupling == "affine":
            for key in ("kernel_3", "bias_3", "raw_log_scale_3"):
                step[f"network/{key}"] = _halves(step[f"network/{key}"])
        matrix = values.get(f"{i}/{k}/invconv/W")
        if matrix is not None:
            parts = LUInvertibleConv.decompose(matrix, dtype=level.dtype)
            step |= {f"permutation/{key}": value for key, value in parts.items()}
        steps.append(step)
    for key, variable in level.stacked.items():
        _set(variable, np.stack([step[key] for step in steps]))
    level.initialized.assign(True)


def _assign_linear(
    linear: ScaledLinear, values: Mapping[str, np.ndarray], name: str
) -> None:
    for key, parameter in _SCALED_LINEAR.items():
        _set(linear.parameters[parameter], values[f"{name}/{key}"])


def _set(variable: tf.Variable, value: np.ndarray) -> None:
    """Assigns a value that may have axes of size 1 besides, `[1, 1, 1, C]`."""
    value = np.reshape(value, variable.shape)
    variable.assign(tf.constant(value, variable.dtype))


def _halves(value: np.ndarray) -> np.ndarray:
    """Channels of shift and scale, which openai/glow interleaves, one after another."""
    return np.concatenate([value[..., 0::2], value[..., 1::2]], axis=-1)
