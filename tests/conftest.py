"""In which order the tests run."""

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
