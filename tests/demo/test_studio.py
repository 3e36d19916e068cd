"""What the page does with a model is what the model does."""

import numpy as np
import pytest
from studios import make_directions, make_model, make_studio

from tfp_glow import latents
from tfp_glow.demo.page import make_page
from tfp_glow.demo.studio import Studio
from tfp_glow.plots import tile


@pytest.fixture(scope="module")
def studio():
    return make_studio(directions=make_directions())


@pytest.fixture(scope="module")
def conditional():
    return make_studio(num_classes=3)


def test_change_is_decode_of_the_moved_latent(studio):
    image, directions = studio.examples[1], studio.directions
    z = studio.encode(image)
    np.testing.assert_array_equal(studio.change(z, {"round": 0.0}), image)
    changed = studio.change(z, {"round": 0.5, "slanted": -1.0})
    moved = z + 0.5 * directions["round"] - directions["slanted"]
    np.testing.assert_array_equal(changed, studio.model.decode(moved[None])[0])
    assert (changed != image).any()


def test_change_of_some_levels_is_manipulate(studio):
    image = studio.examples[0]
    for levels in ([0], [1], []):
        expected = latents.manipulate(
            studio.model, image, studio.directions["round"], 1.5, levels=levels
        )
        changed = studio.change(studio.encode(image), {"round": 1.5}, levels)
        np.testing.assert_array_equal(changed, expected)


def test_blend_goes_from_one_to_the_other(studio):
    a, b = studio.examples[:2]
    np.testing.assert_array_equal(studio.blend(a, b, 0.0), a)
    np.testing.assert_array_equal(studio.blend(a, b, 1.0), b)
    middle = latents.blend(studio.model, a, b, 0.5, method="spherical", levels=[1])
    np.testing.assert_array_equal(studio.blend(a, b, 0.5, [1]), middle)


def test_blend_knows_both_classes(conditional):
    a, b = conditional.examples[:2]
    blended = conditional.blend(a, b, 1.0, labels=(2, 1))
    np.testing.assert_array_equal(blended, b)


def test_draws_a_grid_at_temperatures_of_levels(studio):
    z = latents.sample_latents(studio.model, 16, temperature=[0.2, 0.9], seed=4)
    expected = tile(studio.model.decode(z).numpy(), 4)
    np.testing.assert_array_equal(studio.draw([0.2, 0.9], 4), expected)


def test_classes_are_those_of_the_examples(conditional):
    assert [conditional.label_of(number) for number in conditional.shown] == [0, 1, 2]
    z = conditional.encode(conditional.examples[0], 2)
    again = conditional.change(z, {}, label=2)
    np.testing.assert_array_equal(again, conditional.examples[0])
    drawn = [conditional.draw([1.0, 1.0], 0, label) for label in (0, 1)]
    assert (drawn[0] != drawn[1]).any()


def test_says_what_a_picture_takes(studio):
    bits = studio.model.bits_per_dim(studio.examples, seed=0).numpy()
    usual = int(np.argsort(bits)[3])
    text = studio.say_bits(studio.examples[usual])
    alone = float(studio.model.bits_per_dim(studio.examples[[usual]], seed=0)[0])
    assert text.startswith(f"**{alone:.2f} bits/dim.**")
    assert f"{int(np.ceil(alone * 8))} bytes instead of 64" in text
    assert "ordinary" in text


@pytest.mark.parametrize(("shift", "word"), [(-100, "strange"), (100, "simple")])
def test_says_what_is_out_of_the_ordinary(studio, monkeypatch, shift, word):
    monkeypatch.setattr(studio, "_usual", studio._usual + shift)
    assert word in studio.say_bits(studio.examples[0])


@pytest.mark.parametrize(("bits", "word"), [(99.0, "99.00"), (1e19, "More than 100")])
def test_says_what_takes_more_than_it_is(studio, monkeypatch, bits, word):
    monkeypatch.setattr(studio, "_bits", lambda images, labels: np.array([bits]))
    text = studio.say_bits(studio.examples[0])
    assert text.startswith(f"**{word} bits/dim.** That is more than the 8")
    assert "bytes" not in text


def test_says_what_does_not_come_back(studio):
    image = studio.examples[0]
    again = studio.change(studio.encode(image), {})
    assert studio.say_what_is_lost(image, again) == ""
    again[0, :3] += 1
    assert "3 of its 64 values come back wrong" in studio.say_what_is_lost(image, again)


def test_says_what_cannot_be_measured(studio, monkeypatch):
    monkeypatch.setattr(studio, "_bits", lambda images, labels: np.array([np.inf]))
    assert "beyond what the model can measure" in studio.say_bits(studio.examples[0])


def test_measures_examples_by_few_where_they_are_large(monkeypatch):
    studio = make_studio((128, 128, 3), num_levels=1)
    assert studio.num_samples == 4
    assert len(studio._usual) == 6


def test_shows_one_example_of_each_class(studio):
    assert studio.shown == [2, 1, 0]
    assert studio.describe(2) == "Example 3: 0"


@pytest.mark.parametrize(
    ("labels", "shown"),
    [([2, 2, 2], [0, 1, 2]), ([2], [0]), (None, [0])],
    ids=["one class", "one picture", "one picture without class"],
)
def test_page_has_pictures_of_one_class_and_a_picture_alone(studio, labels, shown):
    count = len(labels or [0])
    images = np.random.default_rng(0).integers(0, 256, [count, 8, 8, 1], np.uint8)
    labels = labels and np.array(labels)
    studio = Studio(studio.model, "tiny", images, labels=labels)
    assert studio.shown == shown
    parts = make_page(studio).blocks.values()
    (text,) = (p.value for p in parts if getattr(p, "elem_id", "") == "change-examples")
    assert text.count("<button") == len(shown)


def test_refuses_what_the_page_has_no_place_for():
    with pytest.raises(ValueError, match="no place for a context"):
        Studio(make_model(context_shape=[2]), "x", np.zeros([1, 8, 8, 1], np.uint8))
    with pytest.raises(ValueError, match="needs images to begin with"):
        Studio(make_model(), "x", np.zeros([0, 8, 8, 1], np.uint8))
    with pytest.raises(ValueError, match="with their classes"):
        Studio(make_model(num_classes=2), "x", np.zeros([1, 8, 8, 1], np.uint8))
