"""The reference is built without a warning and has all that is public."""

import html
import re
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from urllib.parse import unquote

import pytest

import tfp_glow
from tfp_glow import bijectors, callbacks, data, latents, plots, pretrained

DOCS = Path(__file__).parents[1] / "docs" / "reference"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the pages."""
    build = pytest.importorskip(
        "sphinx.cmd.build", reason="needs Sphinx, of the extra `dev`"
    )
    if not DOCS.exists():
        pytest.skip("needs a checkout")
    built = tmp_path_factory.mktemp("reference")
    options = ["--quiet", "--fail-on-warning"]
    with redirect_stderr(StringIO()) as said:
        status = build.build_main([*options, str(DOCS), str(built)])
    assert status == 0, said.getvalue()
    return built


@pytest.fixture(scope="module")
def names(built):
    """What has an entry, without the modules that it is in."""
    from sphinx.util.inventory import InventoryFile

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


def test_links_lead_somewhere(built):
    pages = {file: file.read_text("utf-8") for file in built.rglob("*.html")}
    parts = {
        file: set(re.findall(r'\bid="([^"]+)"', text)) for file, text in pages.items()
    }
    count = 0
    for page, text in pages.items():
        for link in re.findall(r'<a [^>]*href="([^"]+)"', text):
            if re.match(r"\w+:", link):
                continue
            path, _, part = html.unescape(link).partition("#")
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.is_file(), f"{page.name}: {link}"
            assert not part or part in parts[target], f"{page.name}: {link}"
            count += 1
    assert count > 500
