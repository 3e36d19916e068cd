"""Weights as safetensors, and checkpoints from folders, the web and Hugging Face."""

import hashlib
import json
import shutil
import sys
import tarfile
import tempfile
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

import tfp_glow as tfg
from tfp_glow.weights_file import named_variables

ARGUMENTS = {
    "event_shape": (8, 4, 3),
    "num_bits": 6,
    "num_levels": 2,
    "num_steps": 2,
    "hidden_channels": 4,
    "num_classes": 3,
    "weight_y": 0.1,
    "dequantization": "variational",
}
IMAGES = np.random.default_rng(0).integers(0, 256, [3, 8, 4, 3], np.uint8)
LABELS = np.arange(3)


def make(**arguments) -> tfg.GlowModel:
    model = tfg.GlowModel(seed=0, **ARGUMENTS | arguments)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(scale=0.1, size=variable.shape))
    return model


def check_same(model: tfg.GlowModel, other: tfg.GlowModel) -> None:
    # Tuples come back as lists.
    assert json.dumps(other.get_config()) == json.dumps(model.get_config())
    for expected, actual in zip(model.weights, other.weights, strict=True):
        assert expected.dtype == actual.dtype
        np.testing.assert_array_equal(expected, actual)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A folder that `save_pretrained` wrote, which tests read only."""
    folder = tmp_path_factory.mktemp("published") / "glow"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copied")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go, for tests to see that none is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that is on the web, and its address."""
    folder = tmp_path_factory.mktemp("site")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, *arguments):
            pass

        def send_header(self, name, value):
            if "cut" in self.path and name == "Content-Length":
                value = str(int(value) + 1000)  # more than will come
            super().send_header(name, value)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_comes_back_from_a_folder(model, saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    check_same(model, tfg.GlowModel.from_pretrained(saved))
    other = tfg.GlowModel.from_pretrained(saved / "model.safetensors")
    check_same(model, other)
    np.testing.assert_array_equal(
        *(m.log_prob(IMAGES, LABELS, seed=0) for m in (model, other))
    )


def test_networks_as_float16_are_rounded_and_nothing_else(model, saved, tmp_path):
    folder = tmp_path / "half"
    model.save_pretrained(folder, dtype="float16")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    half = {name for name, tensor in tensors.items() if tensor.dtype == np.float16}
    assert half == {name for name in tensors if "network" in name}
    saving = (saved / "model.safetensors").stat().st_size - file.stat().st_size
    assert saving > 1.9 * sum(tensors[name].size for name in half)
    other = tfg.GlowModel.from_pretrained(folder)
    assert json.dumps(other.get_config()) == json.dumps(model.get_config())
    after = named_variables(other)
    for name, before in named_variables(model).items():
        assert after[name].dtype == before.dtype
        expected = before.numpy()
        if name in half:
            expected = expected.astype(np.float16)
        np.testing.assert_array_equal(after[name], expected)


def test_what_float16_cannot_hold_is_refused(tmp_path):
    model = make()
    bias = model.glow.levels[0].stacked["network/bias_3"]
    bias.assign_add(tf.fill(bias.shape, 7e4))
    with pytest.raises(ValueError, match="at most 65504 .* 7000.* in .*network/bias_3"):
        model.save_pretrained(tmp_path / "large", dtype="float16")
    assert not (tmp_path / "large" / "model.safetensors").exists()
    with pytest.raises(ValueError, match="`dtype` must be one of .*bfloat16"):
        model.save_pretrained(tmp_path / "other", dtype="bfloat16")


def test_comes_back_from_versions_and_keras_files(model, saved, tmp_path):
    for version in ("9", "10"):
        shutil.copytree(saved, tmp_path / "versions" / version)
    (tmp_path / "versions" / "9" / "model.safetensors").write_bytes(b"an old one")
    check_same(model, tfg.GlowModel.from_pretrained(tmp_path / "versions"))
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.keras")
    (tmp_path / "run" / "config.json").write_text('{"dataset": "digits"}')
    check_same(model, tfg.GlowModel.from_pretrained(str(tmp_path / "run")))


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": None, "weight_y": None, "dequantization": "uniform"},
        {"permutation": "shuffle", "coupling": "additive", "num_steps": 5},
        {"context_shape": (8, 4, 2), "learn_top_prior": False, "dtype": "float64"},
        {"coupling": "logistic_mixture", "context_shape": (2,), "scale": "bounded"},
    ],
    ids=["plain", "shuffle", "float64", "mixture"],
)
def test_every_kind_of_model_comes_back(arguments, tmp_path):
    model = make(**arguments)
    model.save_pretrained(tmp_path)
    check_same(model, tfg.GlowModel.from_pretrained(tmp_path))


@keras.saving.register_keras_serializable(package="test_publishing")
def small_network(channels_in, channels_out):
    return keras.layers.Conv2D(channels_out, 3, padding="same")


def test_networks_of_a_user_come_back(tmp_path):
    model = tfg.GlowModel(
        (4, 4, 1), num_levels=1, num_steps=2, network_fn=small_network
    )
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1)
    model.save_pretrained(tmp_path)
    check_same(model, tfg.GlowModel.from_pretrained(tmp_path))
    model.save_pretrained(tmp_path / "half", dtype="float16")
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    half = {name for name, tensor in tensors.items() if tensor.dtype == np.float16}
    assert half == {name for name in tensors if "/networks/" in name}
    assert half


def test_names_say_where_a_variable_is(model):
    named = named_variables(model)
    assert (
        named["levels/1/act_norm/shift"]
        is model.glow.levels[1].stacked["act_norm/shift"]
    )
    last = named["split_priors/0/kernel"]
    assert last is model.glow.chain.split_priors[0].network.parameters["kernel"]
    assert set(named) > {
        "levels/0/initialized",
        "levels/0/network/kernel_1",
        "levels/0/permutation/lower",
        "top_prior/prior/bias",
        "top_prior/class_prior/kernel",
        "classifier/kernel",
        "dequantizer/network/kernel_3",
    }
    ids = {id(variable) for variable in named.values()}
    assert ids == {id(weight.value) for weight in model.weights}


def test_other_programs_read_the_file(model, saved):
    tensors = load_file(saved / "model.safetensors")
    shift = model.glow.levels[0].stacked["act_norm/shift"]
    np.testing.assert_array_equal(tensors["levels/0/act_norm/shift"], shift)
    config = json.loads((saved / "config.json").read_text())
    assert config["num_bits"] == 6


def test_who_reads_the_arguments_may_read_the_weights(saved):
    weights, config = (saved / name for name in ("model.safetensors", "config.json"))
    assert weights.stat().st_mode == config.stat().st_mode


def test_nothing_is_replaced(model, copied):
    before = sha256(copied / "model.safetensors")
    (copied / "config.json").unlink()
    with pytest.raises(FileExistsError, match="is there already"):
        make(num_steps=1).save_pretrained(copied)
    assert sha256(copied / "model.safetensors") == before
    assert not (copied / "config.json").exists()


def damage_nothing_there(folder):
    (folder / "model.safetensors").unlink()
    return FileNotFoundError, "is no published model"


def damage_cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return ValueError, "is no safetensors file, or was cut short"


def damage_no_file_of_ours(folder):
    save_file({"a": np.zeros(3)}, folder / "model.safetensors")
    return ValueError, "does not say of which model it is"


def damage_other_config_beside(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_steps": 3}))
    return ValueError, "config.json is of another model"


def damage_other_architecture(folder):
    return rewrite(
        folder, hidden_channels=8
    ), r"must be float32 \[4, 1, 1, 2, 2\], received: "


def damage_fewer_levels(folder):
    error = rewrite(folder, num_levels=1)
    return error, "levels/1/act_norm/raw_log_scale must be left out, received: float32"


def damage_later_format(folder):
    return rewrite(folder, format_version=2), "Upgrade tfp_glow"


def damage_unknown_argument(folder):
    return rewrite(folder, colour="red"), "colour"


def rewrite(folder, **arguments):
    """Gives a file's tensors the metadata of another model."""
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | arguments
    metadata = {"config": json.dumps(config)}
    save_file(tensors, folder / "model.safetensors", metadata=metadata)
    (folder / "config.json").unlink()
    return ValueError


DAMAGES = [value for key, value in globals().items() if key.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__[7:])
def test_damaged_folders(damage, copied):
    error, message = damage(copied)
    with pytest.raises(error, match=message):
        tfg.GlowModel.from_pretrained(copied)


def test_code_in_a_configuration_is_not_run(copied):
    code = keras.saving.serialize_keras_object(lambda *_: pytest.fail("was run"))
    assert code["class_name"] == "__lambda__"
    rewrite(copied, network_fn=code)
    with pytest.raises(ValueError, match="cannot be loaded.*lambda"):
        tfg.GlowModel.from_pretrained(copied)


def pack(kind: str, saved: Path, site: Path) -> Path:
    """The published folder as something that can be downloaded."""
    if kind in ("folder", "cut"):
        folder = shutil.copytree(saved, site / kind, dirs_exist_ok=True)
        return folder / "model.safetensors"
    archive = site / f"glow.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for name in ("config.json", "model.safetensors"):
                opened.write(saved / name, f"../../deep/{name}")
            opened.writestr("../outside.txt", "not to be written")
        return archive
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(saved, "glow/1")
        opened.add(saved / "config.json", "model.safetensors/config.json")
    return archive


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_comes_back_from_the_web(kind, model, saved, site, temporary):
    folder, address = site
    file = pack(kind, saved, folder)
    url = f"{address}/{file.name}" if kind != "folder" else f"{address}/folder/"
    check_same(model, tfg.GlowModel.from_pretrained(f"{url}#sha256={sha256(file)}"))
    check_same(model, tfg.GlowModel.from_pretrained(url, sha256=sha256(file).upper()))
    assert not list(temporary.iterdir())
    assert not (temporary.parent / "outside.txt").exists()


def test_what_the_web_may_do_wrong(saved, site, temporary):
    folder, address = site
    file = pack("folder", saved, folder)
    pack("cut", saved, folder)
    (folder / "text.zip").write_text("no archive")
    with zipfile.ZipFile(folder / "other.zip", "w") as opened:
        opened.writestr("letter.txt", "Dear")
    right = sha256(file)
    for path, checksum, error, message in [
        ("folder", None, ValueError, "needs a checksum"),
        ("folder#sha256=12", None, ValueError, "needs a checksum"),
        ("folder", "0" * 64, ValueError, f"must be {'0' * 64}. Received: {right}"),
        ("nothing", right, OSError, "could not be downloaded: HTTP Error 404"),
        ("cut", right, OSError, "was cut short"),
        ("text.zip", sha256(folder / "text.zip"), ValueError, "is no archive"),
        ("other.zip", sha256(folder / "other.zip"), ValueError, "must hold model.safe"),
    ]:
        with pytest.raises(error, match=message):
            tfg.GlowModel.from_pretrained(f"{address}/{path}", sha256=checksum)
        assert not list(temporary.iterdir()), path


def test_checksum_of_a_folder(model, saved):
    checksum = sha256(saved / "model.safetensors")
    check_same(model, tfg.GlowModel.from_pretrained(saved, sha256=checksum))
    with pytest.raises(ValueError, match="is not the file that was meant"):
        tfg.GlowModel.from_pretrained(saved, sha256="0" * 64)


class FakeHub:
    """What of `huggingface_hub` is used, with repositories in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = []

    def module(self) -> SimpleNamespace:
        return SimpleNamespace(
            HfApi=lambda token=None: self, hf_hub_download=self.download
        )

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        self.calls.append(("create", repo_id, private))
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, *, repo_id, folder_path, commit_message=None):
        self.calls.append(("upload", repo_id, commit_message))
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)

    def download(self, repo_id, filename, *, revision):
        self.calls.append(("download", repo_id, revision))
        file = self.folder / repo_id / filename
        if not file.exists():
            raise OSError("404 Client Error: Repository Not Found")
        return str(file)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub.module())
    return hub


def test_goes_to_hugging_face_and_comes_back(model, hub, temporary):
    assert model.push_to_hub("ada/glow") == "https://huggingface.co/ada/glow"
    pushed = hub.folder / "ada" / "glow"
    assert sorted(path.name for path in pushed.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert (pushed / "README.md").read_text().startswith("---\nlibrary_name")
    check_same(model, tfg.GlowModel.from_pretrained("ada/glow", revision="v1"))
    assert hub.calls[-1] == ("download", "ada/glow", "v1")
    assert not list(temporary.iterdir())


def test_an_exported_version_goes_along(model, saved, hub, tmp_path):
    version = tmp_path / "glow" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"graph")
    (version / "MODEL_CARD.md").write_text("# Mine\n")
    make(num_steps=1).save_pretrained(version)  # of another model: the own go last
    model.push_to_hub("ada/glow", folder=version, private=True)
    assert hub.calls[0] == ("create", "ada/glow", True)
    pushed = hub.folder / "ada" / "glow"
    assert (pushed / "README.md").read_text() == "# Mine\n"
    assert (pushed / "saved_model.pb").exists()
    check_same(model, tfg.GlowModel.from_pretrained("ada/glow"))


def test_what_is_not_there(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="no folder ada/none, and Hugging Face gives no"):
        tfg.GlowModel.from_pretrained("ada/none")
    for source in ("none", "./ada/none", "/ada/none", "ada/none/1"):
        with pytest.raises(FileNotFoundError, match="There is no"):
            tfg.GlowModel.from_pretrained(source)


def test_without_huggingface_hub_a_message_says_how_to_get_it(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    command = r'pip install "tfp-glow\[hub\]"'
    with pytest.raises(ImportError, match=command):
        tfg.GlowModel.from_pretrained("ada/glow")
    with pytest.raises(ImportError, match=command):
        model.push_to_hub("ada/glow")
