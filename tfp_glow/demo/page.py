"""The page: what is where on it, and what happens when something is touched."""

from typing import Any

import gradio as gr
import numpy as np
from gradio.events import Dependency

from tfp_glow.demo.markup import ON_LOAD, figure, thumbnails
from tfp_glow.demo.pictures import read_upload
from tfp_glow.demo.studio import Studio

__all__ = ["make_page"]

_ALPHA = 1.5  # openai/glow's demonstration goes to 1
_TEMPERATURE, _MAX_TEMPERATURE = 0.7, 1.2
_PER_CENT = 50  # of the other picture, to begin with
_BEGINNING = 0  # the seed of the first grid
# How often uploads are deleted, and from what age on, in seconds. Not when they are
# read: who uploads the same file gets the same path.
_SWEEP = (60, 600)

# A slider moves faster than a model answers: of what waits only the last is computed.
_LIVE = {"show_progress": "hidden", "trigger_mode": "always_last"}
_QUIET = {"show_progress": "hidden"}

Chosen = tuple[np.ndarray, int | None]
"""A picture and its class, where the model has classes."""


def make_page(studio: Studio) -> gr.Blocks:
    """Lays out the page of a model."""
    with gr.Blocks(
        title=f"{studio.name}: Glow", analytics_enabled=False, delete_cache=_SWEEP
    ) as page:
        height, width, channels = studio.model.event_shape
        kind = "grey" if channels == 1 else "colour"
        gr.Markdown(
            f"# {studio.name}\nA Glow model of {kind} pictures of {width} x {height} "
            "pixels. What you do here stays on this computer."
        )
        first, last = studio.shown[0], studio.shown[-1]
        chosen = gr.State((studio.examples[first], studio.label_of(first)))
        with gr.Tab("Change"):
            _change_tab(studio, chosen, first)
        with gr.Tab("Blend"):
            _blend_tab(studio, chosen, last)
        with gr.Tab("Draw"):
            _draw_tab(studio)
    return page


def _change_tab(studio: Studio, chosen: gr.State, number: int) -> None:
    image, label = studio.examples[number], studio.label_of(number)
    z = gr.State(studio.encode(image, label))
    again = studio.change(z.value, {}, label=label)

    def say(image: np.ndarray, again: np.ndarray, label: int | None) -> str:
        bits, lost = studio.say_bits(image, label), studio.say_what_is_lost
        return f"{bits}\n\n{lost(image, again)}".strip()

    with gr.Row(elem_classes="sides"):
        with gr.Column(min_width=300):
            with gr.Row(elem_classes="stays"):
                original = gr.HTML(_original(image), min_width=100, elem_id="original")
                changed = gr.HTML(_changed(again, {}), min_width=100, elem_id="changed")
            bits = gr.Markdown(say(image, again, label), elem_id="bits")
            events = _chooser(studio, "change", "Another picture", chosen, label)
        with gr.Column(min_width=300):
            sliders = _attribute_sliders(studio)
            levels = _level_boxes(studio, "Where to change it")
            reset = gr.Button("Undo all changes", visible=bool(sliders))

    def show(chosen: Chosen) -> list[Any]:
        image, label = chosen
        z = studio.encode(image, label)
        again = studio.change(z, {}, label=label)
        text = say(image, again, label)
        return [z, _original(image), _changed(again, {}), text, *(0 for _ in sliders)]

    def change(
        z: np.ndarray, chosen: Chosen, levels: list[int] | None, *alphas: float
    ) -> str:
        named = dict(zip(studio.attributes, alphas, strict=True))
        if not levels:  # no box is ticked
            named = {}
        return _changed(studio.change(z, named, levels, chosen[1]), named)

    def show_and_tick(chosen: Chosen) -> list[Any]:
        return [*show(chosen), list(range(studio.num_levels))]

    outputs = [z, original, changed, bits, *sliders]
    for event in events:
        event.success(show, chosen, outputs, **_QUIET)
    reset.click(show_and_tick, chosen, [*outputs, levels], **_QUIET)
    moved = [slider.input for slider in sliders] + [levels.change]
    gr.on(moved, change, [z, chosen, levels, *sliders], changed, **_LIVE)


def _original(image: np.ndarray) -> str:
    return figure(image, "Your picture")


def _changed(image: np.ndarray, alphas: dict[str, float]) -> str:
    parts = [f"{name} {alpha:+g}" for name, alpha in alphas.items() if alpha]
    description = "Your picture, changed: " + (", ".join(parts) or "nothing yet")
    return figure(image, "Changed", description)


def _attribute_sliders(studio: Studio) -> list[gr.Slider]:
    if not studio.attributes:
        gr.Markdown(
            "### More or less of what?\nThere will be a slider for each attribute once "
            "you have let the model find them: `tfp-glow attributes RUN`, where RUN is "
            "this model's folder. Then start this page again."
        )
        return []
    gr.Markdown("### More or less of")
    with gr.Group(elem_classes="attributes"):
        return [
            gr.Slider(-_ALPHA, _ALPHA, 0, step=0.05, label=name, buttons=[])
            for name in studio.attributes
        ]


def _blend_tab(studio: Studio, chosen: gr.State, number: int) -> None:
    image, label = studio.examples[number], studio.label_of(number)
    first, _ = chosen.value
    second = gr.State((image, label))
    with gr.Row(elem_classes="sides"):
        with gr.Column(min_width=300):
            with gr.Row(elem_classes="stays"):
                one = gr.HTML(_original(first), min_width=60, elem_id="one")
                blended = gr.HTML(min_width=60, elem_id="blended")
                other = gr.HTML(_other(image), min_width=60, elem_id="other")
            events = _chooser(studio, "blend", "The other picture", second, label)
        with gr.Column(min_width=300):
            weight = gr.Slider(
                *(0, 100, _PER_CENT),
                step=1,
                label="Per cent of the other picture",
                buttons=[],
                elem_id="weight",
            )
            levels = _level_boxes(studio, "What to blend")

    def blend(
        chosen: Chosen, second: Chosen, weight: float, levels: list[int] | None
    ) -> str:
        (a, label_a), (b, label_b) = chosen, second
        labels = (label_a, label_b)
        return _blended(studio.blend(a, b, weight / 100, levels, labels), weight)

    blended.value = blend(chosen.value, second.value, _PER_CENT, None)
    inputs = [chosen, second, weight, levels]
    for event in events:
        shown = event.success(lambda second: _other(second[0]), second, other, **_QUIET)
        shown.success(blend, inputs, blended, **_QUIET)
    chosen.change(lambda chosen: _original(chosen[0]), chosen, one, **_QUIET)
    gr.on([weight.input, levels.change, chosen.change], blend, inputs, blended, **_LIVE)


def _other(image: np.ndarray) -> str:
    return figure(image, "The other")


def _blended(image: np.ndarray, weight: float) -> str:
    return figure(image, "Blend", f"Blend with {weight:g} per cent of the other")


def _draw_tab(studio: Studio) -> None:
    label = studio.label_of(studio.shown[0])
    several = studio.num_levels > 1
    caption = f"{studio.num_samples} pictures that the model has drawn"

    def draw(seed: int, label: int | None, *temperatures: float) -> str:
        return figure(studio.draw(temperatures, seed, label), caption)

    temperatures = [_TEMPERATURE] * studio.num_levels
    seed = gr.State(_BEGINNING)
    with gr.Row(elem_classes="sides"):
        with gr.Column(min_width=300):
            grid = gr.HTML(
                draw(_BEGINNING, label, *temperatures),
                elem_id="samples",
                elem_classes="stays",
            )
        with gr.Column(min_width=300):
            label = _class_menu(studio, label)
            overall = _temperature_slider(
                "Temperature", "Low: tidy and much alike. High: bold, and odd at times."
            )
            each = [
                _temperature_slider(f"Temperature of {_level(studio, number)}")
                for number in range(studio.num_levels * several)
            ]
            others = gr.Button("Draw others", variant="primary")

    def draw_all(temperature: float, seed: int, label: int | None) -> list[Any]:
        all_levels = [temperature] * studio.num_levels
        return [draw(seed, label, *all_levels), *all_levels[: len(each)]]

    def draw_others(seed: int, label: int | None, *temperatures: float) -> list[Any]:
        return [draw(seed + 1, label, *temperatures), seed + 1]

    inputs = [seed, label, *(each or [overall])]
    overall.input(draw_all, [overall, seed, label], [grid, *each], **_LIVE)
    others.click(draw_others, inputs, [grid, seed], **_QUIET)
    moved = [part.input for part in each]
    moved += [label.input] if studio.has_classes else []
    if moved:
        gr.on(moved, draw, inputs, grid, **_LIVE)


def _temperature_slider(label: str, info: str | None = None) -> gr.Slider:
    return gr.Slider(
        *(0, _MAX_TEMPERATURE, _TEMPERATURE),
        step=0.05,
        label=label,
        info=info,
        buttons=[],
    )


def _chooser(
    studio: Studio, name: str, heading: str, chosen: gr.State, label: int | None
) -> list[Dependency]:
    """Examples to choose from, and a button for a picture of one's own.

    Args:
        studio: Knows the examples.
        name: What the names of its parts begin with, for tests.
        heading: What is chosen.
        chosen: What is to hold the picture that is chosen, and its class.
        label: The class to begin with.

    Returns:
        The events after which it does.
    """
    gr.Markdown(f"### {heading}")
    examples = gr.HTML(
        thumbnails(
            studio.examples[studio.shown],
            studio.shown,
            [studio.describe(number) for number in studio.shown],
        ),
        js_on_load=ON_LOAD,
        apply_default_css=False,
        elem_id=f"{name}-examples",
    )
    upload = gr.UploadButton(
        "Choose a picture of yours",
        file_types=["image", "file"],  # `read` says it better where it is none.
        elem_id=f"{name}-upload",
    )
    label = _class_menu(studio, label)

    def take(clicked: gr.EventData) -> tuple[Chosen, int | None]:
        number = int(clicked.number)
        return (studio.examples[number], studio.label_of(number)), studio.label_of(
            number
        )

    def read(file: str, label: int | None) -> Chosen:
        try:
            image, note = read_upload(file, studio.model.event_shape)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        if note:
            gr.Info(note)
        return image, label

    def relabel(chosen: Chosen, label: int | None) -> Chosen:
        return chosen[0], label

    events = [
        examples.click(take, None, [chosen, label], **_QUIET),
        upload.upload(read, [upload, label], chosen, **_QUIET),
    ]
    if studio.has_classes:
        events.append(label.input(relabel, [chosen, label], chosen, **_QUIET))
    return events


def _class_menu(studio: Studio, label: int | None) -> gr.Dropdown | gr.State:
    """A menu of the model's classes, where it has any."""
    if not studio.has_classes:
        return gr.State(None)
    choices = [
        (studio.name_of(number), number)
        for number in range(studio.model.glow.num_classes)
    ]
    return gr.Dropdown(choices, value=label, label="Class")


def _level_boxes(studio: Studio, label: str) -> gr.CheckboxGroup:
    """Boxes to choose levels, where there is a choice."""
    every = list(range(studio.num_levels))
    choices = [(_level(studio, number), number) for number in every]
    visible = studio.num_levels > 1
    return gr.CheckboxGroup(choices, value=every, label=label, visible=visible)


def _level(studio: Studio, number: int) -> str:
    ends = {0: " (fine detail)", studio.num_levels - 1: " (overall shape)"}
    return f"level {number}{ends.get(number, '')}"
