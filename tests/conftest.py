"""In which order the tests run, and what those of several folders share."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first: short ones at the end leave no core without work."""
    items.sort(key=lambda item: item.path.name not in SLOW)


@pytest.fixture(scope="module")
def models_loaded_once():
    """The model of a run is loaded, and so traced, once for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.models, "load_model", cache(keras.models.load_model))
        yield
