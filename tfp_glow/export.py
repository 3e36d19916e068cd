"""A trained model as a SavedModel that needs nothing but TensorFlow."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from tfp_glow.dequantization import (
    bin_centers,
    bits_per_dim,
    dequantize,
    discrete_log_prob,
    quantize,
    uniform_noise,
)

if TYPE_CHECKING:
    from tfp_glow.glow_model import GlowModel

__all__ = ["export_saved_model"]

_NOISE_SEED = 0


def export_saved_model(model: "GlowModel", directory: str | Path) -> None:
    """Writes a SavedModel with the signatures of a served Glow.

    | signature | inputs | output |
    |---|---|---|
    | `serving_default`, `log_prob` | `images` | `log_prob` `[B]`, nats |
    | `bits_per_dim` | `images` | `bits_per_dim` `[B]` |
    | `encode` | `images` | `latents` `[B, H W C]` |
    | `decode` | `latents` | `images` |
    | `sample` | `seed` int32 `[N]`, `temperature` float32 `[N]` | `images` |

    Images are `uint8` `[B, H, W, C]`; other numbers are float32. A model with classes
    takes `labels`, int32 `[B]`, besides; one with a context `context`, float32 `[B, D]`
    or `[B, H, W, D]`. Likelihoods use one draw of noise, kept in the
    model and the same for every image, so that a row's answer depends on that row.

    Args:
        model: A `GlowModel`.
        directory: Folder to write into.
    """
    module = tf.Module(name="glow")
    # The variables alone, not the objects that hold them: a server has neither TFP nor
    # a user's Keras layers.
    flows = [model.distribution, *filter(None, [model.dequantizer])]
    module.weights = [variable for flow in flows for variable in flow.variables]
    if model.dequantizer is None:
        module.noise = uniform_noise(model.event_shape, _NOISE_SEED, model.glow.dtype)
    else:
        module.noise = tf.random.stateless_normal(
            model.event_shape, [_NOISE_SEED, 0], dtype=model.glow.dtype
        )
    functions = _served_functions(model, module.noise)
    for name, function in functions.items():
        setattr(module, name, function)
    signatures = {name: f.get_concrete_function() for name, f in functions.items()}
    signatures["serving_default"] = signatures["log_prob"]
    tf.saved_model.save(module, str(directory), signatures=signatures)


def _served_functions(
    model: "GlowModel", noise: tf.Tensor
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The functions of section "signatures", each with the inputs that it needs."""
    glow, distribution = model.glow, model.distribution
    event_shape, num_bits, dtype = model.event_shape, model.num_bits, glow.dtype
    num_dims = prod(event_shape)
    conditions = {}
    if glow.num_classes is not None:
        conditions["labels"] = ([None], tf.int32)
    if glow.context_shape is not None:
        conditions["context"] = ([None, *glow.context_shape], tf.float32)

    def named(values: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        return dict(zip(conditions, values, strict=True))

    def density(images: tf.Tensor, condition: Sequence[tf.Tensor]) -> tf.Tensor:
        if model.dequantizer is not None:
            x, log_q = model.dequantizer(images, normals=noise)
            return distribution.log_prob(x, bijector_kwargs=named(condition)) - log_q
        x = dequantize(images, num_bits, noise=noise, dtype=dtype)
        return distribution.log_prob(x, bijector_kwargs=named(condition))

    def log_prob(images: tf.Tensor, *condition: tf.Tensor) -> dict:
        value = discrete_log_prob(density(images, condition), event_shape, num_bits)
        return {"log_prob": tf.cast(value, tf.float32)}

    def bits(images: tf.Tensor, *condition: tf.Tensor) -> dict:
        value = bits_per_dim(density(images, condition), event_shape, num_bits)
        return {"bits_per_dim": tf.cast(value, tf.float32)}

    def encode(images: tf.Tensor, *condition: tf.Tensor) -> dict:
        x = bin_centers(images, num_bits, dtype=dtype)
        return {"latents": tf.cast(glow.inverse(x, **named(condition)), tf.float32)}

    def decode(latents: tf.Tensor, *condition: tf.Tensor) -> dict:
        x = glow.forward(tf.cast(latents, dtype), **named(condition))
        return {"images": quantize(x, num_bits)}

    def sample(seed: tf.Tensor, temperature: tf.Tensor, *condition: tf.Tensor) -> dict:
        # A row's normals come from its own seed, whatever rows are beside it.
        normals = tf.map_fn(
            lambda row: tf.random.stateless_normal([num_dims], [row, 0]),
            seed,
            fn_output_signature=tf.TensorSpec([num_dims], tf.float32),
        )
        return decode(normals * temperature[:, tf.newaxis], *condition)

    inputs = {
        log_prob: {"images": ([None, *event_shape], tf.uint8)},
        bits: {"images": ([None, *event_shape], tf.uint8)},
        encode: {"images": ([None, *event_shape], tf.uint8)},
        decode: {"latents": ([None, num_dims], tf.float32)},
        sample: {"seed": ([None], tf.int32), "temperature": ([None], tf.float32)},
    }
    names = {bits: "bits_per_dim"}
    return {
        names.get(function, function.__name__): tf.function(
            function,
            input_signature=[
                tf.TensorSpec(shape, dtype, name=name)
                for name, (shape, dtype) in (specs | conditions).items()
            ],
        )
        for function, specs in inputs.items()
    }
