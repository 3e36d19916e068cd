"""Where models are looked for."""

from pathlib import Path

import pytest

pytest.importorskip("kserve", reason="needs the extra serve")

from tfp_glow.serving.folder import ModelFolder


def make(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")


def test_models_and_versions(tmp_path):
    make(*(tmp_path / part for part in ["a/1", "a/12", "b.c/3", "b.c/new", ".d/1"]))
    make(tmp_path / "e", tmp_path / "f g" / "1")
    (tmp_path / "a" / "13").mkdir()  # still empty
    assert ModelFolder(tmp_path).look() == {
        "a": {1: tmp_path / "a/1", 12: tmp_path / "a/12"},
        "b.c": {3: tmp_path / "b.c/3"},
    }


def test_the_folder_of_one_model(tmp_path):
    make(tmp_path / "digits" / "7")
    folder = ModelFolder(tmp_path / "digits")
    assert folder.look() == {"digits": {7: tmp_path / "digits/7"}}
    make(tmp_path / "digits" / "8")
    assert set(folder.look()["digits"]) == {7, 8}
    assert list(ModelFolder(tmp_path / "digits", "other").look()) == ["other"]
    for number in "78":
        (tmp_path / "digits" / number / "saved_model.pb").unlink()
    assert folder.look() == {}


def test_a_saved_model(tmp_path):
    make(tmp_path / "digits", tmp_path / "faces" / "5")
    assert ModelFolder(tmp_path / "digits").look() == {
        "digits": {1: tmp_path / "digits"}
    }
    assert ModelFolder(tmp_path / "faces" / "5").look() == {
        "faces": {5: tmp_path / "faces/5"}
    }


def test_names_that_cannot_be(tmp_path):
    make(tmp_path / "my model", tmp_path / "a" / "1")
    with pytest.raises(ValueError, match="1 to 100 letters.* Received: 'my model'"):
        ModelFolder(tmp_path / "my model")
    with pytest.raises(ValueError, match=r"1 to 100 letters.* Received: '\.\./x'"):
        ModelFolder(tmp_path / "my model", "../x")
    assert list(ModelFolder(tmp_path / "my model", "m").look()) == ["m"]
    with pytest.raises(ValueError, match="--name is for the folder of one model"):
        ModelFolder(tmp_path, "m")


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    make(tmp_path / "outside" / "1", tmp_path / "models" / "a" / "1")
    models = tmp_path / "models"
    (models / "b").symlink_to(tmp_path / "outside")
    (models / "a" / "2").symlink_to(tmp_path / "outside" / "1")
    (models / "a" / "3").symlink_to(models / "a" / "1")
    folder = ModelFolder(models)
    assert {name: set(found) for name, found in folder.look().items()} == {"a": {1, 3}}
    (models / "a" / "1" / "variables").mkdir()
    link = models / "a" / "1" / "variables" / "variables.index"
    link.symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="a link that leads out of"):
        folder.state(models / "a" / "1")


def test_state_tells_of_changes(tmp_path):
    make(tmp_path / "a" / "1")
    folder = ModelFolder(tmp_path)
    before = folder.state(tmp_path / "a" / "1")
    assert folder.state(tmp_path / "a" / "1") == before
    (tmp_path / "a" / "1" / "saved_model.pb").write_bytes(b"more")
    assert folder.state(tmp_path / "a" / "1") != before
