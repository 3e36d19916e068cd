"""A trained model as a SavedModel that needs nothing but TensorFlow."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from inspect import Parameter, Signature
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_choice
from tfp_glow.bijectors import Glow
from tfp_glow.dequantization import (
    bin_centers,
    bits_per_dim,
    dequantize,
    discrete_log_prob,
    quantize,
    uniform_noise,
)
from tfp_glow.distributions import glow_distribution
from tfp_glow.variational_dequantization import VariationalDequantizer

if TYPE_CHECKING:
    from tfp_glow.glow_model import GlowModel

tfd = tfp.distributions

__all__ = ["EXPORT_PRECISIONS", "export_saved_model"]

EXPORT_PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Keras's dtype policies by the names of what the coupling networks compute in."""

_NOISE_SEED = 0

Specs = dict[str, tuple[list[int | None], tf.DType]]
"""Shapes and types by the names of inputs."""


def export_saved_model(
    model: "GlowModel",
    directory: str | Path,
    *,
    precision: str | None = None,
    merge: bool = False,
) -> None:
    """Writes a SavedModel with the signatures of a served Glow.

    The README's section "Serve it" has the table of signatures. A model with a context
    takes `context`, float32 `[B, D]` or `[B, H, W, D]`, besides: of `uint8` images
    `(context + 0.5) / 256 - 0.5`, as the model itself takes them. Likelihoods use one
    draw of noise, kept in the model and the same for every image, so that a row's
    answer depends on that row.

    Args:
        model: A `GlowModel`.
        directory: Folder to write into.
        precision: `"float32"` or `"bfloat16"`, of the coupling networks; the model's
            when not given.
        merge: Whether to store what depends on the parameters alone, see
            `Glow.merged`, instead of computing it for every request.

    Raises:
        OSError: If there can be no such folder.
        ValueError: If there is no such precision, or the folder has no name.
    """
    directory = os.fspath(directory)
    if not directory:
        raise ValueError(
            "`directory` must be the name of a folder, '.' for the current one. "
            f"Received: directory={directory!r}."
        )
    if precision is not None:
        check_choice("precision", precision, EXPORT_PRECISIONS)
    with _made(directory):
        _save(model, directory, precision, merge=merge)


@contextmanager
def _made(directory: str) -> Iterator[None]:
    """Makes a folder before what takes long; if that fails, no empty one is left."""
    if "://" in directory:  # TensorFlow makes those of other file systems
        yield
        return
    folder = Path(os.path.normpath(directory))
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # where something has been written
                path.rmdir()
        raise


def _save(
    model: "GlowModel", directory: str, precision: str | None, *, merge: bool
) -> None:
    if precision is not None:
        policy = EXPORT_PRECISIONS[precision]
        if policy != model.dtype_policy.name:
            model = model.with_dtype(policy)
    distribution, dequantizer = model.distribution, model.dequantizer
    if merge:
        distribution = glow_distribution(model.glow.merged())
        dequantizer = dequantizer and dequantizer.merged()
    module = tf.Module(name="glow")
    # The variables alone, not the objects that hold them: a server has neither TFP nor
    # a user's Keras layers.
    flows = [distribution, *filter(None, [dequantizer])]
    module.weights = [variable for flow in flows for variable in flow.variables]
    if dequantizer is None:
        module.noise = uniform_noise(model.event_shape, _NOISE_SEED, model.glow.dtype)
    else:
        module.noise = tf.random.stateless_normal(
            model.event_shape, [_NOISE_SEED, 0], dtype=model.glow.dtype
        )
    functions = _served_functions(
        distribution, dequantizer, module.noise, model.num_bits
    )
    for name, function in functions.items():
        setattr(module, name, function)
    with _without_own_gradients(distribution.bijector):
        signatures = {name: f.get_concrete_function() for name, f in functions.items()}
        signatures["serving_default"] = signatures["log_prob"]
        tf.saved_model.save(module, directory, signatures=signatures)


@contextmanager
def _without_own_gradients(glow: Glow) -> Iterator[None]:
    """Lets levels store: a SavedModel would hold, traced, how the others go back."""
    if glow.memory == "auto":
        glow.choose_memory()
    reversible = [level for level in glow.levels if level.memory == "reversible"]
    for level in reversible:
        level.memory = "stored"
    try:
        yield
    finally:
        for level in reversible:
            level.memory = "reversible"


def _served_functions(
    distribution: tfd.TransformedDistribution,
    dequantizer: VariationalDequantizer | None,
    noise: tf.Tensor,
    num_bits: int,
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The functions behind the signatures, each with the inputs that it needs."""
    glow = distribution.bijector
    event_shape, dtype = tuple(glow.event_shape), glow.dtype
    num_dims = prod(event_shape)

    # Traced and stored once for the two signatures that share it, as `decoded` is.
    @tf.function(autograph=False)
    def density(images: tf.Tensor, condition: dict[str, tf.Tensor]) -> tf.Tensor:
        if dequantizer is not None:
            x, log_q = dequantizer(images, normals=noise)
            return distribution.log_prob(x, bijector_kwargs=condition) - log_q
        x = dequantize(images, num_bits, noise=noise, dtype=dtype)
        return distribution.log_prob(x, bijector_kwargs=condition)

    def log_prob(images: tf.Tensor, **condition: tf.Tensor) -> dict:
        value = discrete_log_prob(density(images, condition), event_shape, num_bits)
        return {"log_prob": tf.cast(value, tf.float32)}

    def bits(images: tf.Tensor, **condition: tf.Tensor) -> dict:
        value = bits_per_dim(density(images, condition), event_shape, num_bits)
        return {"bits_per_dim": tf.cast(value, tf.float32)}

    def encode(images: tf.Tensor, **condition: tf.Tensor) -> dict:
        x = bin_centers(images, num_bits, dtype=dtype)
        return {"latents": tf.cast(glow.inverse(x, **condition), tf.float32)}

    @tf.function(autograph=False)
    def decoded(latents: tf.Tensor, condition: dict[str, tf.Tensor]) -> tf.Tensor:
        return quantize(glow.forward(tf.cast(latents, dtype), **condition), num_bits)

    def decode(latents: tf.Tensor, **condition: tf.Tensor) -> dict:
        return {"images": decoded(latents, condition)}

    def sample(seed: tf.Tensor, temperature: tf.Tensor, **condition: tf.Tensor) -> dict:
        # A row's normals come from its own seed, whatever rows are beside it.
        normals = tf.map_fn(
            lambda row: tf.random.stateless_normal([num_dims], [row, 0]),
            seed,
            fn_output_signature=tf.TensorSpec([num_dims], tf.float32),
        )
        return decode(normals * temperature[:, tf.newaxis], **condition)

    images: Specs = {"images": ([None, *event_shape], tf.uint8)}
    condition: Specs = {}
    if glow.num_classes is not None:
        condition["labels"] = ([None], tf.int32)
    if glow.context_shape is not None:
        condition["context"] = ([None, *glow.context_shape], tf.float32)
    return {
        "log_prob": _served(log_prob, images | condition),
        "bits_per_dim": _served(bits, images | condition),
        "encode": _served(encode, images | condition),
        "decode": _served(
            decode, {"latents": ([None, num_dims], tf.float32)} | condition
        ),
        "sample": _served(
            sample,
            {"seed": ([None], tf.int32), "temperature": ([None], tf.float32)}
            | condition,
        ),
    }


def _served(
    function: Callable[..., dict[str, tf.Tensor]], specs: Specs
) -> tf.types.experimental.PolymorphicFunction:
    """Makes a function of rows ready to be a signature.

    A row that comes alone gets a copy of itself for company: TensorFlow may compute
    one row by other routines than several, which round in another way.
    """

    def of_rows(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        num_rows = tf.shape(inputs[0])[0]
        for x in inputs[1:]:
            tf.debugging.assert_equal(
                tf.shape(x)[0],
                num_rows,
                message=f"{', '.join(specs)} must have the same number of rows.",
            )
        num_copies = tf.cast(num_rows == 1, tf.int32)
        inputs = [tf.concat([x, x[:num_copies]], axis=0) for x in inputs]
        outputs = function(**dict(zip(specs, inputs, strict=True)))
        return {name: y[:num_rows] for name, y in outputs.items()}

    # So that inputs can be passed by their names, to `keras.layers.TFSMLayer` too.
    of_rows.__signature__ = Signature(
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in specs]
    )
    return tf.function(
        of_rows,
        autograph=False,
        input_signature=[
            tf.TensorSpec(shape, dtype, name=name)
            for name, (shape, dtype) in specs.items()
        ],
    )
