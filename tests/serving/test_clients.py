"""The clients of docs/serving: each shows what the SavedModel gives."""

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

requests = pytest.importorskip("requests")
pytest.importorskip("kserve")

FOLDER = Path(__file__).parents[2] / "docs" / "serving"
PAGE = FOLDER / "fetch.html"
ORIGIN = "http://127.0.0.1:8000"  # what the page says it should be

# What the page's script finds in a browser; VALUES are what its fields hold.
BROWSER = """
const drawn = [];
const fields = Object.fromEntries(
  Object.entries(VALUES).map(([id, value]) => [id, { value }]));
fields.form = {
  addEventListener: (name, listener) => { fields.form[name] = listener; },
};
fields.message = {};
fields.samples = { replaceChildren: (...canvases) => { drawn.push(...canvases); } };
globalThis.document = {
  getElementById: (id) => fields[id],
  createElement: (name) => {
    const canvas = { name };
    canvas.getContext = () => ({
      createImageData: (width, height) => ({
        data: new Uint8ClampedArray(4 * width * height),
      }),
      putImageData: (image, x, y) => {
        Object.assign(canvas, { x, y, data: Array.from(image.data) });
      },
    });
    return canvas;
  },
};
"""
# Then somebody presses the button.
SUBMIT = """
let prevented = 0;
await fields.form.submit({ preventDefault: () => { prevented += 1; } });
console.log(JSON.stringify({ drawn, prevented, message: fields.message.textContent }));
"""


@pytest.fixture
def server(process):
    """The address of a server, without a slash at its end."""
    return f"http://127.0.0.1:{process.port}"


def run(*command, cwd):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def samples(in_process, seeds, temperature=0.7):
    """What the SavedModel itself gives for some seeds, and its log-likelihoods."""
    temperatures = np.full([len(seeds)], temperature, np.float32)
    seeds = np.array(seeds, np.int32)
    images = in_process("sample", seed=seeds, temperature=temperatures)
    return images, in_process("log_prob", images=images)


def check_printed(printed, in_process):
    found = re.findall(r"seed (\d): \((\d+), (\d+), (\d+)\), (-?[\d.]+) nats", printed)
    images, log_prob = samples(in_process, range(4))
    assert [tuple(map(int, row[:4])) for row in found] == [
        (seed, *images.shape[1:]) for seed in range(4)
    ]
    nats = [float(row[4]) for row in found]
    np.testing.assert_allclose(nats, log_prob, rtol=1e-4, atol=2e-3)
    assert len(set(nats)) == 4


def test_curl(server, in_process, tmp_path):
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed.")
    printed = run("bash", FOLDER / "curl.sh", server, "digits", cwd=tmp_path)
    answers = [
        json.loads(line) for line in printed.splitlines() if line.startswith("{")
    ]
    status, lists, log_prob = answers
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    images, expected = samples(in_process, [1])
    (second,), _ = samples(in_process, [2], 1.0)
    np.testing.assert_allclose(lists["predictions"], [images[0], second], atol=1)
    np.testing.assert_allclose(log_prob["predictions"], expected, rtol=1e-4)
    png = np.asarray(Image.open(tmp_path / "sample.png"))
    np.testing.assert_array_equal(png, np.array(lists["predictions"][0])[..., 0])


def test_requests(server, in_process, tmp_path):
    client = FOLDER / "requests_client.py"
    printed = run(sys.executable, client, server, "digits", cwd=tmp_path)
    check_printed(printed, in_process)


def test_grpc(process, in_process, tmp_path):
    client = FOLDER / "grpc_client.py"
    address = f"127.0.0.1:{process.grpc_port}"
    printed = run(sys.executable, client, address, "digits", cwd=tmp_path)
    check_printed(printed, in_process)


def run_page(tmp_path, **values):
    """What the page shows when its button is pressed."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed.")
    (script,) = re.findall("<script>(.*)</script>", PAGE.read_text("utf-8"), re.DOTALL)
    program = tmp_path / "page.mjs"
    browser = BROWSER.replace("VALUES", json.dumps(values))
    program.write_text(browser + script + SUBMIT, encoding="utf-8")
    return json.loads(run("node", program, cwd=tmp_path))


def test_page_draws_samples(server, in_process, tmp_path):
    shown = run_page(
        tmp_path, server=server, model="digits", seed="3", temperature="0.5"
    )
    images, log_prob = samples(in_process, range(3, 19), 0.5)
    assert shown["prevented"] == 1
    for canvas, image in zip(shown["drawn"], images, strict=True):
        assert canvas["name"] == "canvas"
        assert (canvas["height"], canvas["width"]) == image.shape[:2]
        pixels = np.reshape(canvas["data"], [*image.shape[:2], 4])
        np.testing.assert_array_equal(pixels[..., 3], 255)
        np.testing.assert_allclose(pixels[..., :3], np.tile(image, 3), atol=1)
    nats = re.findall(r"-?\d+\.\d", shown["message"])
    np.testing.assert_allclose([*map(float, nats)], log_prob, atol=0.1, rtol=1e-4)


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    # A page of this machine may ask this machine; ours only seems to be one.
    "--disable-features=LocalNetworkAccessChecks",
]
# What canvases show: `[H, W, 4]` of each.
CANVASES = """() => [...document.querySelectorAll("canvas")].map((canvas) => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return { shape: [height, width, 4], data: Array.from(data) };
})"""


@pytest.fixture
def open_page():
    """The page in a real browser, as if from `ORIGIN`."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.route(f"{ORIGIN}/**", lambda route: route.fulfill(path=PAGE))
        page.goto(f"{ORIGIN}/{PAGE.name}")
        yield page
        browser.close()


def test_page_in_a_browser(server, in_process, open_page):
    fields = {"Server": server, "First seed": "3", "Temperature": "0.5"}
    for name, value in fields.items():
        open_page.get_by_label(name).fill(value)
    open_page.get_by_role("button", name="Sample").click()
    open_page.wait_for_function("() => message.textContent", timeout=60_000)
    message = open_page.inner_text("#message")
    assert message.endswith(" nats")
    images, log_prob = samples(in_process, range(3, 19), 0.5)
    for canvas, image in zip(open_page.evaluate(CANVASES), images, strict=True):
        pixels = np.reshape(canvas["data"], canvas["shape"])
        np.testing.assert_array_equal(pixels[..., 3], 255)
        np.testing.assert_allclose(pixels[..., :3], np.tile(image, 3), atol=1)
    nats = re.findall(r"-?\d+\.\d", message)
    np.testing.assert_allclose([*map(float, nats)], log_prob, atol=0.1, rtol=1e-4)

    open_page.get_by_label("Model").fill("x")
    open_page.get_by_role("button", name="Sample").click()
    open_page.locator("#message").filter(has_text="There is no model 'x'").wait_for()


class NotFinite(BaseHTTPRequestHandler):
    """Answers black samples, and log-likelihoods that are not finite."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        is_sample = body["signature_name"] == "sample"
        answer = [[[0]]] if is_sample else None
        predictions = json.dumps({"predictions": [answer] * len(body["instances"])})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(predictions.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def not_finite():
    """The address of a server whose answers are `NotFinite`."""
    with HTTPServer(("127.0.0.1", 0), NotFinite) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_requests_shows_what_is_not_finite(not_finite, tmp_path):
    printed = run(
        sys.executable, FOLDER / "requests_client.py", not_finite, cwd=tmp_path
    )
    lines = [f"seed {seed}: (1, 1, 1), nan nats" for seed in range(4)]
    assert printed.splitlines() == lines


def test_page_shows_what_is_not_finite(not_finite, tmp_path):
    shown = run_page(tmp_path, server=not_finite, model="x", seed="0", temperature="1")
    assert len(shown["drawn"]) == 16
    assert shown["message"] == f"log p: {', '.join(['NaN'] * 16)} nats"


def test_page_says_what_went_wrong(server, tmp_path):
    shown = run_page(tmp_path, server=server, model="x", seed="0", temperature="1")
    assert "There is no model 'x'" in shown["message"]
    assert not shown["drawn"]


def test_page_asks_nobody_else():
    text = PAGE.read_text("utf-8")
    addresses = set(re.findall(r"(?:\w+:)?//[\w.:]+", text))
    assert addresses <= {"http://127.0.0.1:8000", "http://127.0.0.1:8501"}
    assert not re.search(r"\b(src|href)=\"(?!data:)", text)


def test_browsers_may_ask_from_the_named_place_only(server):
    url = f"{server}/v1/models/digits:predict"

    def allowed(origin):
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        before = requests.options(url, headers=asked, timeout=30)
        body = {
            "signature_name": "sample",
            "instances": [{"seed": 1, "temperature": 1}],
        }
        answer = requests.post(url, json=body, headers={"Origin": origin}, timeout=30)
        header = "Access-Control-Allow-Origin"
        assert answer.ok
        return before.ok, before.headers.get(header), answer.headers.get(header)

    assert allowed(ORIGIN) == (True, ORIGIN, ORIGIN)
    assert allowed("http://elsewhere.example") == (False, None, None)
