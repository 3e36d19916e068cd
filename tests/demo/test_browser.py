"""The page in a real browser: what it shows is what the model makes, and no more.

Chromium is the system's own, driven by Playwright. What is far too slow or differs by
fonts is not looked at: a layout is right if nothing overlaps or sticks out.
"""

import base64
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio", reason="needs Gradio, of the extra `demo`")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")

from studios import NAMES, make_directions, make_studio, write_black  # noqa: E402

from tfp_glow.cli.listening import listening_socket  # noqa: E402
from tfp_glow.demo.server import make_server  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (on Debian: apt-get install chromium)"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TABS = ("Change", "Blend", "Draw")


@dataclass
class Shown:
    """A page that is open, what it asked for, and what its console said."""

    page: object
    studio: object
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def picture(self, name: str) -> np.ndarray:
        """The pixels of a picture, `[H, W, C]`."""
        source = self.page.get_attribute(f"#{name} img", "src")
        content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]

    def shows(self, name: str, expected: np.ndarray) -> None:
        """Waits until a picture is the one that is expected.

        A minute, where it takes a tenth of a second: what answers runs in this process,
        and the machine may have other tests to do.
        """
        for _ in range(1200):
            if np.array_equal(self.picture(name), expected):
                return
            self.page.wait_for_timeout(50)
        sliders = self.page.get_by_role("slider").filter(visible=True).all()
        values = [slider.input_value() for slider in sliders]
        message = f"sliders at {values}; the console said {self.complaints}"
        np.testing.assert_array_equal(self.picture(name), expected, message)

    def tab(self, name: str) -> None:
        """Turns to a tab."""
        tab = self.page.get_by_role("tab", name=name)
        tab.click()
        sync_api.expect(tab).to_have_attribute("aria-selected", "true", timeout=60_000)

    def slider(self, name: str):
        """The slider of a name, in the tab that is open."""
        return self.page.get_by_role("slider", name=name).filter(visible=True)

    def says(self, text: str) -> None:
        """Waits until a message is there, and closes it."""
        message = self.page.locator(".toast-body").filter(has_text=text)
        sync_api.expect(message).to_be_visible(timeout=10_000)
        self.page.locator(".toast-close").click()
        sync_api.expect(message).to_be_hidden()


@contextmanager
def serving(studio) -> Iterator[str]:
    """A server in this process: its address."""
    with listening_socket("127.0.0.1", 0) as sock:
        server = make_server(studio)
        thread = threading.Thread(target=server.run, args=[[sock]])
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def studio():
    return make_studio(directions=make_directions())


@pytest.fixture(scope="module")
def address(studio, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        uploads = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        with serving(studio) as address:
            yield address
        left = [path for path in uploads.rglob("*") if path.is_file()]
        assert [path for path in left if path.stat().st_size] == []


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, studio, viewport=DESKTOP) -> Iterator[Shown]:
    """A new page, when all of it is there."""
    with browser.new_page(viewport=viewport) as page:
        shown = Shown(page, studio)
        page.on("request", lambda request: shown.requests.append(request.url))
        page.on("console", lambda message: shown.complaints.append(message.text))
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        page.goto(address)
        page.get_by_role("tab", name="Change").wait_for()
        page.locator("#change-examples button").first.wait_for()
        yield shown


@pytest.fixture(scope="module")
def desktop(browser, address, studio):
    with opened(browser, address, studio) as shown:
        yield shown


@pytest.fixture(scope="module")
def phone(browser, address, studio):
    with opened(browser, address, studio, PHONE) as shown:
        yield shown


@pytest.fixture
def shown(desktop):
    """The page on a desktop, as it begins: with the third example, unchanged."""
    desktop.tab("Change")
    for number in (1, 2):  # after a change one can tell that the answer is there
        desktop.page.locator(f"#change-examples [value='{number}']").click()
        desktop.shows("changed", desktop.studio.examples[number])
    return desktop


def test_slider_shows_what_decode_gives(shown):
    studio = shown.studio
    image = studio.examples[2]
    np.testing.assert_array_equal(shown.picture("original"), image)
    shown.slider(NAMES[0]).fill("0.5")
    shown.slider(NAMES[1]).fill("-1.5")
    z = studio.model.encode(image[np.newaxis])
    z = z + 0.5 * studio.directions[NAMES[0]] - 1.5 * studio.directions[NAMES[1]]
    expected = studio.model.decode(z).numpy()[0]
    assert (expected != image).any()
    shown.shows("changed", expected)
    description = shown.page.get_attribute("#changed img", "alt")
    assert description == "Your picture, changed: round +0.5, slanted -1.5"

    shown.page.get_by_role("button", name="Undo all changes").click()
    shown.shows("changed", image)
    assert shown.slider(NAMES[0]).input_value() == "0"


def test_levels_change_alone(shown):
    studio = shown.studio
    shown.slider(NAMES[0]).fill("1")
    shown.page.get_by_label("level 0").filter(visible=True).uncheck()
    z = studio.encode(studio.examples[2])
    shown.shows("changed", studio.change(z, {NAMES[0]: 1.0}, [1]))
    shown.page.get_by_label("level 1").filter(visible=True).uncheck()
    shown.shows("changed", studio.examples[2])
    description = shown.page.get_attribute("#changed img", "alt")
    assert description == "Your picture, changed: nothing yet"
    for level in (0, 1):
        shown.page.get_by_label(f"level {level}").filter(visible=True).check()
    shown.shows("changed", studio.change(z, {NAMES[0]: 1.0}))


def test_undo_ticks_all_levels(shown):
    for level in (0, 1):
        shown.page.get_by_label(f"level {level}").filter(visible=True).uncheck()
    shown.page.get_by_role("button", name="Undo all changes").click()
    for level in (0, 1):
        box = shown.page.get_by_label(f"level {level}").filter(visible=True)
        sync_api.expect(box).to_be_checked()


def test_upload(shown, tmp_path):
    studio = shown.studio
    image = np.random.default_rng(5).integers(0, 256, (8, 8), np.uint8)
    file = tmp_path / "mine.png"
    Image.fromarray(image).save(file)
    shown.page.set_input_files("#change-upload input, input[type=file]", file)
    shown.shows("original", image[..., np.newaxis])
    shown.shows("changed", image[..., np.newaxis])
    text = shown.page.inner_text("#bits")
    assert text == studio.say_bits(image[..., np.newaxis]).replace("**", "")


def test_files_that_are_no_pictures(shown, tmp_path):
    before = shown.picture("original")
    bomb = tmp_path / "bomb.png"
    write_black(bomb, 20_000)
    files = {"text.png": b"hello", "text.txt": b"hello", "huge.png": bytes(21 * 2**20)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name, message in {
        "text.png": "no picture that can be read here",
        "text.txt": "Invalid file type",
        "huge.png": "exceed the maximum allowed size",
        "bomb.png": "at most 50 million pixels",
    }.items():
        shown.page.set_input_files("input[type=file] >> nth=0", tmp_path / name)
        shown.says(message)
    np.testing.assert_array_equal(shown.picture("original"), before)


def test_transparent_picture(shown, tmp_path):
    Image.new("RGBA", (8, 8)).save(tmp_path / "clear.png")
    shown.page.set_input_files("input[type=file] >> nth=0", tmp_path / "clear.png")
    shown.says("What is transparent became white")
    shown.shows("original", np.full([8, 8, 1], 255, np.uint8))


def test_blend(shown):
    studio = shown.studio
    shown.tab("Blend")
    a, b = studio.examples[[2, 1]]
    shown.page.locator("#blend-examples").get_by_label("Example 2: 1").click()
    shown.shows("other", b)
    for weight in (50, 30):  # the first waits for what the click brings
        shown.slider("Per cent").fill(f"{weight}")
        shown.shows("blended", studio.blend(a, b, weight / 100))
    np.testing.assert_array_equal(shown.picture("one"), a)


def test_draw(shown):
    studio = shown.studio
    shown.tab("Draw")
    np.testing.assert_array_equal(shown.picture("samples"), studio.draw([0.7, 0.7], 0))
    shown.page.get_by_role("button", name="Draw others").click()
    shown.shows("samples", studio.draw([0.7, 0.7], 1))
    shown.slider("Temperature of level 0").fill("0.2")
    shown.shows("samples", studio.draw([0.2, 0.7], 1))
    shown.slider("Temperature").first.fill("1")
    shown.shows("samples", studio.draw([1.0, 1.0], 1))


def test_keyboard_reaches_and_moves_everything(shown):
    page, studio = shown.page, shown.studio
    everything = page.evaluate(CONTROLS)
    assert len(everything) >= 3 + 3 + 1 + 2 * len(NAMES) + 2 + 1
    page.locator("body").click(position={"x": 1, "y": 1})
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(2 * len(everything)):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.number"))
    assert reached >= set(everything)

    shown.slider(NAMES[0]).focus()
    page.keyboard.press("ArrowRight")
    assert shown.slider(NAMES[0]).input_value() == "0.05"
    z = studio.encode(studio.examples[2])
    shown.shows("changed", studio.change(z, {NAMES[0]: 0.05}))
    page.get_by_role("button", name="Example 1").first.focus()
    page.keyboard.press("Enter")
    shown.shows("original", studio.examples[0])


CONTROLS = """() => {
  const controls = [...document.querySelectorAll("button, input, select, textarea, a")]
    .filter((e) => e.checkVisibility({ visibilityProperty: true }) && e.tabIndex >= 0);
  controls.forEach((e, number) => (e.dataset.number = number));
  return controls.map((e) => e.dataset.number);
}"""
"""Numbers what can be used, and returns the numbers."""


@pytest.mark.parametrize("tab", TABS)
def test_everything_has_a_name(shown, tab):
    shown.tab(tab)
    tree = shown.page.context.new_cdp_session(shown.page).send(
        "Accessibility.getFullAXTree"
    )
    roles = {"button", "checkbox", "combobox", "image", "slider", "spinbutton", "tab"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree["nodes"]
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {"slider", "image", "button"} <= {role for role, _ in found}
    assert [role for role, name in found if not name.strip()] == []


LAYOUT = """() => {
  const seen = [...document.querySelectorAll(
    "h1, h3, p, [role=tab], figure, .thumbnails button, label, input, .lg"
  )].filter((e) => e.checkVisibility({ visibilityProperty: true })
    && e.getBoundingClientRect().width > 1);
  const boxes = seen.map((e) => e.getBoundingClientRect());
  const name = (e) => `${e.tagName} ${e.ariaLabel || e.innerText || e.id}`.slice(0, 50);
  const bad = [];
  seen.forEach((e, i) => {
    const a = boxes[i];
    if (a.left < 0 || a.right > innerWidth + 0.5) bad.push(`${name(e)} sticks out`);
    seen.slice(i + 1).forEach((f, j) => {
      const b = boxes[i + 1 + j];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1 && !e.contains(f) && !f.contains(e))
        bad.push(`${name(e)} overlaps ${name(f)}`);
    });
  });
  if (document.documentElement.scrollWidth > innerWidth) bad.push("scrolls sideways");
  return bad;
}"""
"""What sticks out of the page, or lies on something else."""


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_nothing_overlaps_or_sticks_out(request, device, tab):
    shown = request.getfixturevalue(device)
    shown.tab(tab)
    assert shown.page.evaluate(LAYOUT) == []


def boxes(shown, *names):
    return [shown.page.locator(f"#{name}").bounding_box() for name in names]


def test_columns_on_a_desktop_and_one_column_on_a_phone(desktop, phone):
    for shown, side_by_side in [(desktop, True), (phone, False)]:
        shown.tab("Change")
        original, changed = boxes(shown, "original", "changed")
        slider = shown.slider(NAMES[0]).bounding_box()
        assert original["y"] == changed["y"]
        assert original["x"] + original["width"] <= changed["x"]
        assert (slider["x"] > changed["x"] + changed["width"]) == side_by_side
        assert (slider["y"] > changed["y"] + changed["height"]) != side_by_side


def test_all_tabs_are_equally_wide(browser, address, studio):
    with opened(browser, address, studio, {"width": 1000, "height": 900}) as shown:
        places = []
        for tab in TABS:
            shown.tab(tab)
            box = shown.page.locator(".sides").filter(visible=True).bounding_box()
            places.append((box["x"], box["width"]))
    assert places == places[:1] * 3


def test_pictures_stay_in_sight_on_a_phone(phone):
    phone.tab("Change")
    phone.page.evaluate("scrollTo(0, 1e6)")
    (changed,) = boxes(phone, "changed")
    assert changed["y"] >= 0
    assert phone.page.evaluate("scrollY") > 100
    assert changed["y"] + changed["height"] < PHONE["height"] / 2
    phone.page.evaluate("scrollTo(0, 0)")


def test_screenshot_has_the_pixels_of_the_picture(shown):
    """Large, square and sharp: what is on the screen is the image, cell by cell."""
    image = shown.studio.examples[2]
    content = shown.page.locator("#original img").screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    side = len(pixels) / 8
    assert side > 20
    middles = ((np.arange(8) + 0.5) * side).astype(int)
    np.testing.assert_allclose(pixels[np.ix_(middles, middles)], image[..., 0], atol=2)


def test_asks_nobody_else_and_complains_of_nothing(shown, phone, address):
    for page in (shown, phone):
        assert len(page.requests) > 10
        outside = [
            url
            for url in page.requests
            if not url.startswith((address, "data:", "blob:"))
        ]
        assert outside == []
        assert page.complaints == []
    response = shown.page.request.get(address)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


@pytest.fixture(scope="module")
def in_colour(browser):
    """The page of a class-conditional model of one level, without attributes."""
    studio = make_studio((16, 16, 3), num_classes=3, num_levels=1)
    with serving(studio) as address, opened(browser, address, studio, PHONE) as shown:
        yield shown


def test_classes(in_colour):
    studio = in_colour.studio
    in_colour.page.locator("#change-examples [value='1']").click()
    in_colour.shows("changed", studio.examples[1])
    in_colour.page.get_by_label("Class").filter(visible=True).click()
    in_colour.page.get_by_role("option", name="2").click()
    bits = studio.say_bits(studio.examples[1], 2).replace("**", "")
    sync_api.expect(in_colour.page.locator("#bits")).to_have_text(bits)
    assert bits != studio.say_bits(studio.examples[1], 1).replace("**", "")
    assert "tfp-glow attributes RUN" in in_colour.page.inner_text("body")


def test_blend_of_two_classes_and_drawings_of_one(in_colour):
    studio = in_colour.studio
    in_colour.tab("Change")
    in_colour.page.locator("#change-examples [value='2']").click()
    in_colour.shows("original", studio.examples[2])
    in_colour.tab("Blend")
    in_colour.page.locator("#blend-examples [value='1']").click()
    for weight in (50, 80):  # the first waits for what the click brings
        in_colour.slider("Per cent").fill(f"{weight}")
        pair = studio.examples[[2, 1]]
        blended = studio.blend(*pair, weight / 100, labels=(0, 1))
        in_colour.shows("blended", blended)
    in_colour.tab("Draw")
    in_colour.slider("Temperature").fill("1")
    in_colour.shows("samples", studio.draw([1.0], 0, 0))
    in_colour.page.get_by_label("Class").filter(visible=True).click()
    in_colour.page.get_by_role("option", name="2").click()
    in_colour.shows("samples", studio.draw([1.0], 0, 2))


def test_nothing_overlaps_in_colour(in_colour):
    for tab in TABS:
        in_colour.tab(tab)
        assert in_colour.page.evaluate(LAYOUT) == []
    assert in_colour.complaints == []
