"""A tiny exported model, and servers of it inside the tests' process."""

from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg


def make_model(**arguments) -> tfg.GlowModel:
    """A model whose answers differ from image to image."""
    model = tfg.GlowModel(
        (8, 8, 1), num_levels=1, num_steps=1, hidden_channels=8, seed=0, **arguments
    )
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, [8, 8, 8, 1], np.uint8)
    tfg.initialize(model.distribution, tfg.dequantize(images, seed=0))
    for variable in model.trainable_variables:
        noise = rng.normal(0, 0.05, variable.shape).astype("float32")
        variable.assign(variable + noise)
    return model


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    """The SavedModel of a model without classes."""
    folder = tmp_path_factory.mktemp("exported") / "glow"
    model = make_model()
    model.export(folder)
    return folder


@pytest.fixture(scope="session")
def exported_with_classes(tmp_path_factory) -> Path:
    """The SavedModel of a model with three classes and a context."""
    folder = tmp_path_factory.mktemp("exported") / "glow"
    model = tfg.GlowModel(
        (4, 4, 3),
        num_levels=1,
        num_steps=1,
        hidden_channels=4,
        num_classes=3,
        context_shape=[2],
        seed=0,
    )
    model.export(folder)
    return folder


@pytest.fixture(scope="session")
def in_process(exported):
    """Signatures of the model, called without any server."""
    loaded = tf.saved_model.load(str(exported))

    def call(name, **inputs):
        (output,) = loaded.signatures[name](
            **{key: tf.constant(value) for key, value in inputs.items()}
        ).values()
        return output.numpy()

    return call


@pytest.fixture
def models(exported, tmp_path) -> Path:
    """A folder of models, with version 1 of `digits`."""
    copytree(exported, tmp_path / "models" / "digits" / "1")
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def load_once(monkeypatch):
    """A SavedModel that was loaded for one test serves the next one, too."""
    from tfp_glow.serving import repository
    from tfp_glow.serving.served_model import ServedModel

    monkeypatch.setattr(
        repository, "ServedModel", lambda path: _load(ServedModel, path)
    )


_loaded = {}


def _load(kind, path):
    key = (path / "saved_model.pb").read_bytes(), kind
    variables = path / "variables" / "variables.data-00000-of-00001"
    key += (variables.read_bytes(),)
    if key not in _loaded:
        _loaded[key] = kind(path)
        _loaded[key].warm_up([2])
        _loaded[key].warm_up = lambda sizes: None
    return _loaded[key]


@dataclass
class Server:
    """A server in this process."""

    client: object  # httpx.AsyncClient
    state: object
    data_plane: object

    async def predict(self, body, model="digits", status=200):
        """Posts a body to `:predict`."""
        response = await self.client.post(f"/v1/models/{model}:predict", json=body)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture
def serve(monkeypatch):
    """Makes a server of a folder: `async with serve(folder) as server`."""
    import httpx
    from fastapi import FastAPI
    from kserve import model_server

    from tfp_glow.serving.folder import ModelFolder
    from tfp_glow.serving.limits import Limits
    from tfp_glow.serving.repository import Repository
    from tfp_glow.serving.rest import GlowDataPlane, make_application
    from tfp_glow.serving.server_state import ServerState

    @asynccontextmanager
    async def start(folder, *, origins=(), num_versions=2, **limits):
        # KServe has one application in a process; each server here has its own.
        monkeypatch.setattr(model_server, "app", FastAPI(docs_url=None))
        limits = Limits(**limits)
        repository = Repository(ModelFolder(folder), limits, num_versions=num_versions)
        state = ServerState(repository, limits)
        data_plane = GlowDataPlane(repository)
        app = make_application(state, data_plane, origins)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x"
        ) as client:
            await repository.load_all()
            try:
                yield Server(client, state, data_plane)
            finally:
                await repository.close()

    return start


@pytest.fixture(scope="session")
def images():
    """Images that the models have never seen, `[6, 8, 8, 1]`."""
    return np.random.default_rng(2).integers(0, 256, [6, 8, 8, 1], np.uint8)


ORIGIN = "http://127.0.0.1:8000"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "serving"


@pytest.fixture(scope="session")
def scripts():
    """Imports a module of benchmarks/serving by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield import_module


@pytest.fixture(scope="session")
def process(exported, scripts, tmp_path_factory):
    """A server in a process of its own, for tests that leave it as it was.

    It has an attribute `grpc_port` besides; pages of `ORIGIN` may ask it.
    """
    pytest.importorskip("kserve")
    folder = tmp_path_factory.mktemp("models")
    copytree(exported, folder / "digits" / "1")
    servers = scripts("server_process")
    grpc_port = servers.free_port()
    options = [f"--grpc-port={grpc_port}", f"--allow-origin={ORIGIN}"]
    with servers.serve(folder, *options) as server:
        server.folder, server.grpc_port = folder, grpc_port
        yield server
