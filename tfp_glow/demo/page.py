"""The page: what is where on it, and what happens when something is touched."""

from typing import Any

import gradio as gr
import numpy as np
from gradio.events import Dependency

from tfp_glow.demo.pictures import read_upload
from tfp_glow.demo.studio import NUM_SAMPLES, Studio

__all__ = ["CSS", "HEAD", "make_page"]

CSS = """
.pixels img { image-rendering: pixelated; width: 100%; height: auto; }
.examples img { image-rendering: pixelated; }
footer { display: none !important; }
"""
HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'

_ALPHA = 1.5  # how far a slider goes; the directions are lengths of their own
_MAX_TEMPERATURE = 1.2
_QUICK = {"show_progress": "hidden", "trigger_mode": "always_last"}


def make_page(studio: Studio) -> gr.Blocks:
    """Lays out the page of a model."""
    with gr.Blocks(title=f"{studio.name}: Glow", analytics_enabled=False) as page:
        height, width, _ = studio.model.event_shape
        gr.Markdown(
            f"# {studio.name}\nA Glow for pictures of {width} x {height} pixels. All "
            "that you choose here stays on this computer."
        )
        label = _class_menu(studio)
        first = gr.State(studio.examples[0])
        with gr.Tab("Change"):
            _change_tab(studio, first, label)
        with gr.Tab("Blend"):
            _blend_tab(studio, first, label)
        with gr.Tab("Draw"):
            _draw_tab(studio, label)
    return page


def _class_menu(studio: Studio) -> gr.components.Component:
    if studio.labels is None:
        return gr.State(None)
    names = studio.class_names or range(studio.model.glow.num_classes)
    choices = [(str(name), number) for number, name in enumerate(names)]
    return gr.Dropdown(
        choices, value=studio.label_of(0), label="Class", filterable=False
    )


def _change_tab(
    studio: Studio, image: gr.State, label: gr.components.Component
) -> None:
    z = gr.State(studio.encode(studio.examples[0], studio.label_of(0)))
    with gr.Row():
        with gr.Column():
            original = _picture("Your picture", studio.examples[0], "original")
            chosen = _chooser(studio, "change", image)
            bits = gr.Markdown(
                studio.say_bits(studio.examples[0], studio.label_of(0)),
                elem_id="bits",
            )
        with gr.Column():
            changed = _picture("As the model changes it", studio.examples[0], "changed")
            sliders = [
                gr.Slider(-_ALPHA, _ALPHA, 0, step=0.05, label=name)
                for name in studio.attributes
            ]
            if not sliders:
                gr.Markdown(
                    "To have a slider for each attribute, find them first: "
                    "`tfp-glow attributes RUN`."
                )
            levels = _level_boxes(studio, "Levels that change")
            reset = gr.Button("All back to zero")

    def show(image: np.ndarray, label: int | None) -> list[Any]:
        latent = studio.encode(image, label)
        again = studio.change(latent, {}, None, label)
        zeros = [0.0] * len(sliders)
        text = studio.say_bits(image, label)
        return [latent, _shown(image), _shown(again), text, *zeros]

    def change(
        z: np.ndarray, levels: list[int], label: int | None, *alphas: float
    ) -> np.ndarray:
        named = dict(zip(studio.attributes, alphas, strict=True))
        return _shown(studio.change(z, named, levels, label))

    outputs = [z, original, changed, bits, *sliders]
    for event in chosen:
        event.success(show, [image, label], outputs, show_progress="hidden")
    reset.click(show, [image, label], outputs, show_progress="hidden")
    if isinstance(label, gr.Dropdown):
        label.change(show, [image, label], outputs, show_progress="hidden")
    moved = [slider.input for slider in sliders] + [levels.change]
    gr.on(moved, change, [z, levels, label, *sliders], changed, **_QUICK)


def _blend_tab(studio: Studio, first: gr.State, label: gr.components.Component) -> None:
    second = gr.State(studio.examples[-1])
    gr.Markdown("From the picture of the first tab to another one.")
    with gr.Row():
        with gr.Column():
            other = _picture("The other picture", studio.examples[-1], "other")
            chosen = _chooser(studio, "blend", second)
        with gr.Column():
            blended = _picture("Between the two", studio.examples[0], "blended")
            weight = gr.Slider(0, 1, 0, step=0.02, label="How much of the other")
            levels = _level_boxes(studio, "Levels that blend")

    def blend(
        first: np.ndarray,
        second: np.ndarray,
        weight: float,
        levels: list[int],
        label: int | None,
    ) -> np.ndarray:
        return _shown(studio.blend(first, second, weight, levels, label))

    inputs = [first, second, weight, levels, label]
    for event in chosen:
        shown = event.success(_shown, second, other, show_progress="hidden")
        shown.success(blend, inputs, blended, show_progress="hidden")
    gr.on([weight.input, levels.change, first.change], blend, inputs, blended, **_QUICK)


def _draw_tab(studio: Studio, label: gr.components.Component) -> None:
    temperature = 0.7
    grid = studio.draw([temperature] * studio.num_levels, 0, studio.label_of(0))
    with gr.Row():
        with gr.Column():
            samples = _picture(f"{NUM_SAMPLES} new pictures", grid, "samples")
        with gr.Column():
            overall = gr.Slider(
                0, _MAX_TEMPERATURE, temperature, step=0.05, label="Temperature"
            )
            each = [
                gr.Slider(
                    0,
                    _MAX_TEMPERATURE,
                    temperature,
                    step=0.05,
                    label=f"Temperature of level {number}{_what(studio, number)}",
                )
                for number in range(studio.num_levels)
            ]
            seed = gr.Number(0, label="Seed", precision=0, minimum=0)
            others = gr.Button("Draw others")

    def draw(seed: int, label: int | None, *temperatures: float) -> np.ndarray:
        return studio.draw(temperatures, seed or 0, label)

    inputs = [seed, label, *each]
    overall.input(
        lambda t: [t] * len(each) if len(each) > 1 else t, overall, each, **_QUICK
    ).then(draw, inputs, samples, **_QUICK)
    moved = [slider.input for slider in each] + [seed.change]
    if isinstance(label, gr.Dropdown):
        moved.append(label.change)
    gr.on(moved, draw, inputs, samples, **_QUICK)
    others.click(lambda seed: (seed or 0) + 1, seed, seed, show_progress="hidden")


def _chooser(studio: Studio, name: str, image: gr.State) -> list[Dependency]:
    """A place for files and a row of examples.

    Args:
        studio: Knows the examples.
        name: What the names of the two begin with, for style sheets and tests.
        image: What is to hold the image that is chosen.

    Returns:
        The events after which it does.
    """
    upload = gr.File(
        label="Choose a picture of yours", height=120, elem_id=f"{name}-file"
    )
    gallery = gr.Gallery(
        [_shown(image) for image in studio.examples],
        label="Or one of these",
        columns=8,
        height=120,
        allow_preview=False,
        buttons=[],
        format="png",
        interactive=False,
        elem_id=f"{name}-examples",
        elem_classes="examples",
    )

    def read(file: str | None) -> np.ndarray:
        try:
            image, note = read_upload(file, studio.model.event_shape)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        if note:
            gr.Info(note)
        return image

    def take(selected: gr.SelectData) -> np.ndarray:
        return studio.examples[selected.index]

    return [
        upload.upload(read, upload, image, show_progress="hidden"),
        gallery.select(take, None, image, show_progress="hidden"),
    ]


def _picture(label: str, image: np.ndarray, name: str) -> gr.Image:
    return gr.Image(
        _shown(image),
        label=label,
        alt_text=label,
        format="png",
        interactive=False,
        buttons=["download"],
        elem_id=name,
        elem_classes="pixels",
    )


def _level_boxes(studio: Studio, label: str) -> gr.CheckboxGroup:
    choices = [
        (f"{number}{_what(studio, number)}", number)
        for number in range(studio.num_levels)
    ]
    every = list(range(studio.num_levels))
    return gr.CheckboxGroup(choices, value=every, label=label)


def _what(studio: Studio, level: int) -> str:
    if studio.num_levels == 1:
        return ""
    ends = {0: ", the finest", studio.num_levels - 1: ", the coarsest"}
    return ends.get(level, "")


def _shown(image: np.ndarray) -> np.ndarray:
    """A model's image as Gradio takes it: grey ones have no axis of channels."""
    return image[..., 0] if image.shape[-1] == 1 else image
