"""What is no whole checkpoint of openai/glow: the message names file and variable."""

import numpy as np
import pytest
import tensorflow as tf
from openai_glow import Config, make_variables, write_checkpoint

import tfp_glow as tfg

CONFIG = Config(image_size=4, channels=1, depth=2, n_y=3, seed=5)


@pytest.fixture
def variables():
    return make_variables(CONFIG)


def load(folder, image_size=CONFIG.image_size, **arguments):
    return tfg.load_openai_checkpoint(folder, image_size, **arguments)


def rejects(folder, *words, error=ValueError, **arguments):
    with pytest.raises(error) as caught:
        load(folder, **arguments)
    for word in words:
        assert str(word) in str(caught.value)


def test_no_checkpoint(tmp_path):
    rejects(tmp_path, tmp_path, "no file in it ends in .index", error=FileNotFoundError)
    missing = tmp_path / "missing"
    rejects(missing, missing, "no folder", error=FileNotFoundError)


def test_checkpoint_of_something_else(tmp_path):
    tf.train.Checkpoint(v=tf.Variable(1.0)).save(str(tmp_path / "ckpt"))
    rejects(tmp_path, tmp_path / "ckpt-1", "no checkpoint of openai/glow", "CHECKPOINT")


def test_model_of_something_else(tmp_path):
    path = write_checkpoint(tmp_path, {"dense/kernel": np.ones([2, 3], np.float32)})
    rejects(tmp_path, path, "'model/0/0/actnorm_center/b'")


@pytest.mark.parametrize(
    "name",
    [
        "0/0/actnorm_center/b",
        "0/0/invconv/W",
        "0/1/f1/l_2/actnorm_scale/logs",
        "1/1/f1/l_last/W",
        "1/0/actnorm_scale/logs",
        "pool0/conv/b",
        "prior/p/logs",
        "prior/y_emb/b",
    ],
)
def test_missing_variable(name, variables, tmp_path):
    del variables[name]
    path = write_checkpoint(tmp_path, variables)
    # Without its W a step's permutation may be another kind: any name of it will do.
    offending = "0/1/invconv/W" if name == "0/0/invconv/W" else name
    rejects(tmp_path, path, f"'model/{offending}'")


@pytest.mark.parametrize(
    "name",
    [
        "0/0/f1/l_4/W",
        "0/1000000/actnorm_center/b",
        "2/0/actnorm_center/c",
        "7/0/actnorm_center/b",
        "pool1/conv/W",
        "classifier/b",
        "extra",
        "extra/ExponentialMovingAverage",
    ],
)
def test_extra_variable(name, variables, tmp_path):
    path = write_checkpoint(tmp_path, variables | {name: np.ones([2], np.float32)})
    rejects(tmp_path, path, f"'model/{name}'")


def test_extra_variable_outside_the_model(variables, tmp_path):
    path = write_checkpoint(tmp_path, variables, **{"other/b": np.float32(1)})
    rejects(tmp_path, path, "'other/b'")


def test_slots_of_another_optimizer_are_no_extra_variables(variables, tmp_path):
    slots = {
        "model/0/0/invconv/W/Adam_1": np.ones([4, 4], np.float32),
        "beta1_power": np.float32(0.9),
        "global_step": np.int64(3),
    }
    write_checkpoint(tmp_path, variables, **slots)
    assert load(tmp_path).glow.num_classes == 3


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("0/1/actnorm_center/b", [1, 1, 1, 6]),
        ("1/0/invconv/W", [8, 7]),
        ("0/0/f1/l_last/W", [3, 3, 5, 3]),
        ("0/0/f1/l_2/W", [1, 1, 4, 5]),
        ("pool0/conv/W", [3, 3, 2, 4]),
        ("prior/y_emb/b", [1, 8]),
        ("0/0/actnorm_center/b", []),
        ("0/0/f1/l_1/W", []),
        ("0/0/f1/l_last/W", [0]),
        ("prior/y_emb/W", []),
    ],
)
def test_shape_that_does_not_fit(name, shape, variables, tmp_path):
    variables[name] = np.ones(shape, np.float32)
    path = write_checkpoint(tmp_path, variables)
    rejects(tmp_path, path, f"'model/{name}'", f"Received: shape={tuple(shape)}")


@pytest.mark.parametrize(
    ("keep", "name"),
    [
        (0, "model/0/0/actnorm_center/b"),
        (2000, "model/"),
        (-1, "Variable_"),  # the last that was written
    ],
)
def test_data_cut_short(keep, name, variables, tmp_path):
    path = write_checkpoint(tmp_path, variables)
    file = tmp_path / "model_best_loss.ckpt.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:keep])
    rejects(tmp_path, f"{path}.data-00000-of-00001: '{name}", "cut short")


def test_data_changed(variables, tmp_path):
    path = write_checkpoint(tmp_path, variables, slots=False)
    file = tmp_path / "model_best_loss.ckpt.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    rejects(tmp_path, path, "'model/prior/y_emb/logs'")


def test_data_missing_or_index_cut_short(variables, tmp_path):
    path = write_checkpoint(tmp_path, variables)
    (tmp_path / "model_best_loss.ckpt.data-00000-of-00001").unlink()
    rejects(tmp_path, f"{path}.data-*: 'model/0/0/actnorm_center/b'")
    index = tmp_path / "model_best_loss.ckpt.index"
    index.write_bytes(index.read_bytes()[:200])
    rejects(tmp_path, index)


def test_numbers_that_are_not_finite_and_singular_matrices(variables, tmp_path):
    variables["1/0/actnorm_center/b"][..., 2] = np.nan
    path = write_checkpoint(tmp_path / "nan", variables)
    rejects(tmp_path / "nan", path, "'model/1/0/actnorm_center/b'", "not finite")
    variables = make_variables(CONFIG)
    variables["1/1/invconv/W"][:, 1] = variables["1/1/invconv/W"][:, 0]
    path = write_checkpoint(tmp_path / "singular", variables)
    rejects(tmp_path / "singular", path, "'model/1/1/invconv/W'", "no inverse")


@pytest.mark.parametrize(
    ("lu", "name", "value", "problem"),
    [
        (True, "1/0/invconv/P", np.zeros([8, 8]), "no permutation matrix"),
        (True, "0/1/invconv/sign_S", np.zeros([4]), "must hold 1 and -1"),
        (False, "0/0/shuffle/indices", [0, 0, 1, 2], "is no order of 4 channels"),
        (False, "0/0/shuffle/indices", [9, 1, 2, 3], "is no order of 4 channels"),
    ],
)
def test_permutations_that_are_none(lu, name, value, problem, tmp_path):
    kind = {"lu": True} if lu else {"flow_permutation": 1}
    variables = make_variables(Config(image_size=4, channels=1, depth=2, **kind))
    variables[name] = np.asarray(value, variables[name].dtype)
    path = write_checkpoint(tmp_path, variables)
    rejects(tmp_path, path, f"'model/{name}'", problem)


def test_moving_averages_that_are_missing_or_do_not_fit(variables, tmp_path):
    name = "model/1/0/invconv/W"
    average = {f"{name}/ExponentialMovingAverage": np.ones([2, 8], np.float32)}
    path = write_checkpoint(tmp_path, variables, slots=False, **average)
    first = "'model/0/0/actnorm_center/b/ExponentialMovingAverage'"
    rejects(tmp_path, path, first, "Received: no such variable", use_ema=True)
    path = write_checkpoint(tmp_path, variables, **average)
    rejects(tmp_path, path, *average, "Received: [2, 8]", use_ema=True)


def test_classifier_without_classes(tmp_path):
    config = Config(image_size=4, channels=1, n_y=3, classifier=True)
    variables = make_variables(config)
    for key in ("W", "b", "logs"):
        del variables[f"prior/y_emb/{key}"]
    path = write_checkpoint(tmp_path, variables)
    rejects(tmp_path, path, "no variable 'model/prior/y_emb/W'")


def test_arguments_that_do_not_fit(variables, tmp_path):
    path = write_checkpoint(tmp_path, variables, slots=False)
    rejects(tmp_path, "`image_size`", "by 4", "2 levels", image_size=6)
    rejects(tmp_path, "`image_size` must be a positive integer", image_size=0)
    rejects(tmp_path, "Received: num_bits=9", num_bits=9)
    rejects(tmp_path, path, "no classifier", "weight_y=0.5", weight_y=0.5)
    rejects(tmp_path, path, "no moving averages", use_ema=True)


def test_finds_the_checkpoint_that_is_meant(variables, tmp_path):
    first = write_checkpoint(tmp_path, variables, name="a.ckpt")
    other = make_variables(Config(image_size=4, channels=1, n_levels=1))
    last = write_checkpoint(tmp_path, other, name="b.ckpt")
    assert len(load(tmp_path).glow.levels) == 1  # as the file `checkpoint` says
    for path in (first, f"{first}.index"):
        assert len(load(path).glow.levels) == 2
    (tmp_path / "checkpoint").write_bytes(b"\xff\xfe")
    rejects(tmp_path, "2 checkpoints", "a.ckpt", "b.ckpt")
    for file in tmp_path.glob("a.ckpt*"):
        file.unlink()
    assert len(load(tmp_path).glow.levels) == 1
    assert last.endswith("b.ckpt")
