"""The README's pictures of the page are of the page as it is.

Screenshots are compared for layout: squares of 20 pixels by their mean. What counts is
the part of the page that differs most, as most of a page is white.
"""

import io
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDE = 20  # pixels of a square
DIFFERENT = 16  # of 255 grey levels between two squares
PART = 12  # squares: 240 pixels, less than a column's width
BAR = 0.12  # other fonts change 0.07 of a part, while lines break where they did
pytestmark = pytest.mark.skipif(
    not BENCHMARKS.exists(), reason="needs a checkout, of which these are scripts"
)

WIDTH = """() => {
  const context = document.createElement("canvas").getContext("2d");
  context.font = `100px ${getComputedStyle(document.body).fontFamily}`;
  return context.measureText("Another picture").width;
}"""
WIDTH_IN_PICTURES = 779  # of DejaVu Sans


@pytest.fixture(scope="module")
def scripts():
    """The module benchmarks/page_pictures.py."""
    pytest.importorskip("gradio", reason="needs Gradio, of the extra `demo`")
    pytest.importorskip("playwright", reason="needs Playwright")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield import_module("page_pictures")


@pytest.fixture(scope="module")
def pages(scripts):
    """By name the pages that are in the README, and pictures of them as they are."""
    if scripts.browser_path() is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    with scripts.demo("digits") as address, scripts.sync_playwright() as playwright:
        browser = scripts.chromium(playwright)
        pages = {}
        for name, pose in scripts.POSES.items():
            page = browser.new_page()
            pages[name] = page, scripts.take(page, address, pose)
        share = page.evaluate(WIDTH) / WIDTH_IN_PICTURES
        if not 0.85 < share < 1.05:
            pytest.skip(f"text is {share:.2f} as wide here: its lines break elsewhere")
        yield pages
        browser.close()


def squares(picture: Image.Image) -> np.ndarray:
    """Mean grey levels, `[H / SIDE, W / SIDE]`."""
    width, height = (size // SIDE for size in picture.size)
    grey = picture.convert("L").crop((0, 0, width * SIDE, height * SIDE))
    return np.asarray(grey.resize([width, height], Image.Resampling.BOX), int)


def difference(picture: Image.Image, name: str) -> float:
    """Share of the squares of a part that are not as in the README's picture.

    Of all parts of `PART` x `PART` squares it is that of the one that differs most.
    """
    with Image.open(BENCHMARKS.parent / "docs" / f"{name}.png") as known:
        assert picture.size == known.size
        are_different = np.abs(squares(picture) - squares(known)) > DIFFERENT
    parts = np.lib.stride_tricks.sliding_window_view(are_different, [PART, PART])
    return parts.mean(axis=(2, 3)).max()


def test_page_looks_as_in_the_readme(pages):
    for name, (_, picture) in pages.items():
        assert difference(picture, name) < BAR, name


@pytest.mark.parametrize(
    "style",
    [
        ".block:has(input[type=range]) { visibility: hidden !important }",
        ".block:has(input[type=range]) { display: none !important }",
        ".sides > :first-child { visibility: hidden !important }",
        ".sides > :last-child { visibility: hidden !important }",
        "#original, #changed { visibility: hidden !important }",
        ".sides { position: relative; left: 60px }",
    ],
)
def test_what_is_missing_or_elsewhere_is_a_difference(pages, style):
    for name, (page, _) in pages.items():
        at_once = "* { transition: none !important }"
        tag = page.add_style_tag(content=f"{at_once} {style}")
        picture = Image.open(io.BytesIO(page.screenshot()))
        tag.evaluate("element => element.remove()")
        assert difference(picture, name) > BAR, name
