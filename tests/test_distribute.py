"""Training on several devices, in a process of its own with two of them."""

import subprocess
import sys

PROGRAM = """
import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

cpus = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpus[0], two)

import tfp_glow as tfg

images = np.random.default_rng(0).integers(0, 256, [32, 4, 4, 1], np.uint8)


def network_fn(_, channels_out):
    convolution = keras.layers.Conv2D(
        channels_out,
        3,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.05, seed=1),
    )
    return convolution


def train(strategy, memory, num_steps=6, **kwargs):
    with strategy.scope():
        model = tfg.GlowModel(
            [4, 4, 1],
            num_levels=1,
            num_steps=num_steps,
            hidden_channels=4,
            memory=memory,
            seed=0,
            **kwargs,
        )
        model.compile(tfg.Adamax(1e-2))
    start = [v.numpy() for v in model.trainable_variables]
    data = tf.data.Dataset.from_tensor_slices(images).batch(16)
    model.fit(data, epochs=3, verbose=0)
    return [v.numpy() for v in model.trainable_variables], start


strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for kwargs in ({"network_fn": network_fn, "num_steps": 1}, {}):
    (stored, start), (reversible, _) = (
        train(strategy, memory, **kwargs) for memory in ("stored", "reversible")
    )
    for one, other, first in zip(stored, reversible, start):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert np.any(one != first)

# 20 steps of one device and of two, also with batches that cannot be halved.
logs, measured, weights = [], [], []
data = tf.data.Dataset.from_tensor_slices(images[:29]).batch(8)
for strategy_now in (strategy, tf.distribute.get_strategy()):
    with strategy_now.scope():
        model = tfg.GlowModel(
            [4, 4, 1],
            num_levels=1,
            num_steps=1,
            hidden_channels=4,
            dequantization="variational",
            seed=0,
        )
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), clip_norm=0.5)
    history = model.fit(data, epochs=5, verbose=0).history
    logs.append([history[k] for k in ("loss", "bits_per_dim", "gradient_norm")])
    measured.append(model.evaluate(data, verbose=0))
    weights.append([v.numpy() for v in model.trainable_variables])
assert np.max(logs[0][2]) > 0.5, logs
np.testing.assert_allclose(*logs, rtol=1e-5)
np.testing.assert_allclose(*measured, rtol=1e-5)
for a, b in zip(*weights):
    np.testing.assert_allclose(a, b, atol=1e-5)

# A replica's poison is skipped by both, as if the batch had not been.
x = np.random.default_rng(0).normal(2.0, 3.0, [5, 16, 3]).astype("float32")
poisoned = np.insert(x, 2, x[0], axis=0)
poisoned[2, 13] = np.nan


def fit(batches, *callbacks, make_optimizer=tfg.Adamax):
    with strategy.scope():
        parts = [tfg.ActNormBijector(3), tfg.LUInvertibleConv(3, seed=0)]
        flow = tfp.bijectors.Chain(parts)
        base = tfp.distributions.Sample(tfp.distributions.Normal(0.0, 1.0), [3])
        model = tfg.FlowModel(tfp.distributions.TransformedDistribution(base, flow))
        tfg.initialize(flow, x[0])
        model.compile(make_optimizer(1e-2, use_ema=True))
    data = tf.data.Dataset.from_tensor_slices(batches)
    history = model.fit(data, epochs=2, callbacks=callbacks, verbose=0).history
    return [v.numpy() for v in model.trainable_variables], history


guard = tfg.DivergenceGuard()
(one, clean), (other, skipped) = fit(x), fit(poisoned, guard)
of_keras, _ = fit(x, make_optimizer=keras.optimizers.Adamax)
assert skipped["num_skipped"] == [1, 2], skipped
np.testing.assert_allclose(clean["loss"], skipped["loss"], rtol=1e-6)
for a, b, c in zip(one, other, of_keras):
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(a, c, atol=1e-6)
print("equal")
"""


def test_reversible_memory_and_our_adamax_change_no_weights_on_two_devices():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("equal\n"), done.stderr[-3000:]
