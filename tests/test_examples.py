"""What the README and the notebooks show runs, and shows what they say."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest

import tfp_glow

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [
    *PAGES,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "benchmarks").rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize(
    "notebook", NOTEBOOKS, ids=lambda path: path.stem
)


def test_examples_of_the_pages_run(tmp_path, monkeypatch):
    """One after the other: the guides go on with what the README has made."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    num_blocks = {}
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for block in blocks:
            exec(compile(smaller(block, page.stem), page.name, "exec"), names)
        num_blocks[page.stem] = len(blocks)
        if page.stem == "README":
            decoded = names["model"].decode(names["latents"])
            np.testing.assert_array_equal(decoded, names["images"][:8])
    assert num_blocks["README"] == 3
    assert num_blocks["training"] == 2
    assert names["losses"][-1] < 7.9
    assert num_blocks["latent_space"] == 2
    assert (tmp_path / "digits.keras").stat().st_size > 10_000
    assert (tmp_path / "exported" / "saved_model.pb").exists()
    assert (tmp_path / "published" / "model.safetensors").exists()


def check_quickstart(names: dict) -> None:
    assert names["wrong_pixels"] == 0
    history = names["history"]["bits_per_dim"]
    assert history[-1] < history[0] < 4.7
    assert names["histogram"] == pytest.approx(2.314, abs=1e-3)
    latents = names["latents"]
    assert names["kept"] == 0
    np.testing.assert_allclose(names["answer"], latents[:8], atol=1e-4)


def check_bijectors_in_tfp(names: dict) -> None:
    np.testing.assert_allclose(
        names["log_det"], np.linalg.slogdet(names["jacobian"])[1], rtol=1e-5
    )
    assert len(names["alone"]) == 8
    for error, log_prob, dense in names["alone"].values():
        assert error < 1e-4
        np.testing.assert_allclose(log_prob, dense, rtol=1e-4)
    nats = names["moons_nats"]
    assert nats["flow"] > nats["Gaussian"] + 0.2
    assert names["total"] == pytest.approx(1, abs=0.05)
    assert names["gain"].mean() > 0
    # Of the instrument's bijector: what the moons are at that height.
    seen = np.average(names["prior"][:, 1], weights=names["weights"])
    assert seen == pytest.approx(0.25, abs=0.05)

    assert names["log_evidence"] == pytest.approx(-31.311, abs=0.002)
    kl = names["kl"]
    assert 0 < kl["flow"] < 2
    assert all(chain.shape[1:] == (16, 10) for chain in names["chains"].values())
    log_tau, width = names["log_tau"], np.ptp(names["log_tau"][:2])
    mean = np.sum(names["exact"] * log_tau) * width
    variance = np.sum(names["exact"] * (log_tau - mean) ** 2) * width
    sizes = names["effective_sizes"]
    # Few draws: how far they may be off hangs on how many they are worth.
    standard_error = float(np.sqrt(variance / np.min(sizes["latent"])))
    found = np.mean(names["chains"]["latent"][..., 1])
    assert found == pytest.approx(mean, abs=max(0.2, 4 * standard_error))
    assert sizes["latent"].min() > sizes["original"].min()


def check_latent_space(names: dict) -> None:
    for path in (names["paths"]["latents, linear"], names["paths"]["pixels"]):
        np.testing.assert_array_equal(path[0], names["a"])
        np.testing.assert_array_equal(path[-1], names["b"])
    np.testing.assert_array_equal(names["grid"][0, 0], names["corners"][0])
    assert max(names["reached"]) > names["reached"][0] + 0.3
    assert names["scores"]["pixels"] > 0.9
    assert names["scores"]["latents"] > 0.7
    drawn = names["samples"]
    assert np.std(drawn["temperature 0.3"]) < np.std(drawn["temperature 1"])


def check_train_your_images(names: dict) -> None:
    assert names["process"].returncode == -signal.SIGINT
    assert "--resume run" in names["errors"]
    epochs = [int(row["epoch"]) for row in names["history"]]
    assert epochs == list(range(names["epochs"]))
    # TensorBoard has the numbers of history.csv.
    points = names["curves"]["train"]["epoch_bits_per_dim"]
    expected = [float(row["bits_per_dim"]) for row in names["history"]]
    np.testing.assert_allclose(np.transpose(points)[1], expected, rtol=1e-5)
    losses = names["losses"]
    np.testing.assert_allclose(losses["two"], losses["one"], rtol=1e-4)


def check_serve(names: dict) -> None:
    np.testing.assert_allclose(names["there"], names["here"], rtol=1e-5)
    np.testing.assert_allclose(names["over_grpc"], names["there"], rtol=1e-5)
    np.testing.assert_allclose(names["of_png"][0], names["there"][0], rtol=1e-5)
    np.testing.assert_array_equal(names["decoded"], names["images"])
    np.testing.assert_array_equal(names["picture"], names["samples"][3, ..., 0])
    assert names["refused"].status_code == 400
    assert names["states"] == {"1": "AVAILABLE", "2": "AVAILABLE"}
    assert names["server"].returncode == 0


def check_memory_and_speed(names: dict) -> None:
    assert (names["stored"] > names["rebuilt"] + 20).all()  # MB
    assert names["differences"].max() < 1e-5


def check_bits_per_dim(names: dict) -> None:
    for num_bits, bits in names["uniform_bits"].items():
        np.testing.assert_array_equal(bits, num_bits)
    np.testing.assert_allclose(names["by_hand"], names["by_model"], rtol=1e-5)
    reported = names["by_model"].mean()
    assert reported < 3

    # Dequantisation: without noise nothing is bounded, with noise 1 bounds the sum.
    in_the_middle, with_noise = np.transpose(list(names["sums"].values()))
    assert list(in_the_middle) == sorted(in_the_middle)
    assert in_the_middle[-1] > 100
    assert max(with_noise) <= 1
    assert 100 < names["claims"][0] < names["claims"][-1]
    totals = list(names["totals"].values())
    assert totals == sorted(totals)
    assert totals[0] < 0.9 * totals[-1]
    assert totals[-1] == pytest.approx(names["inside"], abs=0.005)
    assert names["inside"] < 1

    if names["found"]:
        expected = names["theirs"]["f32/bits_x"]
        np.testing.assert_allclose(names["ours"], expected, rtol=1e-6)

    at_4_bits, at_8_bits = names["bits_at"].values()
    assert at_4_bits == pytest.approx(reported, rel=1e-6)
    assert at_8_bits - at_4_bits == pytest.approx(4, abs=0.3)

    bits_with = names["bits_with"]
    assert bits_with[1.0] == pytest.approx(reported, rel=1e-6)
    assert all(bits > reported + 0.03 for t, bits in bits_with.items() if t != 1)

    bounds = list(names["bounds"].values())
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] - bounds[-1] > 0.02
    held_out = names["held_out"]
    assert held_out["num_noise_samples"] == 16
    assert held_out["bits_per_dim"] == pytest.approx(names["bounds"][16], abs=0.01)


def check_conditioning(names: dict) -> None:
    # The context is the other half, its nearest row first.
    images, completed = names["test"], names["completed"]
    np.testing.assert_array_equal(names["upper"][:, 0], images[:, 3])
    np.testing.assert_array_equal(names["upper"][:, 3], images[:, 0])
    np.testing.assert_array_equal(names["lower"][:, 3], images[:, 7])
    right, nothing, other = names["right"], names["nothing"], names["other"]
    assert right.mean() < nothing.mean() < other.mean()
    assert np.mean(right < other) > 0.8
    for sample in completed:
        np.testing.assert_array_equal(sample[:, :4], images[:10, :4])
    assert np.ptp(completed[:, :, 4:], axis=0).any(axis=(1, 2, 3)).all()


CHECKS = {
    "01_quickstart": check_quickstart,
    "02_bijectors_in_tfp": check_bijectors_in_tfp,
    "03_latent_space": check_latent_space,
    "04_train_your_images": check_train_your_images,
    "05_serve": check_serve,
    "06_memory_and_speed": check_memory_and_speed,
    "07_conditioning": check_conditioning,
    "08_bits_per_dim": check_bits_per_dim,
}
# In place of what a notebook's first cell says: small models, short trainings.
SMALL = {"num_steps": 1, "hidden_channels": 16}
PARAMETERS = {
    "01_quickstart": {"epochs": 2, "num_steps": 1, "hidden_channels": 16},
    "02_bijectors_in_tfp": {
        "num_steps": 2,
        "moons_epochs": 12,
        "tabular_epochs": 20,
        "elbo_steps": 300,
        "num_results": 60,
    },
    "03_latent_space": {"epochs": 3, **SMALL},
    "04_train_your_images": {
        "num_pictures": 200,
        "image_size": 8,
        "epochs": 3,
        "num_steps": 1,
    },
    "05_serve": {"epochs": 1, "num_steps": 1},
    "06_memory_and_speed": {
        "depths": [6],
        "batch_size": 32,
        "hidden_channels": 64,
        "num_updates": 2,
    },
    "07_conditioning": {"epochs": 12},
}
# What their other cells, and pages, say of a size, and what is taken instead: tracing
# takes most of the time.
REPLACED = {
    "README": {"num_levels=2, num_steps=4": "num_levels=1, num_steps=1"},
    "training": {"num_levels=2": "num_levels=1", "num_steps=4": "num_steps=1"},
    "latent_space": {"num_levels=2": "num_levels=1", "num_steps=4": "num_steps=1"},
    "01_quickstart": {"num_levels=2": "num_levels=1"},
    "04_train_your_images": {
        '"--num-levels", "2"': '"--num-levels", "1"',
        "num_levels=2, num_steps=1": "num_levels=1, num_steps=1",
    },
    "05_serve": {"num_levels=2": "num_levels=1"},
    "06_memory_and_speed": {"num_levels=3": "num_levels=1"},
    "07_conditioning": {"num_levels=2": "num_levels=1", "num_steps=4": "num_steps=1"},
    "08_bits_per_dim": {'"num_steps": 4': '"num_steps": 1'},
}


def smaller(source: str, stem: str) -> str:
    for old, new in REPLACED.get(stem, {}).items():
        source = source.replace(old, new)
    return source


@pytest.mark.parametrize("file", [*PAGES, *NOTEBOOKS], ids=lambda path: path.stem)
def test_what_is_replaced_is_there(file):
    text = file.read_text("utf-8").replace('\\"', '"')
    assert all(old in text for old in REPLACED.get(file.stem, {}))


def code_cells(notebook: Path) -> list[dict]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run(cell: dict, names: dict, notebook: Path) -> None:
    source = smaller("".join(cell["source"]), notebook.stem)
    exec(compile(source, notebook.name, "exec"), names)


@each_notebook
def test_notebooks_run(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(notebook.parent)  # as Jupyter does
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    if notebook.stem == "05_serve":
        pytest.importorskip("kserve", reason="needs the extra serve")
    names: dict[str, object] = {}
    first, *others = code_cells(notebook)
    run(first, names, notebook)
    parameters = PARAMETERS.get(notebook.stem, {})
    assert parameters.keys() <= names.keys()
    names |= parameters
    if "folder" in names:  # where it writes
        names["folder"] = str(tmp_path)
    for cell in others:
        run(cell, names, notebook)
    CHECKS[notebook.stem](names)


def test_without_openai_checkpoint_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    notebook = ROOT / "notebooks" / "08_bits_per_dim.ipynb"
    (cell,) = [
        c
        for c in code_cells(notebook)
        if "load_openai_checkpoint" in "".join(c["source"])
    ]
    run(cell, {"Path": Path}, notebook)
    printed = capsys.readouterr()
    assert "is not here" in printed.out
    assert printed.out.count("\n") == 1
    assert not printed.err


@each_notebook
def test_committed_outputs_show_no_error_and_no_machine(notebook):
    cells = code_cells(notebook)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    # Folders of a machine; the address of a page has more before its slash.
    roots = "home|root|tmp|usr|opt|work|Users"
    folders = rf"site-packages|(?<![\w./:])/({roots})/|\b[A-Z]:\\"
    found = re.findall(folders, notebook.read_text(encoding="utf-8"))
    assert not found
    # All of it was run, once and in order.
    counts = [cell["execution_count"] for cell in cells]
    assert counts == [*range(1, len(cells) + 1)]
    assert outputs
    assert notebook.stat().st_size < 400_000


def test_bits_per_dim_was_committed_beside_openai_glow():
    cells = code_cells(ROOT / "notebooks" / "08_bits_per_dim.ipynb")
    text = json.dumps([cell["outputs"] for cell in cells])
    assert "openai/glow: [" in text
    assert all(cell["outputs"] for cell in cells)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def links(page: Path) -> list[str]:
    """What a page links to within the project."""
    text = page.read_text("utf-8")
    if page.suffix == ".ipynb":
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"]
        text = "".join("".join(c["source"]) for c in cells)
    return re.findall(r"\]\((?!https?:)([^)\s]*)\)", text)


@pytest.mark.parametrize("page", LINKED, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page):
    found = links(page)
    assert found or page not in PAGES
    for link in found:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_readme_has_a_sentence_for_each_notebook():
    assert {f"notebooks/{file.name}" for file in NOTEBOOKS} <= set(links(PAGES[0]))


def test_readme_names_every_public_name():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [n for n in tfp_glow.__all__ if n not in text and not n.startswith("_")]
    assert not missing
