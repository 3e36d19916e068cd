"""Modules that only some need, which an extra of the package installs."""

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str, purpose: str, *, extra: str = "data") -> ModuleType:
    """Imports a module of an extra, which only some need.

    Args:
        module: Full name of the module.
        purpose: What needs it, as the subject of a sentence.
        extra: The extra of this package that installs it.

    Raises:
        ImportError: If it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs `{module}`, which cannot be imported ({error}). "
            f'Install it with: pip install "tfp-glow[{extra}]"'
        ) from error
