"""Imports TensorFlow, Keras and TFP, if nobody has, faster than they import themselves.

They make a million objects that live as long as the process. The garbage collector
would look at all of them again and again, and whenever a graph is traced: it rests
meanwhile, and they are frozen. And Keras imports scikit-learn and matplotlib, to wrap
them for the few who want that: its wrappers run once one of them is asked for.
"""

import gc
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_WRAPPERS = {
    "keras.src.visualization.plot_image_gallery",  # imports matplotlib.pyplot
    "keras.visualization",  # imports what the one above has
    "keras.wrappers",  # imports sklearn
}


class _Waiting(ModuleType):
    """A module that runs once it is asked for an attribute that it does not have.

    Those of the import system it has: AutoGraph and `inspect` ask every module for its
    `__file__`, which would end the wait of a module of `LazyLoader`'s own.
    """

    def __getattr__(self, name: str) -> object:
        assigned = {k: v for k, v in vars(self).items() if not k.startswith("__")}
        self.__spec__.loader.exec_module(self)
        vars(self).update(assigned)
        self.__class__ = ModuleType
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        return _Waiting.__getattr__(self, "__dir__")()

    def __reduce__(self) -> tuple:
        # Cloudpickle knows how to pickle a `ModuleType`, but no class derived from it.
        return import_module, (self.__name__,)


class _Loader(LazyLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.loader
        module.__class__ = _Waiting


class _Finder:
    @classmethod
    def find_spec(cls, name: str, *arguments: object) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, *arguments) if name in _WRAPPERS else None
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


if "tensorflow" not in sys.modules:
    was_enabled = gc.isenabled()
    gc.disable()
    sys.meta_path.insert(0, _Finder)
    try:
        import tensorflow  # noqa: F401
        import tensorflow_probability  # noqa: F401
    finally:
        sys.meta_path.remove(_Finder)
        if was_enabled:
            gc.enable()
    gc.freeze()  # what lives now is not looked at again; `gc.unfreeze` undoes it
