"""What becomes of a run's data set: names of classes, changed folders, bad input."""

import dataclasses
import json
import shutil
import socket
import urllib.request
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tfp_glow import data
from tfp_glow.cli import main
from tfp_glow.cli.inference import load_held_out, numbers_of_classes
from tfp_glow.cli.parser import make_parser
from tfp_glow.cli.run_folder import load_run

TINY = ["--num-levels=1", "--num-steps=1", "--hidden-channels=4", "--epochs=1"]
SIZE = ["--image-size=8", "--batch-size=4"]

pytestmark = pytest.mark.usefixtures("models_loaded_once")


def save_pictures(folder, names, size=(20, 12), mode="RGB"):
    """Pictures of noise, so that no model is certain of them."""
    rng = np.random.default_rng(0)
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a folder of two classes, cut at random; tests read it only."""
    root = tmp_path_factory.mktemp("classes")
    save_pictures(
        root / "pets", [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)]
    )
    train = ["train", f"--dataset=folder:{root / 'pets'}", f"--output={root / 'run'}"]
    assert main([*train, *TINY, *SIZE, "--conditional", "--crop=random"]) == 0
    return root


def test_a_data_set_of_nothing_to_train_on(tmp_path, monkeypatch, capsys):
    info = data.describe("digits")
    info = dataclasses.replace(info, num_examples={"test": 5})
    monkeypatch.setattr(data, "describe", lambda *_, **__: info)
    assert main(["train", "--dataset=digits", f"--output={tmp_path / 'run'}"]) == 1
    assert "no split `train` to train on. Received: test" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of folder and run, of which the run knows."""
    root = shutil.copytree(trained, tmp_path / "copy")
    config = read_config(root)
    config["dataset"] = f"folder:{root / 'pets'}"
    (root / "run" / "config.json").write_text(json.dumps(config))
    return root


def read_config(root):
    return json.loads((root / "run" / "config.json").read_text(encoding="utf-8"))


def error(capsys, *arguments):
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 1
    message = capsys.readouterr().err
    assert message.startswith("tfp-glow: error: ")
    return message


def test_records_how_images_were_prepared(trained, capsys):
    config = read_config(trained)
    expected = {"class_names": ["cat", "dog"], "image_size": 8, "crop": "random"}
    assert config | expected == config
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert "of which training takes 8x8 at random" in metrics["note"]
    capsys.readouterr()
    assert main(["evaluate", str(trained / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["bits_per_dim"]
    assert found == pytest.approx(metrics["held_out"]["bits_per_dim"], abs=1e-5)


def test_label_is_a_name_or_a_number(trained, capsys):
    run = trained / "run"
    for name, number in [("cat", 0), ("dog", 1)]:
        drawn = []
        for label in (name, number):
            sample = ["sample", str(run), "--num-samples=2", f"--label={label}"]
            assert main(sample) == 0
            name = f"samples-label{number}-t0.7-seed0-num2.npy"
            drawn.append(np.load(run / name))
        np.testing.assert_array_equal(*drawn)
    message = error(capsys, "sample", run, "--label=dogg")
    assert "by its name (cat, dog) or number, from 0 to 1" in message
    assert "Received: --label dogg. Did you mean 'dog'?" in message


def test_pictures_that_were_added_or_renamed_are_noticed(copied, capsys):
    run = copied / "run"
    assert main(["evaluate", str(run)]) == 0
    save_pictures(copied / "pets", [f"cat/new{i}.png" for i in range(10)])
    message = error(capsys, "evaluate", run)
    assert "test pictures of" in message
    assert "Received: 3; there were 2" in message
    assert "no longer those of the training" in error(capsys, "check", run)
    named = f"--dataset=folder:{copied / 'pets'}"
    assert main(["evaluate", str(run), named]) == 0
    (copied / "pets" / "dog").rename(copied / "pets" / "wolf")
    message = error(capsys, "evaluate", run)
    assert "The classes of" in message
    assert "Received: ('cat', 'wolf'); there were ['cat', 'dog']" in message
    message = error(capsys, "evaluate", run, named)
    assert "was not trained on classes ['wolf']" in message
    assert "among these: ['cat', 'dog']" in message


def test_classes_of_another_folder_are_told_by_their_names(trained, tmp_path, capsys):
    pets = trained / "pets"
    names = [f"{c}/{i}.png" for c in ("ant", "cat", "dog") for i in range(10)]
    save_pictures(tmp_path / "more", names)
    trained_on = SimpleNamespace(
        path=trained / "run", config={"class_names": ["dog", "ant", "cat"]}
    )
    info = data.describe(f"folder:{tmp_path / 'more'}", image_size=8)
    assert numbers_of_classes(info, trained_on).tolist() == [1, 2, 0]
    # Here dog is 0, and there it is 1.
    shutil.copytree(pets / "dog", tmp_path / "dogs" / "test" / "dog")
    shutil.copytree(pets / "dog", tmp_path / "dogs" / "train" / "dog")
    shutil.copytree(pets / "cat", tmp_path / "dogs" / "train" / "cat")
    (tmp_path / "dogs" / "train" / "cat").rename(tmp_path / "dogs" / "train" / "zebu")
    message = error(
        capsys, "evaluate", trained / "run", f"--dataset=folder:{tmp_path / 'dogs'}"
    )
    assert "was not trained on classes ['zebu']" in message


def test_labels_become_those_of_the_run(trained, copied, capsys):
    config = read_config(copied)
    config["class_names"] = ["dog", "cat"]  # as if it had been trained so
    (copied / "run" / "config.json").write_text(json.dumps(config))
    named = ["--dataset", f"folder:{copied / 'pets'}"]
    runs = [load_run(root / "run") for root in (trained, copied)]
    parser = make_parser()
    arguments = parser.parse_args(["evaluate", str(copied / "run"), *named])
    one, other = (load_held_out(run, arguments).labels for run in runs)
    assert sorted({*one}) == [0, 1]
    np.testing.assert_array_equal(other, 1 - one)
    message = error(capsys, "attributes", copied / "run", *named)
    assert "numbers its classes in another order" in message


def test_a_picture_that_was_renamed_is_noticed(copied, capsys):
    source = data.folder.FolderDataset(copied / "pets", image_size=8)
    held_out = next(iter(source._splits["test"]))
    # So that it stays where it is, and the number of pictures too.
    names = (held_out.with_name(f"{i}.png") for i in range(100, 10_000))
    for name in names:
        held_out.rename(name)
        held_out = name
        moved = data.folder.FolderDataset(copied / "pets", image_size=8)
        if name in moved._splits["test"]:
            break
    assert "no longer those of the training" in error(
        capsys, "evaluate", copied / "run"
    )


def test_an_npz_file_trains(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, [30, 8, 8], np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(30) % 3)
    monkeypatch.chdir(tmp_path)
    train = ["train", "--dataset=a.npz", "--output=run", *TINY, "--batch-size=4"]
    assert main([*train, "--conditional"]) == 0
    monkeypatch.chdir("/")
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert f"over 3 test images of {tmp_path / 'a.npz'}" in capsys.readouterr().out
    # Of more classes than the model has.
    more = tmp_path / "more.npz"
    np.savez(more, images=images, labels=np.arange(30) % 5)
    message = error(capsys, "evaluate", tmp_path / "run", "--dataset", more)
    assert "must be in [0, 3). Received: labels from" in message


def test_folder_that_is_empty(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    train = ["train", f"--dataset=folder:{tmp_path / 'empty'}", "--output"]
    message = error(capsys, *train, tmp_path / "run", *SIZE)
    assert "There is no picture in" in message
    (tmp_path / "empty" / "broken.png").write_bytes(b"<html>")
    message = error(capsys, *train, tmp_path / "run", *SIZE)
    assert "There is no picture in" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_of_which_nothing_can_be_read(tmp_path, capsys, split):
    folder = tmp_path / "pictures"
    names = [f"{s}/{i}.png" for s in ("train", "validation", "test") for i in range(3)]
    save_pictures(folder, names)
    for file in (folder / split).iterdir():
        file.write_bytes(file.read_bytes()[:-200])
    train = ["train", f"--dataset=folder:{folder}", "--output", tmp_path / "run"]
    message = error(capsys, *train, *TINY, *SIZE)
    assert f"has no {split} image that can be read to its end" in message
    assert not (tmp_path / "run").exists()


def test_mixed_pictures_train_and_are_measured_from_anywhere(
    tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "mixed"
    save_pictures(folder, [f"grey{i}.png" for i in range(10)], mode="L")
    save_pictures(folder, [f"colour{i}.jpg" for i in range(10)], size=(9, 30))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    for i in (1, 2):  # some cut short, in whichever split
        cut = folder / f"colour{i}.jpg"
        cut.write_bytes(cut.read_bytes()[:-200])
    # One of the training pictures too: there is still an epoch of batches.
    source = data.folder.FolderDataset(folder, image_size=8)
    cut = next(f for f in source._splits["train"] if f.name.startswith("grey"))
    cut.write_bytes(cut.read_bytes()[:-200])
    monkeypatch.chdir(tmp_path)
    train = ["train", "--dataset=folder:mixed", "--output=run", *TINY, *SIZE]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Your input ran out of data")
        assert main([*train, "--epochs=2"]) == 0
    assert read_config(tmp_path)["model"]["event_shape"] == [8, 8, 3]
    monkeypatch.chdir("/")
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "over 2 test images of folder:" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "resized to 8x8" in metrics["note"]


def test_conditional_without_classes(tmp_path, capsys):
    save_pictures(tmp_path / "flat", [f"{i}.png" for i in range(5)])
    train = ["train", f"--dataset=folder:{tmp_path / 'flat'}", "--conditional"]
    message = error(capsys, *train, f"--output={tmp_path / 'run'}", *SIZE)
    assert "has no class labels" in message


def test_data_set_that_is_not_there_without_network(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow_datasets")

    def fail(*_):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    train = ["train", "--dataset=cifar10", f"--output={tmp_path / 'run'}"]
    message = error(capsys, *train, f"--data-dir={tmp_path / 'sets'}")
    assert f"is not prepared in '{tmp_path / 'sets' / 'cifar10'}" in message
    assert "--data-dir" in message


def test_preset_that_does_not_fit(tmp_path, capsys):
    save_pictures(tmp_path / "flat", [f"{i}.png" for i in range(5)])
    train = ["train", f"--dataset=folder:{tmp_path / 'flat'}"]
    train += [f"--output={tmp_path / 'run'}", "--preset=lsun-bedroom"]
    assert "Random crops need a size" in error(capsys, *train)
    message = error(capsys, *train, "--image-size=32")
    assert "The preset is for images of (64, 64, 3)" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--image-size=16", "--crop=random"])
def test_sizes_are_for_pictures_of_any_size(tmp_path, capsys, option):
    train = ["train", "--dataset=digits", f"--output={tmp_path / 'run'}"]
    assert "of 'digits' have one" in error(capsys, *train, option)
