"""Takes the README's pictures of the page anew: `docs/demo.png`, `docs/demo_phone.png`.

    python benchmarks/page_pictures.py

`tests/demo/test_readme_pictures.py` compares them with the page as it is.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from page_answers import browser_path, chromium, demo
from PIL import Image
from playwright.sync_api import Page, sync_playwright

__all__ = ["POSES", "browser_path", "chromium", "demo", "sync_playwright", "take"]

DOCS = Path(__file__).parents[1] / "docs"
NUM_COLOURS = 128


@dataclass(frozen=True)
class Pose:
    """What the page of the digits shows, on a screen of a size."""

    width: int
    height: int
    example: int
    attribute: str
    alpha: float
    is_scrolled: bool = False  # down to the sliders


POSES = {
    "demo": Pose(1240, 720, example=9, attribute="8", alpha=1.5),
    "demo_phone": Pose(390, 740, example=4, attribute="0", alpha=1.0, is_scrolled=True),
}


def take(page: Page, address: str, pose: Pose) -> Image.Image:
    """Opens the page at an address and takes its picture."""
    page.set_viewport_size({"width": pose.width, "height": pose.height})
    page.goto(address)

    def act(picture: str, control: str, value: str | None = None) -> None:
        """Uses a control, and waits for another picture."""
        find = f"document.querySelector('#{picture} img').src"
        before = page.evaluate(find)
        if value is None:
            page.locator(control).click()
        else:
            page.get_by_role("slider", name=control).first.fill(value)
        page.wait_for_function(f"before => {find} !== before", arg=before)

    page.locator("#change-examples button").first.wait_for()
    act("original", f"#change-examples button >> nth={pose.example}")
    act("changed", pose.attribute, f"{pose.alpha:g}")
    if pose.is_scrolled:
        page.get_by_role("slider", name="0").first.evaluate(
            "e => scrollBy(0, e.getBoundingClientRect().top - innerHeight / 3)"
        )
    page.wait_for_timeout(1000)  # what fades
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def main() -> None:
    """Takes the pictures and writes them."""
    with demo("digits") as address, sync_playwright() as playwright:
        browser = chromium(playwright)
        for name, pose in POSES.items():
            picture = take(browser.new_page(), address, pose)
            file = DOCS / f"{name}.png"
            picture.quantize(NUM_COLOURS).save(file, optimize=True)
            print(file)
        browser.close()


if __name__ == "__main__":
    main()
