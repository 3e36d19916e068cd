"""The models that come with the package: whole, as good as they say, and of use."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfp_glow import latents, pretrained

each = pytest.mark.parametrize("name", pretrained.NAMES)
MEASURED = {"digits": [], "fashion": ["brightness", "width", "sleeves"]}


@pytest.fixture(scope="module")
def loaded():
    return {name: pretrained.load(name) for name in pretrained.NAMES}


def figures(found) -> dict:
    return json.loads((found.folder / "metrics.json").read_text(encoding="utf-8"))


@each
def test_is_as_good_as_its_figures_say(loaded, name):
    found = loaded[name]
    metrics = figures(found)
    held_out = metrics["held_out"]
    bits = found.model.bits_per_dim(found.images, seed=0).numpy()
    # Those of all test images have this spread.
    deviation = held_out["standard_error"] * held_out["num_images"] ** 0.5
    assert abs(bits.mean() - held_out["bits_per_dim"]) < 4 * deviation / 8
    assert held_out["bits_per_dim"] < metrics["baselines"]["histogram"]["bits_per_dim"]
    decoded = found.model.decode(found.model.encode(found.images))
    np.testing.assert_array_equal(decoded, found.images)


@each
def test_is_small_and_has_a_card(loaded, name):
    folder = loaded[name].folder
    assert sum(f.stat().st_size for f in folder.iterdir()) < 4e6
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"**{figures(loaded[name])['held_out']['bits_per_dim']:.4f}**" in card
    assert "](samples.png)" in card
    assert (folder / "samples.png").exists()


@each
def test_directions_are_those_of_the_attributes(loaded, name):
    found = loaded[name]
    assert found.directions.names == (*found.class_names, *MEASURED[name])
    z = found.model.encode(found.images).numpy()
    for k, class_name in enumerate(found.class_names):
        along = z @ found.directions[class_name]
        assert along[found.labels == k].mean() > along[found.labels != k].mean()


def test_clothes_become_brighter_and_wider(loaded):
    found = loaded["fashion"]
    columns, values = [], []
    for image in found.images[:16]:
        for name, result in (("width", columns), ("brightness", values)):
            less, more = latents.manipulate(
                found.model, image, found.directions[name], [-1.0, 1.0]
            ).numpy()
            if name == "width":
                result.append([(i > 32).any(axis=(0, 2)).sum() for i in (less, more)])
            else:
                result.append([i[i > 32].mean() for i in (less, more)])
    for result in (columns, values):
        less, more = np.mean(result, axis=0)
        assert less < more


@each
def test_what_is_far_from_its_images_comes_back(loaded, name):
    model, images = loaded[name].model, loaded[name].images
    shape = images.shape[1:]
    dark = np.indices(shape).sum(axis=0, keepdims=True) % 2 == 0
    noise = np.random.default_rng(0).integers(0, 256, [64, *shape], np.uint8)
    far = {
        "white": np.full([1, *shape], 255, np.uint8),
        "black": np.zeros([1, *shape], np.uint8),
        "checkerboard": np.where(dark, 0, 255).astype(np.uint8),
        "noise": noise,
        "negatives": 255 - images,
        "on their side": np.rot90(images, axes=(1, 2)),
    }
    for kind, pictures in far.items():
        step = 2 ** (8 - model.num_bits)
        pictures = pictures // step * step
        decoded = model.decode(model.encode(pictures))
        np.testing.assert_array_equal(decoded, pictures, err_msg=kind)


def test_damaged_files_are_refused(tmp_path, monkeypatch):
    shutil.copytree(Path(pretrained.__file__).parent, tmp_path / "pretrained")
    monkeypatch.setattr(pretrained, "__file__", str(tmp_path / "pretrained" / "x.py"))
    file = tmp_path / "pretrained" / "digits" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is not the file .* SHA-256"):
        pretrained.load("digits")


def test_other_names():
    with pytest.raises(ValueError, match="one of .'digits', 'fashion'.*digit"):
        pretrained.load("digit")
