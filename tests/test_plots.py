"""Figures show the images they are given, pixel by pixel."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tfp_glow.plots import (
    image_grid,
    image_strips,
    latent_statistics,
    reconstructions,
    roc_curves,
    sample_sheet,
    tile,
    training_curves,
)

ROOT = Path(__file__).parents[1]


def picture(figure) -> np.ndarray:
    """What a saved figure holds: uint8 `[H, W, 3]`."""
    file = io.BytesIO()
    figure.savefig(file)
    file.seek(0)
    return np.round(255 * imread(file)[..., :3]).astype(np.uint8)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, [5, 6, 4, 3], np.uint8)


def test_image_grid_shows_every_pixel_as_a_square(images):
    shown = picture(image_grid(images, num_columns=2))
    rows, columns = 3 * 7 + 1, 2 * 5 + 1
    scale = shown.shape[0] // rows
    assert shown.shape == (rows * scale, columns * scale, 3)
    assert scale > 10
    squares = shown.reshape(rows, scale, columns, scale, 3)
    assert (squares == squares[:, :1, :, :1]).all()  # not blurred
    tiles = squares[:, 0, :, 0]
    for i, image in enumerate(images):
        top, left = 1 + 7 * (i // 2), 1 + 5 * (i % 2)
        np.testing.assert_array_equal(tiles[top : top + 6, left : left + 4], image)
    assert (tiles[::7] == 255).all()
    assert (tiles[15:21, 6:] == 255).all()  # no sixth image


def test_image_grid_shows_grey_images_grey(images):
    grey = images[:4, ..., :1]
    tiles = image_grid(grey).axes[0].images[0].get_array()
    assert tiles.shape == (2 * 7 + 1, 2 * 5 + 1, 3)
    np.testing.assert_array_equal(tiles[1:7, 1:5], np.repeat(grey[0], 3, axis=-1))


@pytest.mark.parametrize("num_images", [1, 400])
def test_image_grid_has_a_sensible_size(num_images):
    shown = picture(image_grid(np.zeros([num_images, 32, 32, 3], np.uint8)))
    assert 600 <= min(shown.shape[:2]) <= max(shown.shape[:2]) <= 1000


def test_sample_sheet_names_its_panels(images):
    figure = sample_sheet(images, {0.6: images[:4], 1.0: images[1:]})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Real images", "Temperature 0.6", "Temperature 1.0"]
    for axes, first in zip(figure.axes, images[[0, 0, 1]], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array()[1:7, 1:5], first)
        assert axes.images[0].get_interpolation() == "nearest"
    assert picture(figure).std() > 10


def test_training_curves_mark_the_best_epoch():
    history = {
        "bits_per_dim": [5.0, 4.0, 3.0, 2.0],
        "val_bits_per_dim": [5.5, 4.5, np.nan, 4.6],
    }
    axes = training_curves(history).axes[0]
    train, validation, best = (line.get_xydata() for line in axes.lines)
    np.testing.assert_array_equal(train[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(train[:, 1], history["bits_per_dim"])
    np.testing.assert_array_equal(validation[:, 1], history["val_bits_per_dim"])
    np.testing.assert_array_equal(best, [[2, 4.5]])
    assert axes.lines[1].get_label() == "validation"
    of_average = training_curves(history | {"val_bits_per_dim_raw": [5.0] * 4})
    _, average, raw, _ = of_average.axes[0].lines
    assert average.get_label() == "validation, averaged weights"
    assert raw.get_label() == "validation, not averaged"
    np.testing.assert_array_equal(raw.get_ydata(), [5.0] * 4)
    nowhere = training_curves(history | {"val_bits_per_dim": [np.nan] * 4})
    assert len(nowhere.axes[0].lines) == 2
    with pytest.raises(ValueError, match="Received: 4 epochs, 2 values"):
        training_curves(history | {"val_bits_per_dim": [5.5, 4.5]})


def test_a_whole_number_of_columns_may_be_a_float(images):
    np.testing.assert_array_equal(tile(images, 2.0), tile(images, 2))


def test_training_curves_without_validation():
    axes = training_curves({"bits_per_dim": [5.0, 4.0]}).axes[0]
    (train,) = (line.get_xydata() for line in axes.lines)
    np.testing.assert_array_equal(train, [[1, 5.0], [2, 4.0]])


def test_image_strips_show_rows_of_images_with_captions(images):
    figure = image_strips({"up": images[:3], "down": images[2::-1]}, ["a", "b", "c"])
    up, down = figure.axes
    assert [axes.get_title("left") for axes in figure.axes] == ["up", "down"]
    for axes, first, last in ((up, 0, 2), (down, 2, 0)):
        tiles = axes.images[0].get_array()
        assert tiles.shape == (6 + 2, 3 * 5 + 1, 3)
        np.testing.assert_array_equal(tiles[1:7, 1:5], images[first])
        np.testing.assert_array_equal(tiles[1:7, 11:15], images[last])
    assert not up.get_xticklabels()
    captions = {
        text.get_text(): text.get_position()[0] for text in down.get_xticklabels()
    }
    assert captions == {"a": 2.5, "b": 7.5, "c": 12.5}  # in the middle of each
    assert picture(figure).std() > 10


def assert_shows_every_pixel(figure) -> None:
    """Each axes has its tile in the saved figure, pixel for pixel."""
    shown = picture(figure)
    for axes in figure.axes:
        tiles = axes.images[0].get_array()
        box = axes.get_window_extent()
        left, top = round(box.x0), len(shown) - round(box.y1)
        height, width = tiles.shape[:2]
        found = shown[top : top + height, left : left + width]
        np.testing.assert_array_equal(found, tiles)


@pytest.mark.parametrize("size", [100, 128, 256])
def test_strips_of_large_images_leave_no_pixel_out(size):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [3, size, size - 20, 3], np.uint8)
    rows = {"up": images, "down": images[::-1]}
    figure = image_strips(rows, ["a", "b", "c"])
    assert_shows_every_pixel(figure)
    assert max(picture(figure).shape) <= 3 * size + 100
    assert_shows_every_pixel(image_strips({"up": images, "fewer": images[:2]}))


@pytest.mark.parametrize("count", [4, 10])
def test_a_sheet_of_large_images_leaves_no_pixel_out(count):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [count, 200, 180, 1], np.uint8)
    samples = {0.5: images[:2], 0.7: images, 1.0: images[1:]}
    assert_shows_every_pixel(sample_sheet(images, samples))


def test_a_figure_that_would_be_too_large_is_one_as_of_small_images():
    images = np.zeros([200, 256, 256, 1], np.uint8)
    assert picture(image_strips({"many": images})).shape[1] == 18_000


def test_image_strips_need_a_caption_for_each_image(images):
    with pytest.raises(ValueError, match="1 rows of .3. images, 2 captions"):
        image_strips({"up": images[:3]}, ["a", "b"])


def test_reconstructions_show_what_differs(images):
    images[1, 2, 3] = [10, 200, 50]
    decoded = images.copy()
    decoded[1, 2, 3] = [15, 190, 50]
    expected = np.zeros(images.shape)
    expected[1, 2, 3] = [128, 255, 0]  # 25.5 times the difference, which can be seen
    figure = reconstructions(images, decoded)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["Images", "Decoded", "Differences, up to 10"]
    shown = [axes.images[0].get_array()[1:7, 6:10] for axes in figure.axes]
    np.testing.assert_array_equal(shown, [images[1], decoded[1], expected[1]])
    with pytest.raises(ValueError, match="as many images decoded"):
        reconstructions(images, decoded[:2])
    decoded[1, 2, 3] = [110, 200, 50]
    axes = reconstructions(images, decoded).axes[2]
    np.testing.assert_array_equal(axes.images[0].get_array()[3, 9], [255, 0, 0])


def test_latent_statistics_are_densities_of_each_level():
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=[500, 40]), rng.normal(1.0, 4.0, size=[500, 8])]
    figure = latent_statistics(levels)
    titles = [axes.get_title() for axes in figure.axes]
    means = [z.mean() for z in levels], [z.std() for z in levels]
    assert titles == [
        f"Level {i}: mean {mean:.2f}, deviation {deviation:.2f}"
        for i, (mean, deviation) in enumerate(zip(*means, strict=True))
    ]
    for axes, z in zip(figure.axes, levels, strict=True):
        heights, edges, _ = axes.patches[0].get_data()
        # What lies outside the axis is missing from the sum, and nothing else is.
        inside = np.mean(np.abs(z) < 5)
        assert np.sum(heights * np.diff(edges)) == pytest.approx(inside)
        x, density = axes.lines[0].get_data()
        np.testing.assert_allclose(density[100], 1 / np.sqrt(2 * np.pi))
        assert np.sum(density) * (x[1] - x[0]) == pytest.approx(1, abs=1e-5)
    assert inside < 0.9


def test_roc_curves_name_their_areas():
    curve = (0.875, np.array([0.0, 0.5, 1.0]), np.array([0.5, 1.0, 1.0]))
    axes = roc_curves({"likelihood": curve}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata().T, curve[1:])
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["likelihood: area 0.875", "chance"]


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (np.zeros([2, 8, 8, 1]), "float64"),
        (np.zeros([8, 8, 1], np.uint8), "shape"),
        (np.zeros([2, 8, 8, 2], np.uint8), "shape"),
        (np.zeros([0, 8, 8, 1], np.uint8), "no images"),
    ],
)
def test_images_that_cannot_be_shown(images, problem):
    with pytest.raises(ValueError, match=problem):
        image_grid(images)


def test_leaves_the_state_of_pyplot_alone():
    # Without the package's own `__init__.py`: Keras imports pyplot.
    program = f"""
import sys, types
package = types.ModuleType("tfp_glow")
package.__path__ = [{str(ROOT / "tfp_glow")!r}]
sys.modules["tfp_glow"] = package
import numpy as np
from tfp_glow.plots import image_grid
image_grid(np.zeros([1, 8, 8, 1], np.uint8)).savefig(sys.stdout.buffer)
sys.exit("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\x89PNG")
