"""The page's pictures as HTML, and its style sheet.

A picture is part of the text, as a PNG in base64: a slider's answer is one message, and
no file is left behind. It is as large as the page allows, and its pixels stay square.
"""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np

from tfp_glow._pictures import to_png

__all__ = ["HEAD", "ON_LOAD", "figure", "thumbnails"]

HEAD = """
<style>
.gradio-container { width: 100% !important; max-width: 1080px !important;
  margin: 0 auto !important; }
h1 { margin-bottom: 0; }
.html-container { padding: 0 !important; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 8px;
  outline: 1px solid var(--neutral-400); image-rendering: pixelated; }
figcaption { margin-top: 4px; text-align: center; font-size: var(--text-sm); }
.thumbnails { display: flex; flex-wrap: wrap; gap: 6px; }
.thumbnails button { margin: 0; padding: 0; border-radius: 6px; cursor: pointer;
  border: 2px solid var(--border-color-primary); background: none; }
.thumbnails button[aria-pressed=true] { border-color: var(--color-accent); }
.thumbnails img { display: block; width: 40px; height: 40px; object-fit: cover;
  border-radius: 4px; image-rendering: pixelated; }
.attributes .form { display: flex !important; flex-flow: row wrap !important; }
.attributes .form > * { flex: 1 1 200px; }
/* What begins in the middle is not filled from the left. */
.attributes input[type=range]::-webkit-slider-runnable-track {
  background: var(--neutral-300) !important; }
.attributes input[type=range]::-moz-range-progress { background: none !important; }
input[type=range]::-webkit-slider-thumb { border: 1px solid var(--neutral-500); }
:is(button, input):focus-visible {
  outline: 3px solid var(--color-accent) !important; outline-offset: 2px; }
/* Pictures stay in sight while the sliders below them are moved. */
@media (max-width: 640px) {
  .gradio-container { overflow: clip !important; }  /* `hidden` would let go of it */
  .sides { flex-direction: column; }
  .sides > .column { display: contents !important; }
  .stays { position: sticky !important; top: 0; z-index: 10; padding: 8px 0;
    background: var(--body-background-fill); }
  .stays img { width: min(100%, 34vh * var(--width-to-height)); margin: 0 auto; }
}
</style>
"""
"""Of the page. As its `css` Gradio would let no rule speak of the page as a whole."""

ON_LOAD = """
element.addEventListener("click", (event) => {
  const chosen = event.target.closest("button");
  if (!chosen) return;
  for (const button of element.querySelectorAll("button"))
    button.setAttribute("aria-pressed", button === chosen);
  trigger("click", { number: Number(chosen.value) });
});
"""
"""Makes a click on a thumbnail one on the component, with the number of the example."""


def figure(image: np.ndarray, caption: str, description: str | None = None) -> str:
    """A picture with a line below it.

    Args:
        image: `uint8` `[H, W, C]`, `C` 1 or 3.
        caption: The line.
        description: The picture in words, for who cannot see it; the caption when not
            given.
    """
    picture = _img(image, caption if description is None else description)
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def thumbnails(images: np.ndarray, numbers: Sequence[int], names: Sequence[str]) -> str:
    """Buttons to choose one of several pictures.

    Args:
        images: `uint8` `[N, H, W, C]`.
        numbers: What is told of the one that is chosen, `[N]`.
        names: The pictures in words, `[N]`.
    """
    buttons = [
        f'<button type="button" value="{number}" aria-pressed="false" '
        f'aria-label="{escape(name)}" title="{escape(name)}">{_img(image, "")}</button>'
        for image, number, name in zip(images, numbers, names, strict=True)
    ]
    return (
        f'<div class="thumbnails" role="group" aria-label="Examples">'
        f"{''.join(buttons)}</div>"
    )


def _img(image: np.ndarray, description: str) -> str:
    height, width, _ = image.shape
    content = base64.b64encode(to_png(image)).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{content}" alt="{escape(description)}" '
        f'width="{width}" height="{height}" '
        f'style="--width-to-height: {width / height}" decoding="sync">'
    )
