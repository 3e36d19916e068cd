"""`tfp-glow interpolate`, `attributes` and `manipulate`."""

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image, ImageSequence
from tiny_run import make_run

import tfp_glow as tfg
from tfp_glow import data
from tfp_glow.cli import attributes as attributes_command
from tfp_glow.cli import main
from tfp_glow.cli.picture_input import load_picture, read_pictures
from tfp_glow.cli.run_folder import load_run
from tfp_glow.latents import (
    AttributeDirections,
    attribute_directions,
    interpolate,
    manipulate,
)
from tfp_glow.plots import image_strips, tile

ENLARGED = 32  # 8 pixels to 256


@pytest.fixture(scope="module")
def folders(tmp_path_factory, models_loaded_once):
    """Two runs."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "run": make_run(folder / "run"),
        "conditional": make_run(folder / "conditional", num_classes=10),
    }


@pytest.fixture
def run(folders):
    yield folders["run"]
    clean(folders["run"])


@pytest.fixture
def conditional(folders):
    yield folders["conditional"]
    clean(folders["conditional"])


def clean(folder: Path) -> None:
    """Removes what commands have written."""
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.keras"):
            file.unlink()


@pytest.fixture(scope="module")
def digits():
    """Held-out images, and their labels."""
    return data.load_arrays("digits", "test", limit=10)


def frames(file: Path) -> np.ndarray:
    """What a GIF file shows, made small again: uint8 `[N, 8, 8]`."""
    with Image.open(file) as gif:
        shown = [np.asarray(f.convert("L")) for f in ImageSequence.Iterator(gif)]
    assert shown[0].shape == (8 * ENLARGED, 8 * ENLARGED)
    return np.stack(shown)[:, ::ENLARGED, ::ENLARGED]


def assert_shows(file: Path, images: np.ndarray) -> None:
    """A GIF file shows images forth and back."""
    images = np.asarray(images)[..., 0]
    np.testing.assert_array_equal(frames(file), [*images, *images[-2:0:-1]])


def error(capsys, *arguments) -> str:
    assert main(list(map(str, arguments))) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {}),
        (["--spherical", "--steps=4"], {"method": "spherical", "steps": 4}),
        (["--levels", "-1"], {"levels": [1]}),
    ],
)
def test_interpolates_between_held_out_images(run, digits, capsys, options, expected):
    assert main(["interpolate", str(run), "2", "5", "--gif", *options]) == 0
    png, gif = map(Path, capsys.readouterr().out.split())
    method = expected.get("method", "linear")
    assert png.parent == run
    assert png.name.startswith(f"interpolation-2-5-{method}")
    model, (images, _) = load_run(run).model, digits
    between = interpolate(model, images[2], images[5], **{"steps": 9} | expected)
    assert_shows(gif, between)
    captions = [f"{w:.3g}" for w in np.linspace(0, 1, len(between))]
    strip = run / "expected.png"
    image_strips({f"2 to 5, {method}": between.numpy()}, captions).savefig(strip)
    np.testing.assert_array_equal(imread(png), imread(strip))


def test_interpolates_between_a_file_and_a_number(run, digits, tmp_path):
    image = digits[0][4]
    file = tmp_path / "four.png"
    Image.fromarray(np.repeat(image, 3, axis=-1)).save(file)  # coloured, yet grey
    output = tmp_path / "deep" / "shown"
    command = ["interpolate", str(run), str(file), "3", "--gif", f"--output={output}"]
    assert main(command) == 0
    between = interpolate(load_run(run).model, image, digits[0][3], 9)
    assert_shows(output.with_suffix(".gif"), between)


def test_other_options_are_another_file(run, capsys):
    command = ["interpolate", str(run), "2", "5", "--steps=3", "--levels", "0", "-1"]
    assert main(command) == 0
    png = run / "interpolation-2-5-linear-levels0,-1-steps3.png"
    assert capsys.readouterr().out == f"{png}\n"
    message = error(capsys, *command, f"--output={run / 'x.jpg'}")
    assert f"Received: --output {run / 'x.jpg'}. Name it {run / 'x.png'}" in message


def test_output_is_replaced_only_where_that_is_asked_for(run, tmp_path, capsys):
    gif = tmp_path / "shown.gif"
    gif.write_bytes(b"mine")
    command = ["interpolate", run, 0, 1, "--gif", f"--output={gif.with_suffix('.png')}"]
    assert "shown.gif is there already" in error(capsys, *command)
    assert gif.read_bytes() == b"mine"
    assert not gif.with_suffix(".png").exists()
    assert main([*map(str, command), "--overwrite"]) == 0
    assert gif.read_bytes() != b"mine"


def test_each_picture_has_its_class(conditional, digits, tmp_path, capsys):
    images, labels = digits
    model = load_run(conditional).model
    assert main(["interpolate", str(conditional), "0", "1", "--gif"]) == 0
    expected = interpolate(model, images[0], images[1], 9, labels=labels[:2])
    assert_shows(conditional / "interpolation-0-1-linear.gif", expected)

    Image.fromarray(images[0, ..., 0]).save(tmp_path / "mine.png")
    command = ["interpolate", conditional, tmp_path / "mine.png", 1, "--gif"]
    assert "choose one with --label" in error(capsys, *command)
    assert main([*map(str, command), "--label=4"]) == 0
    expected = interpolate(model, images[0], images[1], 9, labels=[4, 4])
    (gif,) = conditional.glob("interpolation-mine_*-1-linear-label4.gif")
    assert_shows(gif, expected)


def test_a_picture_is_padded_as_those_of_the_data_set_or_resized(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, [28, 28], np.uint8)
    Image.fromarray(image).save(tmp_path / "small.png")
    Image.fromarray(np.full([40, 60], 200, np.uint8)).save(tmp_path / "wide.png")

    def read(name: str) -> np.ndarray:
        (example,) = read_pictures([tmp_path / name], (32, 32, 1), label=[3])
        assert example["label"] == 3
        return example["image"].numpy()

    np.testing.assert_array_equal(read("small.png"), np.pad(image, 2)[..., np.newaxis])
    np.testing.assert_array_equal(read("wide.png"), np.full([32, 32, 1], 200))


def test_warns_of_a_picture_that_is_strange_to_the_model(tmp_path, caplog):
    """White paper with a dark digit, to a model of bright digits on black."""
    known = tfg.pretrained.load("digits")
    run = SimpleNamespace(model=known.model, config={})
    for name, image in {
        "usual": known.images[0],
        "paper": 255 - known.images[0],
    }.items():
        Image.fromarray(image[..., 0]).save(tmp_path / f"{name}.png")
        picture = load_picture(
            str(tmp_path / f"{name}.png"), run, Namespace(label=None)
        )
        np.testing.assert_array_equal(picture.image, image)
    # TensorFlow may warn of something else.
    (message,) = (m for m in caplog.messages if "unlike" in m)
    assert message.startswith("paper is unlike what the model was trained on: ")
    assert "bits/dim, more than the 4 that it takes as it is" in message


def test_pictures_that_are_none(run, tmp_path, capsys, caplog):
    assert "There is no picture nowhere.png" in error(
        capsys, "interpolate", run, "nowhere.png", 1
    )
    (tmp_path / "letter.png").write_text("Dear")
    assert "letter.png is no picture that can be read" in error(
        capsys, "interpolate", run, tmp_path / "letter.png", 1
    )
    Image.fromarray(np.zeros([64, 64], np.uint8)).save(tmp_path / "cut.bmp")
    content = (tmp_path / "cut.bmp").read_bytes()
    (tmp_path / "cut.bmp").write_bytes(content[:-99])
    caplog.clear()
    message = error(capsys, "interpolate", run, tmp_path / "cut.bmp", 1)
    assert "cut.bmp is no picture that can be read: image file is truncated" in message
    assert not caplog.messages  # such as that it is left out
    message = error(capsys, "interpolate", run, 0, 200)
    assert "digits has 200 test images, numbered from 0. Received: 200" in message
    assert "write ./200" in message
    assert "has 2 levels" in error(capsys, "interpolate", run, 0, 1, "--levels", "2")
    with pytest.raises(SystemExit, match="2"):
        main(["interpolate", str(run), "0", "1", "--steps=1"])
    assert "must be at least 2" in capsys.readouterr().err


def test_mp4_without_its_library(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    message = error(capsys, "interpolate", run, 0, 1, "--mp4")
    assert 'pip install "tfp-glow[video]"' in message
    assert not list(run.glob("interpolation-*"))


def test_mp4_shows_the_images(run, digits):
    av = pytest.importorskip("av")
    assert main(["interpolate", str(run), "2", "5", "--mp4", "--steps=3"]) == 0
    between = interpolate(load_run(run).model, digits[0][2], digits[0][5], 3)
    with av.open(str(run / "interpolation-2-5-linear-steps3.mp4")) as film:
        shown = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    assert len(shown) == 4  # the middle one again on the way back
    for frame, image in zip(shown, [*between, between[1]], strict=True):
        assert frame.shape == (256, 256)
        middles = frame[ENLARGED // 2 :: ENLARGED, ENLARGED // 2 :: ENLARGED]
        np.testing.assert_allclose(middles, image[..., 0].numpy(), atol=12)


def test_attributes_are_the_classes_of_the_data_set(run, capsys):
    assert main(["attributes", str(run), "--limit=300"]) == 0
    printed = capsys.readouterr().out
    assert printed.split()[-2:] == [
        str(run / f"attributes.{x}") for x in ("png", "npz")
    ]
    model = load_run(run).model
    images, labels = data.load_arrays("digits", "train", limit=300)
    expected = attribute_directions(model, images, labels)
    found = AttributeDirections.load(run / "attributes.npz")
    assert found.names == tuple("0123456789")
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5)
    np.testing.assert_array_equal(found.num_positives, np.bincount(labels))
    (line,) = (line for line in printed.splitlines() if line.startswith("3 "))
    assert line.split()[1:3] == [f"{np.sum(labels == 3)}", f"{np.sum(labels != 3)}"]
    assert imread(run / "attributes.png").std() > 0.05


def test_attributes_of_another_split_lie_where_they_are_wanted(conditional, tmp_path):
    output = tmp_path / "mine.png"
    command = ["attributes", str(conditional), "--split=test", f"--output={output}"]
    assert main(command) == 0
    found = AttributeDirections.load(tmp_path / "mine.npz")
    images, labels = data.load_arrays("digits", "test")
    expected = attribute_directions(load_run(conditional).model, images, labels)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5)
    assert output.exists()


def test_attributes_of_a_data_set_that_has_them(
    run, conditional, digits, tmp_path, capsys
):
    tfds = pytest.importorskip("tensorflow_datasets")
    images, labels = digits
    features = {"image": tfds.features.Image(shape=(8, 8, 1))}
    features["attributes"] = {"even": np.bool_}
    examples = [
        {"image": image, "attributes": {"even": label % 2 == 0}}
        for image, label in zip(images, labels, strict=True)
    ]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="faces",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"test": enumerate(examples)},
        data_dir=str(tmp_path),
    )
    options = ["--dataset=faces", "--split=test", f"--data-dir={tmp_path}"]
    assert main(["attributes", str(run), *options]) == 0
    found = AttributeDirections.load(run / "attributes.npz")
    assert found.names == ("even",)
    expected = attribute_directions(load_run(run).model, images, labels % 2 == 0)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5)
    message = error(capsys, "attributes", conditional, *options)
    assert "not among its attributes in faces" in message


@pytest.fixture
def listed(digits, tmp_path):
    """A table of pictures and two attributes of theirs."""
    images, labels = digits
    lines = ["picture,round,even"]
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{1 if label in (0, 6, 8, 9) else -1},{1 - label % 2}")
    table = tmp_path / "attributes.csv"
    table.write_text("\n".join(lines) + "\n\n", encoding="utf-8-sig")  # as Excel does
    return table


def test_attributes_of_a_table(run, digits, listed):
    images, labels = digits
    command = ["attributes", str(run), f"--csv={listed}", "--gif", "--mp4"]
    assert main(command) == 0
    found = AttributeDirections.load(run / "attributes.npz")
    assert found.names == ("round", "even")
    has = np.stack([np.isin(labels, [0, 6, 8, 9]), labels % 2 == 0], axis=1)
    expected = attribute_directions(load_run(run).model, images, has)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5)
    np.testing.assert_array_equal(found.num_positives, has.sum(axis=0))

    model, alphas = load_run(run).model, np.linspace(-1, 1, 9)
    rows = [manipulate(model, images[0], v, alphas).numpy() for v in found.vectors]
    frames = [tile(np.stack(column), 2)[..., 0] for column in zip(*rows, strict=True)]
    expected = [*frames, *frames[-2:0:-1]]
    with Image.open(run / "attributes.gif") as gif:
        shown = [np.asarray(f.convert("L")) for f in ImageSequence.Iterator(gif)]
    scale = len(shown[0]) // len(frames[0])
    assert scale * len(frames[0]) >= 256
    np.testing.assert_array_equal([f[::scale, ::scale] for f in shown], expected)
    av = pytest.importorskip("av")
    with av.open(str(run / "attributes.mp4")) as film:
        shown = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    sides = [scale * size for size in expected[0].shape]
    assert shown[0].shape == tuple(size + size % 2 for size in sides)
    middles = np.stack(shown)[:, scale // 2 :: scale, scale // 2 :: scale]
    height, width = expected[0].shape
    np.testing.assert_allclose(
        middles[:, :height, :width].astype(int), expected, atol=16
    )


@pytest.mark.parametrize("missing", ["0.png", "3.png"])
def test_a_picture_of_a_table_that_is_missing_is_left_out(run, listed, missing):
    (listed.parent / missing).unlink()
    assert main(["attributes", str(run), f"--csv={listed}"]) == 0
    found = AttributeDirections.load(run / "attributes.npz")
    np.testing.assert_array_equal(found.num_positives + found.num_negatives, [9, 9])


def test_tables_that_cannot_be(run, conditional, listed, tmp_path, capsys):
    command = ["attributes", run, f"--csv={listed}"]
    message = error(capsys, *command, f"--pictures={tmp_path / 'elsewhere'}")
    assert f"There is no picture {tmp_path / 'elsewhere' / '0.png'}" in message
    with listed.open("a", encoding="utf-8") as file:
        file.write("4.png,1,nan\n")
    assert "a picture and 2 numbers" in (message := error(capsys, *command))
    assert "Received: 4.png,1,nan" in message
    with listed.open("a", encoding="utf-8") as file:
        file.write("4.png,1\n")
    assert "a picture and 2 numbers" in error(capsys, *command)
    listed.write_text("picture,round\n0.png,yes\n")
    assert "Received: 0.png,yes" in error(capsys, *command)
    listed.write_text(f'picture,round\n0.png,"{"1" * 200_000}\n')
    assert "attributes.csv is no table: field larger" in error(capsys, *command)
    listed.write_text("Bild,Grö\u00dfe\n0.png,1\n", encoding="latin-1")
    assert "attributes.csv is not in UTF-8: 'utf-8' codec" in error(capsys, *command)
    for content in ("", "picture,round\n", "picture\n0.png\n"):
        listed.write_text(content)
        assert "no lines below a heading" in error(capsys, *command)
    assert "needs the class of each picture" in error(
        capsys, "attributes", conditional, f"--csv={listed}"
    )
    assert not (run / "attributes.npz").exists()


def test_attributes_of_all_or_of_none(run, listed, monkeypatch, capsys):
    command = ["attributes", run, f"--csv={listed}"]
    listed.write_text("picture,round,new,old\n0.png,1,1,0\n1.png,0,1,0\n")
    with monkeypatch.context() as patch:  # It fails before anything is encoded.
        patch.delattr(attributes_command, "attribute_directions")
        message = error(capsys, *command)
    assert f"2 images of {listed}, all or none of which have ['new', 'old']." in message
    assert message.endswith("mend it, remove these columns, or add pictures.\n")
    # Where that is known when pictures have been read.
    listed.write_text("picture,round\n0.png,1\n1.png,0\n2.png,0\n")
    (listed.parent / "0.png").write_text("Dear")
    assert "2 images of" in error(capsys, *command)
    message = error(capsys, "attributes", run, "--limit=5")
    assert "5 images of the data set, all or none of which have ['0'" in message
    assert message.endswith("mend it, raise --limit, or name another --split.\n")
    assert not (run / "attributes.npz").exists()


def test_pictures_of_no_table(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["attributes", str(run), "--pictures=faces"])
    assert "--pictures needs --csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "alphas", "expected"),
    [
        ([], np.linspace(-1, 1, 9), {}),
        (["--strength=3", "--steps=3"], [-3, 0, 3], {}),
        (["--levels=0"], np.linspace(-1, 1, 9), {"levels": [0]}),
    ],
)
def test_manipulates(run, digits, options, alphas, expected):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=[2, 64]).astype(np.float32)
    counts = np.array([5, 5])
    directions = AttributeDirections(("round", "T-shirt/top"), vectors, counts, counts)
    directions.save(run / "attributes.npz")
    name = ["--attribute=T-shirt/top", "--gif"]
    assert main(["manipulate", str(run), "4", *name, *options]) == 0
    model, image = load_run(run).model, digits[0][4]
    moved = manipulate(model, image, vectors[1], alphas, **expected)
    (gif,) = run.glob("manipulation-4-T-shirt-top*.gif")
    assert_shows(gif, moved)
    assert gif.with_suffix(".png").exists()


def test_manipulates_with_the_class_of_the_picture(conditional, digits, tmp_path):
    known = tmp_path / "mine.npz"
    vectors, counts = np.ones([1, 64], np.float32), np.array([5])
    AttributeDirections(("round",), vectors, counts, counts).save(known)
    options = ["--attribute=round", f"--attributes={known}", "--gif"]
    assert main(["manipulate", str(conditional), "4", *options]) == 0
    expected = manipulate(
        load_run(conditional).model,
        digits[0][4],
        vectors[0],
        np.linspace(-1, 1, 9),
        label=digits[1][4],
    )
    (gif,) = conditional.glob("manipulation-4-round-mine_*.gif")
    assert_shows(gif, expected)


def test_attributes_that_are_not_known(run, capsys):
    command = ["manipulate", run, 0, "--attribute=rond"]
    assert f"`tfp-glow attributes {run}` finds them" in error(capsys, *command)
    vectors, counts = np.ones([1, 64], np.float32), np.array([5])
    AttributeDirections(("round",), vectors, counts, counts).save(
        run / "attributes.npz"
    )
    assert "Did you mean 'round'?" in error(capsys, *command)
