"""What tests of the commands share."""

from functools import cache

import keras
import pytest


@pytest.fixture(scope="module")
def models_loaded_once():
    """The model of a run is loaded, and so traced, once for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.models, "load_model", cache(keras.models.load_model))
        yield
