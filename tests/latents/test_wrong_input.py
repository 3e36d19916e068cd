"""Wrong input is told before work starts: what was expected, and what was received."""

import numpy as np
import pytest

from tfp_glow import latents, plots

A = np.zeros([8, 8, 1], np.uint8)
TWO = np.zeros([2, 8, 8, 1], np.uint8)
NONE = TWO[:0]
DIRECTION = np.ones(64, np.float32)
DIRECTIONS = latents.AttributeDirections(
    ("round",), DIRECTION[np.newaxis], np.ones(1), np.ones(1)
)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: latents.interpolate(m, A, A[:7]), ValueError, r"`b` .* \[8, 8, 1\]"),
        (lambda m: latents.interpolate(m, A, A / 255), TypeError, "`b` must be uint8"),
        (lambda m: latents.interpolate(m, TWO, TWO), ValueError, "`a` .* one image"),
        (lambda m: latents.blend(m, A, A, np.nan), ValueError, "`weights` .* finite"),
        (lambda m: latents.blend(m, A, A, "x"), ValueError, "`weights` .* finite"),
        (lambda m: latents.blend(m, A, A, levels=1), ValueError, "in a list.*levels=1"),
        (lambda m: latents.blend(m, A, A, levels="ab"), ValueError, "has 3 levels"),
        (lambda m: latents.blend(m, A, A, levels=[0.5]), ValueError, "has 3 levels"),
        (
            lambda m: latents.interpolate_grid(m, [A, A, A, A[1:]]),
            ValueError,
            "corners",
        ),
        (lambda m: latents.manipulate(m, TWO, DIRECTION, [1]), ValueError, "`image`"),
        (lambda m: latents.manipulate(m, A, DIRECTION, [np.inf]), ValueError, "alphas"),
        (lambda m: latents.manipulate(m, A, "3", [1]), TypeError, "directions.*3"),
        (lambda m: latents.manipulate(m, A, DIRECTIONS, [1]), TypeError, "'round'"),
        (lambda m: latents.resample_levels(m, DIRECTION, [0]), ValueError, "B, 64"),
        (lambda m: latents.split_levels(m, TWO), ValueError, r"\[..., 64\]"),
        (
            lambda m: latents.attribute_directions(m, TWO, np.array([0, -1])),
            ValueError,
            "at least 0. Received: -1",
        ),
        (
            lambda m: latents.attribute_directions(m, TWO, [[1, 0]] * 2, names="aa"),
            ValueError,
            "must differ",
        ),
        (
            lambda m: latents.attribute_directions(m, TWO, [[1.0], [np.nan]]),
            ValueError,
            "`labels` .* finite",
        ),
        (lambda m: DIRECTIONS.save("/nowhere/x.npz"), FileNotFoundError, "no folder"),
        (lambda m: latents.nearest_images(TWO / 255, TWO), TypeError, "`queries`"),
        (lambda m: latents.nearest_images(A, TWO), ValueError, r"`queries` .*B, H, W"),
        (lambda m: latents.nearest_images(TWO, TWO[:, 1:]), ValueError, "8, 8, 1"),
        (lambda m: latents.nearest_images(NONE, TWO), ValueError, "`queries`"),
        (lambda m: latents.linear_probe(m, NONE, []), ValueError, "0 images, 0 labels"),
        (lambda m: latents.linear_probe(m, TWO, [1]), ValueError, "2 images, 1 labels"),
        (
            lambda m: latents.linear_probe(m, TWO, [0, 1], levels=[]),
            ValueError,
            "at least one level",
        ),
        (
            lambda m: latents.linear_probe(m, TWO, [0, 1], regularization=0),
            ValueError,
            "`regularization`",
        ),
        (
            lambda m: latents.out_of_distribution_scores(m, TWO, typical_bits=np.nan),
            ValueError,
            "`typical_bits` .* finite",
        ),
        (
            lambda m: latents.compressed_bits_per_dim(TWO, formats=[]),
            ValueError,
            "`formats`",
        ),
        (lambda m: latents.roc({"likelihood": A}, {}), TypeError, "of one kind"),
        (lambda m: plots.image_grid(TWO, 0), ValueError, "`num_columns`"),
        (lambda m: plots.image_strips({}), ValueError, "0 rows"),
        (lambda m: plots.image_strips({"a": TWO}, ["1"]), ValueError, "1 captions"),
        (lambda m: plots.latent_statistics(DIRECTION), ValueError, "split_levels"),
    ],
)
def test_is_told(model, call, error, message):
    with pytest.raises(error, match=message):
        call(model)


def test_labels_of_each_image(conditional, images):
    three = images[:3]
    with pytest.raises(ValueError, match=r"shape \[2\]"):
        latents.interpolate(conditional, *three[:2], labels=[1])
    with pytest.raises(ValueError, match=r"shape \[3\]"):
        latents.interpolate_path(conditional, three, labels=[1, 0])
    with pytest.raises(ValueError, match="pass `classes`"):
        latents.attribute_directions(conditional, three, np.array([True, False, True]))


def test_what_takes_no_context_says_so(with_context, images):
    for call in (
        lambda: latents.attribute_directions(with_context, images[:2], [0, 1]),
        lambda: latents.linear_probe(with_context, images[:2], [0, 1]),
        lambda: latents.out_of_distribution_scores(
            with_context, images[:2], typical_bits=2.0
        ),
    ):
        with pytest.raises(ValueError, match="no place for a context"):
            call()
    with pytest.raises(ValueError, match="of 2 images, or one for all"):
        latents.interpolate(with_context, *images[:2], context=np.zeros([3, 2]))
    with pytest.raises(ValueError, match=r"\[K, 2\]"):
        latents.class_log_likelihoods(
            with_context, images[:2], class_contexts=np.zeros([0, 2])
        )


def test_no_images_have_no_scores(model):
    scores = latents.out_of_distribution_scores(model, NONE, typical_bits=2.0)
    assert all(score.shape == (0,) for score in scores.values())
    assert latents.slerp([1, 0], [0, 1], 1.0).numpy().tolist() == [0, 1]
    assert DIRECTIONS.select([]).orthogonalized().names == ()
