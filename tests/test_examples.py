"""What the README and the notebooks show runs, and shows what they say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import tfp_glow

ROOT = Path(__file__).parents[1]


def test_readme_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert len(blocks) == 3
    model, images = names["model"], names["images"]
    np.testing.assert_array_equal(model.decode(names["latents"]), images[:8])
    assert (tmp_path / "digits.keras").stat().st_size > 10_000
    assert (tmp_path / "exported" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_notebooks_run(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), notebook.name, "exec"), names)
    assert names["exact"]
    history = names["history"]["val_bits_per_dim"]
    assert history[-1] < history[0]


def test_readme_names_every_public_name():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [n for n in tfp_glow.__all__ if n not in text and not n.startswith("_")]
    assert not missing
