"""In which order, and together, the tests run; what those of several folders share."""

from functools import cache

import keras
import pytest

SLOW = [
    "test_strategy.py",
    "test_distribute.py",
    "test_resume.py",
    "test_presets.py",
    "test_examples.py",
    "test_packaging.py",
]
TOGETHER = ["latents", "serving"]
"""Folders whose files share models."""


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Long tests come first: short ones at the end leave no core without work.

    Of several processes one runs all of a file: what its tests share is made once.
    """
    items.sort(key=lambda item: item.path.name not in SLOW)
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        folder = item.path.parent
        path = folder if folder.name in TOGETHER else item.path
        item.add_marker(pytest.mark.xdist_group(str(path)))


@pytest.fixture(scope="module")
def models_loaded_once():
    """The model of a run is loaded, and so traced, once for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.models, "load_model", cache(keras.models.load_model))
        yield
