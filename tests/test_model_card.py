"""The page of a published model: what it says, and what it must not."""

import json

import pytest

import tfp_glow as tfg
from tfp_glow.model_card import model_card

CONFIG = {
    "dataset": "digits",
    "homepage": "https://example.org/digits",
    "licence": "CC BY 4.0",
    "citation": "Somebody. Digits. 1998.",
    "seed": 0,
    "training": {"ema_momentum": 0.99, "batch_size": 64, "learning_rate": 0.002},
}
METRICS = {
    "held_out": {
        "split": "test",
        "bits_per_dim": 2.01234,
        "standard_error": 0.02,
        "num_images": 200,
        "num_noise_samples": 8,
        "seed": 0,
    },
    "baselines": {"gaussian": {"bits_per_dim": 2.9, "note": ""}},
    "note": "16 is clipped to 15",
    "training_seconds": 88.0,
    "machine": "2 x86_64 cores",
    "num_epochs": 40,
    "best_epoch": 38,
}


@pytest.fixture(scope="module")
def model():
    return tfg.GlowModel(
        (8, 8, 1), num_bits=4, num_levels=1, num_steps=1, hidden_channels=4
    )


def front_matter(card: str) -> dict:
    _, fields, _ = card.split("---\n", 2)
    lines = [line.partition(": ") for line in fields.splitlines()]
    return {key: json.loads(value) for key, _, value in lines}


def test_says_what_is_known(model):
    exported = {"precision": "bfloat16", "merge": True}
    card = model_card(
        model,
        "small",
        config=CONFIG,
        metrics=METRICS,
        exported=exported,
        picture="samples.png",
    )
    for part in (
        "# small",
        "![Samples](samples.png)",
        "**2.0123** ± 0.0200 bits/dim",
        "200 images of the split test",
        "8 draws of uniform noise",
        "images of 4 bits",
        "momentum 0.99",
        "gaussian 2.9000",
        "88 seconds on 2 x86_64 cores",
        "40 epochs, of which number 38",
        "Licence of the images: CC BY 4.0 (https://example.org/digits).",
        "Somebody. Digits. 1998.",
        "16 is clipped to 15",
        "bfloat16 networks, merged",
        'tf.saved_model.load(".")',
    ):
        assert part in card, part
    num_parameters = sum(v.numpy().size for v in model.trainable_variables)
    assert f"| Parameters | {num_parameters:,} |" in card


def test_parameters_that_are_frozen_are_parameters(model):
    frozen = type(model).from_config(model.get_config())
    frozen.trainable = False
    assert model_card(frozen, "small") == model_card(model, "small")
    lines = []
    frozen.summary(print_fn=lines.append)
    assert "Trainable parameters: 0 in 0 variables" in lines[0]


def test_front_matter_is_what_hugging_face_asks_for(model):
    fields = front_matter(model_card(model, "small", config=CONFIG, metrics=METRICS))
    assert fields["license"] == "unknown"
    (entry,) = fields["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "small"
    assert result["task"]["type"] == fields["pipeline_tag"]
    assert result["dataset"] == {"type": "digits", "name": "digits", "split": "test"}
    assert result["metrics"][0]["type"] == "bits_per_dim"
    assert result["metrics"][0]["value"] == 2.0123


def test_what_is_not_known_is_said_to_be_so(model):
    card = model_card(model, "small")
    assert "model-index" not in front_matter(card)
    assert "Not measured." in card
    assert "Unknown, and so is its licence." in card
    assert "saved_model" not in card
    assert "![" not in card
    assert "None" not in card


def test_folders_of_this_machine_stay_private(model):
    config = {"dataset": "folder:/home/ada/cats", "homepage": "", "citation": ""}
    card = model_card(model, "small", config=config, metrics=METRICS)
    assert "ada" not in card
    assert "`folder:cats`" in card
    assert "Licence of the images: unknown" in card


def test_a_licence_that_the_page_of_the_data_set_tells(model):
    card = model_card(model, "small", config=CONFIG | {"licence": ""})
    assert "Licence of the images: see https://example.org/digits." in card


def test_conditions_are_asked_for():
    model = tfg.GlowModel(
        (4, 4, 1),
        num_levels=1,
        num_steps=1,
        hidden_channels=4,
        num_classes=3,
        context_shape=(2,),
    )
    card = model_card(model, "small", exported={"precision": "float32", "merge": False})
    assert "| Classes | 3 |" in card
    assert "| Context | (2,) |" in card
    assert (
        "temperature=tf.fill([4], 0.7), labels=tf.range(4) % 3, context=context)"
        in card
    )
    assert "model.bits_per_dim(images_of_shape_4_4_1, labels, context=context)" in card
