"""How much memory training takes, and what is chosen by it."""

import logging
import re

import pytest
import tensorflow as tf
from cases import Dense

import tfp_glow as tfg
from tfp_glow.bijectors import memory
from tfp_glow.bijectors.step_sequence import StepSequence


def small(**arguments):
    defaults = {"num_levels": 1, "num_steps": 1, "hidden_channels": 8, "seed": 0}
    return tfg.Glow([4, 4, 1], **defaults | arguments)


PER_IMAGE = memory.stored_bytes_per_image(
    [(2, 2, 4)],
    num_steps=1,
    hidden_channels=8,
    dtype=tf.float32,
    network_dtype=tf.float32,
)


@pytest.fixture
def device(monkeypatch):
    """A device of which half is just enough for the activations of 10 images."""
    monkeypatch.setattr(memory, "device_bytes", lambda: 2 * 10 * PER_IMAGE)


def test_estimate_grows_with_what_is_stored():
    kwargs = {"num_steps": 3, "hidden_channels": 64, "dtype": tf.float32}
    full, half = (
        memory.stored_bytes_per_image([(8, 8, 12)], network_dtype=dtype, **kwargs)
        for dtype in (tf.float32, tf.bfloat16)
    )
    assert full == 64 * 3 * (2 * 64 + 6 * 12) * 4
    assert full - half == 64 * 3 * 64 * 2 * 2
    two_levels = [(8, 8, 12), (4, 4, 24)]
    more = memory.stored_bytes_per_image(two_levels, network_dtype=tf.float32, **kwargs)
    assert full < more < 2 * full
    mixture = memory.stored_bytes_per_image(
        [(8, 8, 12)], network_dtype=tf.float32, outputs_per_changed=14, **kwargs
    )
    assert mixture - full == 64 * 3 * 60 * 12 * 4


def test_estimate_knows_of_the_coupling(device):
    glow = small(coupling="additive")
    assert glow.choose_memory(10) == "stored"
    glow = small(coupling="logistic_mixture")
    assert glow.choose_memory(10) == "reversible"


@pytest.mark.parametrize(
    ("batch_size", "choice", "level", "message"),
    [
        (10, "stored", logging.INFO, r"is 'stored': for batches of 10 images"),
        (11, "reversible", logging.WARNING, r"is 'reversible'.*30% longer"),
    ],
)
def test_stores_what_half_of_the_device_holds_and_says_so(
    batch_size, choice, level, message, device, caplog
):
    caplog.set_level(logging.INFO, "tfp_glow")
    glow = small()
    assert glow.choose_memory(batch_size) == choice == glow.memory
    [record] = caplog.records
    assert record.levelno == level
    assert caplog.messages[0].startswith('`memory`="auto" is')
    assert re.search(message, caplog.messages[0])
    glow.choose_memory(batch_size)
    assert len(caplog.records) == 1


def test_inverse_chooses_for_the_largest_batch_that_it_sees(device):
    glow = small()
    assert glow.memory == "auto"
    glow.forward(tf.zeros([11, 16]))
    assert glow.memory == "auto"  # few train on samples
    glow.inverse(tf.zeros([10, 4, 4, 1]))
    assert glow.memory == "stored"
    glow.inverse(tf.zeros([2, 10, 4, 4, 1]))
    assert glow.memory == "reversible"
    glow.inverse(tf.zeros([1, 4, 4, 1]))
    assert glow.memory == "reversible"


def test_copies_share_the_choice(device):
    glow = small()
    glow.inverse(tf.zeros([11, 4, 4, 1]))
    copy = glow.copy(name="copy")
    copy.inverse(tf.zeros([1, 4, 4, 1]))
    assert copy.memory == glow.memory == "reversible"
    assert small(memory="stored").copy(memory="reversible").memory == "reversible"


def test_the_copy_made_last_decides_for_all(device):
    glow = small()
    for _ in range(2):  # where nothing was chosen before, and where "stored" was
        copy = glow.copy(memory="reversible")
        glow.inverse(tf.zeros([10, 4, 4, 1]))  # would have chosen "stored"
        glow.copy(name="another")  # of which nobody said how
        assert copy.memory == glow.memory == "reversible"
        glow.copy(memory="auto").inverse(tf.zeros([10, 4, 4, 1]))
        assert copy.memory == glow.memory == "stored"


def test_an_unknown_batch_counts_as_64_images(device):
    glow = small()
    tf.function(
        glow.inverse, input_signature=[tf.TensorSpec([None, 4, 4, 1])]
    ).get_concrete_function()
    assert glow.memory == "reversible"


def test_fit_chooses_for_its_batches_and_trains_so(device, monkeypatch):
    ran = []
    for name in ("run", "run_reversible"):
        original = getattr(StepSequence, name)

        def run(self, *args, name=name, original=original, **kwargs):
            ran.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(StepSequence, name, run)
    model = tfg.GlowModel(
        [4, 4, 1], num_levels=1, num_steps=1, hidden_channels=8, seed=0
    )
    images = tf.zeros([22, 4, 4, 1], tf.uint8)
    model.evaluate(images, verbose=0)  # what it traces is not what trains
    for batch_size, choice, name in (
        (10, "stored", "run"),
        (11, "reversible", "run_reversible"),
    ):
        ran.clear()
        model.fit(images, batch_size=batch_size, verbose=0)
        assert model.glow.memory == choice
        assert set(ran) == {name}
    model.fit(images, batch_size=2, verbose=0)
    assert model.glow.memory == "stored"
    # What is done between two trainings has none of their steps traced again.
    step = model.train_function
    model.bits_per_dim(images)
    assert model.glow.memory == "reversible"
    model.fit(images, batch_size=2, verbose=0)
    assert model.glow.memory == "stored"
    assert model.train_function is step


def test_who_only_samples_chooses_nothing(device):
    model = tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=8)
    model.sample(22)
    assert model.glow.memory == "auto"


@pytest.mark.parametrize("name", ["stored", "reversible"])
def test_what_is_asked_for_is_not_chosen_again(name, device):
    glow = small(memory=name)
    assert glow.memory == name
    glow.inverse(tf.zeros([11 if name == "stored" else 1, 4, 4, 1]))
    assert glow.memory == glow.levels[0].memory == name


def test_networks_that_are_no_functions_are_stored(device, caplog):
    class Noisy(Dense):
        def __call__(self, x):
            return super().__call__(x) + tf.random.normal([])

    glow = small(network_fn=lambda n, out: Noisy(n, out, tf.float32, 0))
    assert glow.choose_memory(1000) == "stored"
    assert "is 'stored'" in caplog.text
    assert "must be a function of its input" in caplog.text


def test_the_choice_may_fall_while_a_function_is_traced(device):
    glow = small(network_fn=lambda n, out: Dense(n, out, tf.float32, 0))
    tf.function(glow.inverse)(tf.zeros([64, 4, 4, 1]))
    assert glow.memory == "reversible"


@pytest.mark.parametrize("batch_size", [0, -3, 2.5])
def test_rejects_batches_that_are_none(batch_size):
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        small().choose_memory(batch_size)


def test_a_device_of_unknown_memory_stores(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: None)
    assert small().choose_memory(10**9) == "stored"


def test_a_container_s_limit_counts(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CONTAINER_LIMITS", (tmp_path / "none", limit))
    limit.write_text("max\n")
    whole = memory.device_bytes()
    assert whole > 10**8
    limit.write_text("123456789\n")
    assert memory.device_bytes() == 123456789


def test_a_gpu_s_memory_is_asked_for(monkeypatch, tmp_path):
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 81559\necho 40960\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.device_bytes() == 40960 * 2**20
    program.write_text("#!/bin/sh\nexit 9\n")
    assert memory.device_bytes() is None
    program.unlink()
    assert memory.device_bytes() is None
