"""Who reaches the page reaches no file of this computer, and leaves none here."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio", reason="needs Gradio, of the extra `demo`")

from starlette.testclient import TestClient  # noqa: E402
from studios import make_directions, make_studio  # noqa: E402

from tfp_glow.demo.server import make_server  # noqa: E402

SECRET = b"what nobody else is to read"


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    """The folder of uploads."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def client(uploads):
    """A client of a page in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        studio = make_studio(directions=make_directions())
        with TestClient(make_server(studio).config.app) as client:
            yield client


@pytest.fixture
def functions(client):
    """What can be called, by its name."""
    functions = client.get("/config").json()["dependencies"]
    return {function["api_name"]: function for function in functions}


def call(client, function, data):
    """What the queue answers at last, as text."""
    body = {"data": data, "fn_index": function["id"], "session_hash": "session"}
    assert client.post("/gradio_api/queue/join", json=body).is_success
    messages = client.get("/gradio_api/queue/data?session_hash=session").text
    (last,) = [line for line in messages.split("\n") if "process_completed" in line]
    return last


def named(path):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def upload(client, name, content):
    response = client.post("/gradio_api/upload", files={"files": (name, content)})
    (path,) = response.json()
    return path


def contents(uploads):
    """Of files that are not empty."""
    found = [path.read_bytes() for path in uploads.rglob("*") if path.is_file()]
    return [content for content in found if content]


@pytest.mark.parametrize("nested", [False, True])
def test_other_paths_are_refused_by_every_input(
    client, functions, uploads, tmp_path, nested
):
    foreign = tmp_path / "foreign.png"
    Image.new("L", (8, 8), 77).save(foreign)
    value = [named(foreign)] if nested else named(foreign)
    assert {"read", "read_1", "change", "blend", "draw"} < functions.keys()
    for function in functions.values():
        for place in range(len(function["inputs"])):
            data = [None] * len(function["inputs"])
            data[place] = value
            assert str(uploads) not in call(client, function, data)
            assert contents(uploads) == []
    assert foreign.is_file()


def test_other_paths_are_no_uploads(client, functions, uploads, tmp_path):
    foreign = tmp_path / "foreign.png"
    Image.new("L", (8, 8), 77).save(foreign)
    around = uploads / ".." / tmp_path.name / foreign.name
    assert around.read_bytes() == foreign.read_bytes()
    for path in (foreign, around):
        answer = call(client, functions["read"], [named(path), None])
        assert '"success":false' in answer
    assert foreign.is_file()


@pytest.mark.parametrize("route", ["file=", "file/", "proxy="])
def test_nothing_is_fetched(client, uploads, tmp_path, route):
    (tmp_path / "foreign").write_bytes(SECRET)
    uploaded = upload(client, "mine.txt", SECRET)
    for path in (uploaded, tmp_path / "foreign", "https://example.com/"):
        response = client.get(f"/gradio_api/{route}{path}")
        assert (response.status_code, response.content) == (404, b"")
    Path(uploaded).unlink()


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff", "PNG"]
)
def test_one_picture_is_read_for_all_who_upload_it(client, functions, name):
    values = np.random.default_rng(0).integers(0, 256, [8, 8], np.uint8)
    file = BytesIO()
    kind = name.rpartition(".")[2].upper().replace("JPG", "JPEG")
    Image.fromarray(values).save(file, kind)
    paths = [upload(client, name, file.getvalue()) for _ in range(2)]
    for path in paths:
        assert '"success":true' in call(client, functions["read"], [named(path), None])


def test_what_is_no_picture_is_refused(client, functions):
    path = upload(client, "text.txt", b"hello")
    answer = call(client, functions["read"], [named(path), None])
    assert "This file is no picture that can be read here" in answer


def test_what_has_been_swept_is_to_be_chosen_again(client, functions):
    path = upload(client, "text.txt", b"swept")
    Path(path).unlink()
    answer = call(client, functions["read"], [named(path), None])
    assert "Choose it again" in answer


def test_uploads_are_swept(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with TestClient(make_server(make_studio()).config.app) as client:
        upload(client, "a.png", SECRET)
        assert contents(tmp_path) == [SECRET]
    # Gradio's sweeper, where there is one, takes all of them at its end.
    assert contents(tmp_path) == []
