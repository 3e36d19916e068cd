"""The reference is built without a warning and has all that is public."""

import subprocess
import sys
from pathlib import Path

import pytest

import tfp_glow
from tfp_glow import bijectors, callbacks, data, latents, plots, pretrained

DOCS = Path(__file__).parents[1] / "docs" / "reference"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What has an entry, without the modules that it is in."""
    pytest.importorskip("sphinx", reason="needs Sphinx, of the extra `dev`")
    from sphinx.util.inventory import InventoryFile

    if not DOCS.exists():
        pytest.skip("needs a checkout")
    built = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning"]
    done = subprocess.run(
        [*command, DOCS, built], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    objects = InventoryFile.loads((built / "objects.inv").read_bytes(), uri="").data
    return {
        name.rpartition(".")[2]
        for kind, found in objects.items()
        if kind.startswith("py:")
        for name in found
    }


@pytest.mark.parametrize(
    "module", [tfp_glow, bijectors, callbacks, data, latents, plots, pretrained]
)
def test_has_every_public_name(names, module):
    public = {name for name in module.__all__ if not name.startswith("_")}
    assert public <= names
