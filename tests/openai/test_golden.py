"""Against openai/glow itself: checkpoints that it wrote, and what it made of them."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from make_golden import CONFIGS as TINY
from make_golden import FOLDER as TINY_FOLDER
from make_golden import load as load_tiny
from make_golden import values as tiny_values
from openai_glow import matrix_of, write_checkpoint

import tfp_glow as tfg
from tfp_glow.openai.loader import _STEP

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "openai_glow"
FOLDERS = sorted(GOLDEN.glob("c*"))

# Relative to the largest entry, but for bits.
BITS = {"float32": 1e-6, "float64": 1e-10}
LATENTS = {"float32": 1e-5, "float64": 1e-9}

needs_golden = pytest.mark.skipif(
    not FOLDERS, reason=f"needs what openai/glow computed, in {GOLDEN}"
)
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@cache
def options(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())["hps"]


@cache
def read(folder: Path, name: str = "golden") -> dict:
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


@cache
def load(folder: Path, dtype: str) -> tfg.GlowModel:
    hps = options(folder)
    return tfg.load_openai_checkpoint(
        folder,
        hps["image_size"],
        num_bits=hps["n_bits_x"],
        weight_y=hps.get("weight_y") or 0.0,
        dtype=dtype,
    )


def precision(dtype: str) -> str:
    return {"float32": "f32", "float64": "f64"}[dtype]


def dequantized(folder: Path, dtype: str) -> tf.Tensor:
    """What was evaluated; the stored one is float32."""
    golden, num_bits = read(folder), options(folder)["n_bits_x"]
    if dtype == "float32":
        return tf.constant(golden["z_dequant"])
    noise = golden["noise"].astype(np.float64) * 2**num_bits
    return tfg.dequantize(golden["x"], num_bits, noise=noise, dtype=tf.float64)


def kwargs_of(folder: Path, model: tfg.GlowModel) -> dict:
    return {} if model.glow.num_classes is None else {"labels": read(folder)["y"]}


def latents_of(folder: Path, dtype: str) -> np.ndarray:
    golden, p = read(folder), precision(dtype)
    parts = [golden[f"{p}/eps/{i}"] for i in range(options(folder)["n_levels"])]
    return np.concatenate([np.reshape(e, [len(e), -1]) for e in parts], axis=-1)


def losses(folder: Path, model: tfg.GlowModel, x: tf.Tensor) -> dict:
    """Bits of images and of classes, and the loss, per image."""
    kwargs = kwargs_of(folder, model)
    log_prob = model.distribution.log_prob(x, bijector_kwargs=kwargs)
    bits_x = tfg.bits_per_dim(log_prob, model.event_shape, model.num_bits)
    bits_y = tf.zeros_like(bits_x)
    if model.classifier is not None:
        top = model.glow.last_level_output(model.glow.inverse(x, **kwargs), **kwargs)
        logits = model.classifier(tf.reduce_mean(top, [1, 2]))
        log_p = tf.nn.log_softmax(logits) / np.log(2)
        bits_y = -tf.gather(log_p, read(folder)["y"], axis=1, batch_dims=1)
    weight_y = options(folder).get("weight_y") or 0.0
    return {"bits_x": bits_x, "bits_y": bits_y, "loss": bits_x + weight_y * bits_y}


def assert_close(actual: object, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


@needs_golden
@each_folder
@each_dtype
def test_bits_of_images_and_classes(folder, dtype):
    actual = losses(folder, load(folder, dtype), dequantized(folder, dtype))
    for key, value in actual.items():
        expected = read(folder)[f"{precision(dtype)}/{key}"]
        np.testing.assert_allclose(value, expected, rtol=BITS[dtype])


@needs_golden
@each_folder
@each_dtype
def test_latents_in_the_order_of_openai_glow(folder, dtype):
    model = load(folder, dtype)
    x = dequantized(folder, dtype)
    latents = model.glow.inverse(x, **kwargs_of(folder, model))
    assert_close(latents, latents_of(folder, dtype), LATENTS[dtype])
    if dtype == "float32" and "f32/eps_flat" in read(folder):
        assert_close(latents, read(folder)["f32/eps_flat"], LATENTS[dtype])


@needs_golden
@each_folder
@each_dtype
def test_decoded_latents(folder, dtype):
    model, golden = load(folder, dtype), read(folder)
    kwargs, p = kwargs_of(folder, model), precision(dtype)
    latents = latents_of(folder, dtype)
    x = model.glow.forward(latents, **kwargs)
    assert_close(x, golden[f"{p}/dec/z"], LATENTS[dtype])
    np.testing.assert_array_equal(
        model.decode(latents, kwargs.get("labels")), golden["f32/dec/x"]
    )
    x = model.glow.forward(0.7 * latents, **kwargs)
    assert_close(x, golden[f"{p}/dec07/z"], LATENTS[dtype])


@needs_golden
@each_folder
@each_dtype
def test_samples_from_given_normals_at_a_temperature_each(folder, dtype):
    model, golden = load(folder, dtype), read(folder)
    kwargs, num_levels = kwargs_of(folder, model), options(folder)["n_levels"]
    # openai/glow draws the top first.
    normals = [golden[f"sample/normals/{i}"] for i in reversed(range(num_levels))]
    normals = np.concatenate([n.reshape([len(n), -1]) for n in normals], axis=-1)
    distribution = tfg.glow_distribution(model.glow, golden["eps_std"])
    latents = normals * distribution.distribution.distribution.scale[:, tf.newaxis]
    x = distribution.bijector.forward(latents, **kwargs)
    assert_close(x, golden[f"{precision(dtype)}/sample/z"], LATENTS[dtype])
    images = model.decode(latents, kwargs.get("labels")).numpy()
    # Beyond the last bin openai/glow gives 255, also where there are fewer bits.
    bin_size = 2 ** (8 - model.num_bits)
    expected = golden["f32/sample/x"] // bin_size * bin_size
    # Where a number lies within rounding of a bin's edge.
    assert np.sum(images != expected) <= 2


@needs_golden
@each_folder
@each_dtype
def test_gradients_of_the_mean_loss(folder, dtype):
    model = load(folder, dtype)
    names = gradients_by_name(folder, model, dtype)
    golden = read(folder, "grads")
    assert names.keys() == golden.keys()
    for name, expected in golden.items():
        actual, expected = names[name], np.asarray(expected)
        if name.endswith("invconv/W"):
            expected = chain_rule(folder, name, expected)
            actual = np.concatenate([part.ravel() for part in actual])
        assert_close(np.reshape(actual, expected.shape), expected, 1e-4)


@needs_golden
@pytest.mark.parametrize(
    "folder",
    [folder for folder in FOLDERS if (folder / "ddi.npz").exists()],
    ids=lambda path: path.name,
)
@each_dtype
def test_data_dependent_initialisation(folder, dtype, tmp_path):
    golden, num_bits = read(folder, "ddi"), options(folder)["n_bits_x"]
    after = {
        name.removeprefix("after/model/"): value
        for name, value in golden.items()
        if name.startswith("after/model/")
    }
    before = {
        name: np.zeros_like(value) if "actnorm" in name else value
        for name, value in after.items()
    }
    write_checkpoint(tmp_path, before)
    image_size = options(folder)["image_size"]
    arguments = {"num_bits": num_bits, "dtype": dtype}
    model = tfg.load_openai_checkpoint(tmp_path, image_size, **arguments)
    noise = golden["noise_init"].astype(dtype) * 2**num_bits
    x = tfg.dequantize(golden["x_init"], num_bits, noise=noise, dtype=model.glow.dtype)
    tfg.initialize(model.distribution, x)
    num_checked = 0
    for name, expected in after.items():
        if "actnorm" in name:
            level, step, rest = name.split("/", 2)
            actual = model.glow.levels[int(level)].stacked[_STEP[rest]][int(step)]
            np.testing.assert_allclose(actual, expected.ravel(), rtol=0, atol=1e-5)
            assert np.any(expected)
            num_checked += 1
    hps = options(folder)
    assert num_checked == 6 * hps["n_levels"] * hps["depth"]


@each_dtype
@pytest.mark.parametrize("name", TINY)
def test_what_the_package_gave_when_it_equalled_openai_glow(name, dtype):
    golden = read(TINY_FOLDER / name)
    actual = tiny_values(
        name, load_tiny(name, dtype), golden["images"], golden["noise"].astype(dtype)
    )
    assert actual.keys() == golden.keys() - {"images", "noise"}
    for key, value in actual.items():
        np.testing.assert_allclose(value, golden[key], rtol=1e-5, atol=1e-5)


def gradients_by_name(folder: Path, model: tfg.GlowModel, dtype: str) -> dict:
    """Gradients of the mean loss by the names of openai/glow.

    Of a full matrix W, those of its lower and upper part and its log-diagonal.
    """
    prior = model.glow.chain.top_prior
    variables = {
        "levels": [level.stacked for level in model.glow.levels],
        "pools": [p.network.parameters for p in model.glow.chain.split_priors],
        "prior/p": prior.prior.parameters if prior and prior.prior else {},
        "prior/y_emb": prior.class_prior.parameters
        if prior and prior.class_prior
        else {},
        "classifier": model.classifier.parameters if model.classifier else {},
    }
    with tf.GradientTape() as tape:
        loss = losses(folder, model, dequantized(folder, dtype))["loss"]
        loss = tf.reduce_mean(loss)
    gradients = tape.gradient(loss, variables)
    is_affine = options(folder)["flow_coupling"] == 1
    keys = {"W": "kernel", "b": "bias", "logs": "raw_log_scale"}
    found = {}
    for i, level in enumerate(gradients["levels"]):
        for k in range(options(folder)["depth"]):
            step = {key: g[k].numpy() for key, g in level.items() if g is not None}
            for theirs, key in _STEP.items():
                if key in step:
                    gradient = step[key]
                    if is_affine and "l_last" in theirs:
                        gradient = interleave(gradient)
                    found[f"model/{i}/{k}/{theirs}"] = gradient
            if "permutation/lower" in step and f"model/{i}/{k}/invconv/W" in read(
                folder, "grads"
            ):
                parts = ("lower", "upper", "log_diag")
                for theirs in ("L", "U", "log_S"):
                    del found[f"model/{i}/{k}/invconv/{theirs}"]
                found[f"model/{i}/{k}/invconv/W"] = [
                    step[f"permutation/{part}"] for part in parts
                ]
    for i, pool in enumerate(gradients["pools"]):
        for theirs, key in keys.items():
            sign = 1 if theirs == "logs" else -1
            found[f"model/pool{i}/conv/{theirs}"] = sign * interleave(pool[key].numpy())
    for name in ("prior/p", "prior/y_emb", "classifier"):
        for theirs, key in keys.items():
            if gradients[name]:
                gradient = tf.convert_to_tensor(gradients[name][key]).numpy()
                found[f"model/{name}/{theirs}"] = gradient
    if "model/prior/p/W" in found:  # all other input is zero
        edge = found["model/prior/p/W"]
        full = np.zeros(read(folder, "grads")["model/prior/p/W"].shape)
        full[:, :, -1:] = edge
        found["model/prior/p/W"] = full
    return found


def interleave(halves: np.ndarray) -> np.ndarray:
    first, second = np.split(halves, 2, axis=-1)
    return np.stack([first, second], axis=-1).reshape(halves.shape)


def chain_rule(folder: Path, name: str, gradient: np.ndarray) -> np.ndarray:
    """Gradients of the parts of `W = P L (U + D)`, from that of W."""
    matrix = read(folder, "vars")[name]
    parts = tfg.LUInvertibleConv.decompose(matrix, dtype=tf.float64)
    v = {
        "L": parts["lower"].numpy(),
        "U": parts["upper"].numpy(),
        "P": parts["permutation"].numpy(),
        "log_S": parts["log_diag"].numpy(),
        "sign_S": parts["sign"].numpy(),
    }
    np.testing.assert_allclose(
        matrix_of({f"/{k}": a for k, a in v.items()}, ""), matrix
    )
    lower = np.tril(v["L"], -1) + np.eye(len(matrix))
    diag = v["sign_S"] * np.exp(v["log_S"])
    upper = np.triu(v["U"], 1) + np.diag(diag)
    inner = v["P"].T @ gradient.astype(np.float64)
    of_lower, of_upper = np.tril(inner @ upper.T, -1), lower.T @ inner
    of_diag = np.diag(of_upper) * diag
    of_upper = np.triu(of_upper, 1)
    return np.concatenate([of_lower.ravel(), of_upper.ravel(), of_diag])
