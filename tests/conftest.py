"""In which order the tests run, and how often Python looks for garbage."""

import gc

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


def pytest_configure() -> None:
    """Graphs are many objects that live: to look at them often takes a tenth."""
    gc.set_threshold(200_000, 10, 50)
