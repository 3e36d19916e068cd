import pathlib
import socket
import ssl
import urllib.error
import urllib.request
from unittest.mock import MagicMock

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow import data

tfds = pytest.importorskip(
    "tensorflow_datasets", reason="these data sets need TensorFlow Datasets"
)

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared/tensorflow_datasets"


def shared(name):
    """The directory of prepared sets, or a skip where it does not hold this one."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"../shared/tensorflow_datasets/{name} is not there")
    return str(SHARED)


@pytest.fixture
def prepare(tmp_path):
    """Prepares a small set of one's own, and returns the directory that holds it."""

    def prepare(name, features, **splits):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets={name: enumerate(rows) for name, rows in splits.items()},
            data_dir=str(tmp_path),
        )
        return str(tmp_path)

    return prepare


def labelled(count, shape=(10, 5, 3)):
    images = np.random.RandomState(0).randint(1, 256, (count, *shape), np.uint8)
    return [{"image": image, "label": i % 4} for i, image in enumerate(images)]


IMAGE = tfds.features.Image(shape=(10, 5, 3))
LABEL = tfds.features.ClassLabel(num_classes=4)


def test_own_set_is_padded_in_the_centre_and_gives_its_labels(prepare):
    examples = labelled(6)
    directory = prepare("own", {"image": IMAGE, "label": LABEL}, test=examples)
    images, labels = data.load_arrays("own", "test", data_dir=directory)
    assert images.shape == (6, 16, 8, 3)
    # TFDS shuffles what it writes, so images are matched by their content.
    originals = {e["image"].tobytes(): e["label"] for e in examples}
    centres = images[:, 3:13, 1:6]
    assert [originals[centre.tobytes()] for centre in centres] == list(labels)
    assert np.sum(images.astype(int)) == np.sum(centres.astype(int))
    assert labels.dtype == np.int32

    info = data.describe("own", data_dir=directory)
    assert info.event_shape == (16, 8, 3)
    assert info.num_bits == 8
    assert info.num_classes == 4
    assert info.note == "10x5 images padded to 16x8 with zeros"


def test_validation_is_the_last_tenth_of_train_and_no_longer_in_it(prepare):
    directory = prepare("own", {"image": IMAGE, "label": LABEL}, train=labelled(25))
    info = data.describe("own", data_dir=directory)
    assert info.num_examples == {"train": 23, "validation": 2}
    assert "validation is train[23:]" in info.note

    parts = [
        {
            image.tobytes()
            for image in data.load_arrays("own", split, data_dir=directory)[0]
        }
        for split in ("train", "validation")
    ]
    assert [len(part) for part in parts] == [23, 2]
    assert not parts[0] & parts[1]


def test_a_validation_split_that_exists_is_used(prepare):
    directory = prepare(
        "own",
        {"image": IMAGE, "label": LABEL},
        train=labelled(20),
        validation=labelled(3),
    )
    info = data.describe("own", data_dir=directory)
    assert info.num_examples == {"train": 20, "validation": 3}
    assert "validation" not in info.note
    assert len(data.load("own", "validation", data_dir=directory)) == 3


def test_a_missing_test_split_is_no_other_split(prepare):
    directory = prepare("own", {"image": IMAGE, "label": LABEL}, train=labelled(20))
    with pytest.raises(ValueError, match=r"\('train', 'validation'\)\. Received: .*'t"):
        data.load("own", "test", data_dir=directory)


def test_set_without_labels(prepare):
    examples = [{"image": example["image"]} for example in labelled(4)]
    directory = prepare("own", {"image": IMAGE}, test=examples)
    assert data.describe("own", data_dir=directory).num_classes is None
    assert data.load_arrays("own", "test", data_dir=directory)[1] is None
    assert len(data.load("own", "test", data_dir=directory)) == 4
    with pytest.raises(ValueError, match=r"no class labels.*with_labels=True"):
        data.load("own", "test", data_dir=directory, with_labels=True)


@pytest.mark.parametrize("image_size", [None, 8])
def test_attributes_are_in_the_order_of_the_names(prepare, image_size):
    examples = [
        {"image": e["image"], "attributes": {"Young": i < 3, "Beard": i % 2 == 0}}
        for i, e in enumerate(labelled(6, (10, 10, 3)))
    ]
    features = {
        "image": tfds.features.Image(shape=(10, 10, 3)),
        "attributes": dict.fromkeys(["Young", "Beard"], np.bool_),
    }
    source = {"image_size": image_size}
    source["data_dir"] = prepare("own", features, test=examples)
    assert data.describe("own", **source).attribute_names == ("Beard", "Young")
    images, attributes = next(
        iter(data.load("own", "test", batch_size=6, with_attributes=True, **source))
    )
    plain, _ = data.load_arrays("own", "test", **source)
    np.testing.assert_array_equal(images, plain)
    if image_size is None:
        originals = {e["image"].tobytes(): e["attributes"] for e in examples}
        found = [originals[image[3:13, 3:13].tobytes()] for image in plain]
        expected = [[has["Beard"], has["Young"]] for has in found]
        np.testing.assert_array_equal(attributes, expected)
    np.testing.assert_array_equal(np.sum(attributes, axis=0), [3, 3])
    assert attributes.dtype == tf.bool
    with pytest.raises(ValueError, match="without `with_labels`"):
        data.load("own", "test", with_labels=True, with_attributes=True, **source)


def test_attributes_that_are_no_dictionary_of_booleans_are_none(prepare):
    examples = [e | {"attributes": {"age": 3}} for e in labelled(4)]
    features = {"image": IMAGE, "label": LABEL, "attributes": {"age": np.int64}}
    directory = prepare("own", features, test=examples)
    assert data.describe("own", data_dir=directory).attribute_names == ()
    with pytest.raises(ValueError, match="dictionary of booleans"):
        data.load("own", "test", data_dir=directory, with_attributes=True)


def test_images_that_differ_in_size_need_one(prepare):
    features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": LABEL}
    # Each of one colour, which says its label.
    rows = [
        {"image": np.full([10 + i, 40 - i, 3], 50 * i, np.uint8), "label": i}
        for i in range(4)
    ]
    directory = prepare("own", features, test=rows)
    with pytest.raises(ValueError, match=r"differ in size.*--image-size.*None, 3\)"):
        data.describe("own", data_dir=directory)
    info = data.describe("own", data_dir=directory, image_size=8)
    assert info.event_shape == (8, 8, 3)
    assert info.note == "the square in the middle, resized to 8x8"
    images, labels = data.load_arrays("own", "test", data_dir=directory, image_size=8)
    assert images.shape == (4, 8, 8, 3)
    assert sorted(labels) == [0, 1, 2, 3]
    np.testing.assert_array_equal(images[:, 4, 4, 0], 50 * labels)
    assert images.std(axis=(1, 2)).max() == 0


def test_images_of_one_size_are_made_smaller_when_asked(prepare):
    directory = prepare(
        "own", {"image": IMAGE, "label": LABEL}, test=labelled(3, (10, 5, 3))
    )

    def shape(image_size):
        options = {"data_dir": directory, "image_size": image_size}
        images, _ = data.load_arrays("own", "test", **options)
        assert data.describe("own", **options).event_shape == images.shape[1:]
        return images.shape[1:]

    assert shape(None) == (16, 8, 3)
    assert shape(4) == (4, 4, 3)
    with pytest.raises(ValueError, match=r"are 10x5, and `image_size`.*would enlarge"):
        shape(8)


def test_the_size_that_images_have_after_padding_changes_nothing(prepare):
    features = {"image": tfds.features.Image(shape=(6, 5, 1))}
    rows = [{"image": example["image"]} for example in labelled(3, (6, 5, 1))]
    directory = prepare("own", features, test=rows)
    plain, _ = data.load_arrays("own", "test", data_dir=directory)
    same, _ = data.load_arrays("own", "test", data_dir=directory, image_size=8)
    assert plain.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(plain, same)


def test_class_names_are_those_of_tfds(prepare):
    label = tfds.features.ClassLabel(names=["cat", "dog", "eel", "fox"])
    directory = prepare("own", {"image": IMAGE, "label": label}, test=labelled(4))
    info = data.describe("own", data_dir=directory)
    assert info.class_names == ("cat", "dog", "eel", "fox")
    directory = prepare("numbers", {"image": IMAGE, "label": LABEL}, test=labelled(4))
    info = data.describe("numbers", data_dir=directory)
    assert info.class_names == ()
    assert info.num_classes == 4


@pytest.mark.parametrize(
    "features",
    [
        {"text": tfds.features.Text()},
        {"image": tfds.features.Text()},
        {"image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16)},
    ],
)
def test_set_without_uint8_images_is_rejected(prepare, features):
    (key,) = features
    is_text = isinstance(features[key], tfds.features.Text)
    value = "words" if is_text else np.zeros([8, 8, 1], np.uint16)
    directory = prepare("own", features, test=[{key: value}])
    with pytest.raises(ValueError, match=r"no feature 'image' of uint8 images"):
        data.describe("own", data_dir=directory)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("digit", "digits"), ("Photo", "photos"), ("CIFAR-10", "cifar10")],
)
def test_unknown_name_is_answered_with_a_suggestion(name, meant, tmp_path):
    with pytest.raises(
        ValueError,
        match=rf"\('digits', 'photos'\).*Received: name='{name}'.*mean '{meant}'\?",
    ) as caught:
        data.load(name, "train", data_dir=str(tmp_path))
    # Not TFDS's own error too, which lists all of its sets.
    assert caught.value.__suppress_context__


def test_unknown_configuration_is_answered_by_tfds(tmp_path):
    with pytest.raises(ValueError, match="BuilderConfig 7x7 not found"):
        data.load("imagenet_resized/7x7", "train", data_dir=str(tmp_path))


@pytest.fixture
def downloads(monkeypatch):
    """Keeps every test from the network; the list says which set wanted it."""
    wanted = []

    def download_and_prepare(self):
        wanted.append(self.name)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(
        tfds.core.DatasetBuilder, "download_and_prepare", download_and_prepare
    )
    return wanted


def fail_to_resolve(*_):
    raise socket.gaierror("Name or service not known")


def test_missing_set_fails_before_tfds_tries_for_minutes(
    downloads, monkeypatch, tmp_path
):
    monkeypatch.setattr(socket, "getaddrinfo", fail_to_resolve)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    with pytest.raises(
        FileNotFoundError, match=r"'mnist' is not prepared in .*Name or.*--data-dir"
    ):
        data.load("mnist", "train", data_dir=str(tmp_path))
    assert downloads == []


def test_proxy_that_is_dead_fails_as_soon(downloads, monkeypatch, tmp_path):
    with socket.socket() as free:  # a port at which nobody listens
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(
        urllib.request, "getproxies", lambda: {"https": address, "http": address}
    )
    with pytest.raises(FileNotFoundError, match=r"Connection refused.*--data-dir"):
        data.describe("mnist", data_dir=str(tmp_path))
    assert downloads == []


@pytest.mark.parametrize(
    "answer",
    [
        urllib.error.HTTPError("https://x", 405, "Method not allowed", {}, None),
        urllib.error.URLError(ssl.SSLCertVerificationError("unknown authority")),
    ],
)
def test_any_answer_of_a_server_is_one(downloads, monkeypatch, tmp_path, answer):
    def refuse(self, request, timeout):
        assert timeout <= 10
        raise answer

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    with pytest.raises(FileNotFoundError, match=r"no route to host.*--data-dir"):
        data.describe("mnist", data_dir=str(tmp_path))
    assert downloads == ["mnist"]


@pytest.mark.parametrize(
    "failure",
    [
        tfds.download.DownloadError("HTTP code: 503"),
        tfds.download.download_manager.NonMatchingChecksumError("https://x", "x"),
    ],
)
def test_an_answer_that_is_no_data_set(monkeypatch, tmp_path, failure):
    def fail(_):
        raise failure

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", MagicMock())
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded.*--data-dir"):
        data.describe("mnist", data_dir=str(tmp_path))


def test_set_that_could_not_be_used_is_not_downloaded(downloads, tmp_path):
    with pytest.raises(ValueError, match="no feature 'image'"):
        data.load("ag_news_subset", "train", data_dir=str(tmp_path))
    assert downloads == []


def test_fashion_mnist_is_padded_to_32():
    directory = shared("fashion_mnist")
    info = data.describe("fashion_mnist", data_dir=directory)
    assert info.event_shape == (32, 32, 1)
    assert info.num_examples == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert info.note.startswith("28x28 images padded to 32x32 with zeros")
    assert "present" not in info.note

    original = tfds.load(
        "fashion_mnist", split="test[:100]", data_dir=directory, download=False
    )
    originals = np.stack([e["image"] for e in original.as_numpy_iterator()])
    images, labels = data.load_arrays(
        "fashion_mnist", "test", limit=100, data_dir=directory
    )
    np.testing.assert_array_equal(images[:, 2:30, 2:30], originals)
    assert images.astype(int).sum() == originals.astype(int).sum()
    assert set(labels) == set(range(10))


def test_cifar10_says_what_is_missing():
    directory = shared("cifar10")
    info = data.describe("cifar10", data_dir=directory)
    assert info.event_shape == (32, 32, 3)
    assert info.num_examples == {"train": 44_935, "validation": 4_992, "test": 9_980}
    assert info.note.endswith(
        "cifar10: 49,927 of 50,000 train images and 9,980 of 10,000 test images present"
    )
    batches = data.load(
        "cifar10",
        "train",
        batch_size=32,
        data_dir=directory,
        shuffle=True,
        seed=1,
        with_labels=True,
    )
    images, labels = next(iter(batches))
    assert images.shape == (32, 32, 32, 3)
    assert images.dtype == tf.uint8
    assert labels.dtype == tf.int32
    again, _ = next(iter(batches))
    assert not np.array_equal(images, again)
