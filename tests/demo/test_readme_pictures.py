"""The README's pictures of the page are of the page as it is.

Screenshots are compared for layout: squares of 40 pixels by their mean. Other fonts
change them less than a picture or a column that is somewhere else.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDE = 40  # pixels of a square
DIFFERENT = 40  # of 255 grey levels between two squares
pytestmark = pytest.mark.skipif(
    not BENCHMARKS.exists(), reason="needs a checkout, of which these are scripts"
)


@pytest.fixture(scope="module")
def scripts():
    """The module benchmarks/page_pictures.py."""
    pytest.importorskip("gradio", reason="needs Gradio, of the extra `demo`")
    pytest.importorskip("playwright", reason="needs Playwright")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield import_module("page_pictures")


def squares(picture: Image.Image) -> np.ndarray:
    """Mean grey levels, `[H / SIDE, W / SIDE]`."""
    width, height = (size // SIDE for size in picture.size)
    grey = picture.convert("L").crop((0, 0, width * SIDE, height * SIDE))
    return np.asarray(grey.resize([width, height], Image.Resampling.BOX), int)


def difference(picture: Image.Image, name: str) -> float:
    """Share of the squares that are not as in the README's picture."""
    with Image.open(BENCHMARKS.parent / "docs" / f"{name}.png") as known:
        assert picture.size == known.size
        return np.mean(np.abs(squares(picture) - squares(known)) > DIFFERENT)


def test_page_looks_as_in_the_readme(scripts):
    if scripts.browser_path() is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    with scripts.demo("digits") as address, scripts.sync_playwright() as playwright:
        browser = scripts.chromium(playwright)
        for name, pose in scripts.POSES.items():
            picture = scripts.take(browser.new_page(), address, pose)
            assert difference(picture, name) < 0.15, name
        browser.close()
