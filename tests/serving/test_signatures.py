"""What a tensor may be, and what is no signature of a Glow."""

from shutil import copytree

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("kserve", reason="needs the extra serve")

from tfp_glow.serving.refused import Refused
from tfp_glow.serving.signatures import Tensor, find_signature, read_signatures

IMAGES = Tensor("images", np.dtype("uint8"), (None, 1, 2, 1))
LABELS = Tensor("labels", np.dtype("int32"), (None,))
LATENTS = Tensor("latents", np.dtype("float32"), (None, 2))


def test_lists_become_arrays():
    images = IMAGES.from_lists([[[[0], [255]]], [[[7], [8]]]])
    assert images.dtype == np.uint8
    assert images.tolist() == [[[[0], [255]]], [[[7], [8]]]]
    assert LABELS.from_lists([-5, 2**31 - 1]).tolist() == [-5, 2**31 - 1]
    latents = LATENTS.from_lists([[1, 0.1]])
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(latents, np.float32([[1, 0.1]]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "at least one row"),
        (3, "nested 4 deep"),
        ([3], "nested 4 deep"),
        ({}, "nested 4 deep"),
        ([[[[0], [1]]], 5], "nested 4 deep"),
        ([[[[[0]], [1]]]], "integers"),
        ([[[[0], [1], [2]]]], "3 values in dimension 2"),
        ([[[[0], [1]]], [[[0]]]], "differing length"),
        ([[[[0], []]]], "differing length"),
        ([[[[0], [256]]]], "integers from 0 to 255"),
        ([[[[0], [-1]]]], "integers from 0 to 255"),
        ([[[[0], [2**64 - 1]]]], "integers from 0 to 255"),
        ([[[[0], [1.0]]]], "integers"),
        ([[[[0], [True]]]], "integers"),
        ([[[[0], [None]]]], "integers"),
        ([[[[0], ["1"]]]], "integers"),
        ([[[[0], [{"b64": ""}]]]], "integers"),
    ],
)
def test_other_lists_are_refused(values, message):
    with pytest.raises(Refused, match=message) as refused:
        IMAGES.from_lists(values)
    assert "`images` must be uint8 [B, 1, 2, 1]" in refused.value.message


def test_temperatures_below_0_are_refused():
    temperature = Tensor("temperature", np.dtype("float32"), (None,))
    assert temperature.from_lists([0, 0.5]).tolist() == [0, 0.5]
    with pytest.raises(Refused, match="at least 0.* Received: -0.5"):
        temperature.from_lists([1, -0.5])
    data = np.float32([-1]).tobytes()
    with pytest.raises(Refused, match="at least 0"):
        temperature.from_bytes(data, (1,))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(Refused, match="finite"):
        LATENTS.from_lists([[0.0, value]])


def test_bytes_are_counted_and_looked_at():
    data = np.float32([[1, 2]]).tobytes()
    np.testing.assert_array_equal(LATENTS.from_bytes(data, [1, 2]), [[1, 2]])
    with pytest.raises(Refused, match="16 bytes. Received: 8 bytes"):
        LATENTS.from_bytes(data, [2, 2])
    with pytest.raises(Refused, match="finite"):
        LATENTS.from_bytes(np.float32([[1, np.nan]]).tobytes(), [1, 2])


@pytest.mark.parametrize("shape", [[0, 2], [-1, 2], [2], [1, 2, 1], [1, 3], []])
def test_shapes_are_checked(shape):
    with pytest.raises(Refused, match=r"shape \[B, 2\]"):
        LATENTS.check_shape(shape)


def test_signatures_are_read_from_the_file(exported_with_classes):
    signatures, described = read_signatures(exported_with_classes)
    assert set(signatures) == {
        *["serving_default", "log_prob", "bits_per_dim"],
        *["encode", "decode", "sample"],
    }
    sample = signatures["sample"]
    shapes = {t.name: (t.dtype.name, t.shape) for t in sample.inputs.values()}
    assert shapes == {
        "seed": ("int32", (None,)),
        "temperature": ("float32", (None,)),
        "labels": ("int32", (None,)),
        "context": ("float32", (None, 2)),
    }
    assert sample.outputs["images"].is_image
    seed = described["sample"]["inputs"]["seed"]
    assert seed["dtype"] == "DT_INT32"
    assert seed["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert find_signature(signatures, None).name == "serving_default"
    with pytest.raises(Refused, match="no signature 'smaple'; there are bits_per_dim"):
        find_signature(signatures, "smaple")
    with pytest.raises(Refused, match="no signature"):
        find_signature(signatures, ["sample"])


def test_folders_that_are_no_exported_glow(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file saved_model.pb"):
        read_signatures(tmp_path)
    copytree(exported, tmp_path / "damaged")
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"\xff not a graph")
    with pytest.raises(ValueError, match="is damaged"):
        read_signatures(tmp_path / "damaged")

    module = tf.Module()
    module.f = tf.function(lambda x: x, [tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures=module.f)
    with pytest.raises(ValueError, match="'serving_default' takes 'images'"):
        read_signatures(tmp_path / "other")
