"""Every preset builds, and is the model that it says it is."""

import gc
import math

import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.presets import PRESETS, preset_for

NUM_CLASSES = 10


def event_shape(preset):
    return preset.event_shape or (32, 32, 3)


def level_shapes(preset):
    """Each level halves the sides; half of the channels go on."""
    height, width, channels = event_shape(preset)
    return tuple(
        (height >> i, width >> i, channels << (i + 1))
        for i in range(1, preset.model["num_levels"] + 1)
    )


def num_parameters(preset):
    """By hand: those of the paper's network, of mixing, and of the priors."""
    width = preset.model["hidden_channels"]
    is_affine = preset.model.get("coupling", "affine") == "affine"
    has_matrix = preset.model.get("permutation", "invertible_conv") == "invertible_conv"
    total = 0
    shapes = level_shapes(preset)
    for _, _, c in shapes:
        out = c if is_affine else c // 2
        hidden = 9 * (c // 2 + 1) * width + 2 * width + width**2 + 2 * width
        network = hidden + 9 * (width + 1) * out + 2 * out
        matrix = 2 * c**2 + c if has_matrix else 0  # L and U are kept whole
        total += preset.model["num_steps"] * (2 * c + matrix + network)
    for _, _, c in shapes[:-1]:  # a split's prior sees half, and gives mean and scale
        total += 9 * (c // 2 + 1) * c + 2 * c
    top = 2 * shapes[-1][2]
    total += 9 * top + 2 * top
    if preset.conditional:
        total += (NUM_CLASSES + 2) * top + (shapes[-1][2] + 2) * NUM_CLASSES
    return total


def zeros(shape, seed, *, stddev, dtype):
    return tf.zeros(shape, dtype)


def test_every_preset_is_the_model_that_it_says(monkeypatch):
    # Billions of random numbers, of which nothing depends here.
    monkeypatch.setattr(
        tf.random,
        "stateless_normal",
        lambda shape, *_, dtype, **__: tf.zeros(shape, dtype),
    )
    for name, preset in PRESETS.items():
        classes = {"num_classes": NUM_CLASSES} if preset.conditional else {}
        model = tfg.GlowModel(event_shape(preset), **preset.model, **classes)
        assert model.glow.chain.level_shapes == level_shapes(preset), name
        found = sum(math.prod(v.shape) for v in model.trainable_variables)
        assert found == num_parameters(preset), name
        del model
        gc.collect()  # up to a gigabyte each
    assert 150e6 < num_parameters(PRESETS["celeba-hq-256"]) < 200e6


def test_a_data_set_s_own_preset_is_for_a_cpu():
    for dataset in ("digits", "fashion_mnist", "cifar10", "anything"):
        assert preset_for(dataset).model["hidden_channels"] <= 128
    assert preset_for("cifar10", "cifar10") is PRESETS["cifar10"]


def test_models_of_the_paper_warm_up():
    # As openai/glow: ten times 50,000 images; without, deep flows diverge.
    paper = [p for p in PRESETS.values() if p.model["hidden_channels"] == 512]
    assert len(paper) == 17
    for preset in paper:
        images = preset.warmup_steps * preset.batch_size
        assert 500_000 - preset.batch_size < images <= 500_000
        assert preset.ema_momentum < 1


def test_lsun_is_prepared_as_in_the_paper():
    for category in ("bedroom", "tower", "church"):
        preset = PRESETS[f"lsun-{category}"]
        assert preset.crop == "random"
        assert preset.dataset.startswith(f"lsun/{category}")
    assert PRESETS["lsun-128"].crop == "center"


def test_ablations_differ_in_permutation_and_coupling_alone():
    grid = {n: p for n, p in PRESETS.items() if n.startswith("ablation-")}
    assert len(grid) == 6
    for name, preset in grid.items():
        _, permutation, coupling = name.split("-")
        permutation = {"1x1": "invertible_conv"}.get(permutation, permutation)
        expected = {**PRESETS["cifar10"].model, "coupling": coupling}
        assert preset.model == {**expected, "permutation": permutation}
        assert preset.batch_size == PRESETS["cifar10"].batch_size


def test_says_which_presets_there_are():
    with pytest.raises(ValueError, match="Did you mean 'imagenet32'"):
        preset_for("digits", "imagnet32")
