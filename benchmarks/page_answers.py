"""How long does the page take to answer?

`tfp-glow demo --pretrained digits` and Debian's Chromium, headless, on the same cores.
Times are those of the browser's own clock: from what a slider or button sends out to
the first frame that has the new picture, with the way to the server and back.

    python benchmarks/page_answers.py
"""

import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness import FOLDER, machine, make_parser, publish, table
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

AIM_MILLISECONDS = 300
EXAMPLE = "another example"
WATCH = """(picture) => {
  const source = () => document.querySelector(`#${picture} img`)?.src;
  const before = source();
  const late = performance.now() + 20_000;
  let start;
  for (const event of ["input", "click"])
    addEventListener(event, () => start ??= performance.now(),
                     { capture: true, once: true });
  window.answered = new Promise((done, fail) => {
    const look = () => {
      if (source() !== before) done(performance.now() - start);
      else if (performance.now() > late) fail(new Error(`${picture} stays as it is`));
      else requestAnimationFrame(look);
    };
    look();
  });
}"""
"""Promises the milliseconds until a picture is another one, looking at each frame."""


@contextmanager
def demo(name: str) -> Iterator[str]:
    """The command, and where its page is."""
    command = [sys.executable, "-m", "tfp_glow.cli", "demo", "--pretrained", name]
    process = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        said = re.match(r"http\S+", process.stdout.readline())
        if said is None:
            raise RuntimeError(f"{' '.join(command)} did not say where it is.")
        yield said[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def browser_path() -> str | None:
    """Where the system's Chromium is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def chromium(playwright: Playwright) -> Browser:
    """Starts the system's browser."""
    path = browser_path()
    if path is None:
        sys.exit("Needs Chromium (on Debian: apt-get install chromium).")
    return playwright.chromium.launch(
        executable_path=path,
        args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    )


def answers(
    page: Page, picture: str, act: Callable[[int], None], count: int
) -> list[float]:
    """Milliseconds until the picture changes, of acts one after another."""
    found = []
    for number in range(count):
        page.evaluate(WATCH, picture)
        act(number)
        found.append(page.evaluate("answered"))
        time.sleep(0.2)  # as of a hand that looks
    return found[2:]


def measure(page: Page, count: int) -> dict[str, list[float]]:
    """What each tab's control takes, without the first two times."""

    def slider(name: str, *values: str) -> Callable[[int], None]:
        found = page.get_by_role("slider", name=name).filter(visible=True).first
        return lambda number: found.fill(values[number % len(values)])

    def turn_to(tab: str) -> None:
        page.get_by_role("tab", name=tab).click()

    page.locator("#change-examples button").first.wait_for()
    example = page.locator("#change-examples button")
    found = {
        "a slider of an attribute": answers(
            page, "changed", slider("8", "1", "-1", "1.5"), count
        ),
        EXAMPLE: answers(
            page, "original", lambda number: example.nth(number % 3 + 1).click(), count
        ),
    }
    turn_to("Blend")
    page.locator("#blended img").wait_for()
    found["a blend's share"] = answers(
        page, "blended", slider("Per cent", "20", "80", "50"), count
    )
    turn_to("Draw")
    page.locator("#samples img").wait_for()
    found["a temperature of 16 samples"] = answers(
        page, "samples", slider("Temperature of level 0", "1", "0.4"), count
    )
    return found


def main() -> None:
    """Opens the page, measures and prints a table."""
    arguments = make_parser(__doc__, rounds=None).parse_args()
    count = 5 if arguments.quick else 22
    with demo("digits") as address, sync_playwright() as playwright:
        browser = chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        page.goto(address)
        found = measure(page, count)
        version = browser.version
        browser.close()
    rows = [
        [name, statistics.median(times), max(times)] for name, times in found.items()
    ]
    slowest = max(worst for name, _, worst in rows if name != EXAMPLE)
    aim = [
        "slowest answer to a slider, ms",
        f"{slowest:.0f}",
        f"at most {AIM_MILLISECONDS}",
        "yes" if slowest <= AIM_MILLISECONDS else "no",
    ]
    publish(
        "page_answers",
        "\n\n".join(
            [
                table(
                    ["what moves", "median, ms", f"slowest of {count - 2}, ms"], rows
                ),
                table(["what", "measured", "aim", "reached"], [aim]),
                f"{machine()}; Chromium {version}.",
            ]
        ),
        write=arguments.write,
        readme=FOLDER / "README.md",
    )


if __name__ == "__main__":
    main()
