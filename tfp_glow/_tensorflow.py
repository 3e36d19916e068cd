"""Imports TensorFlow and TFP, if nobody has, without the garbage collector's help.

They make a million objects that live as long as the process. The collector would look
at all of them again and again, while they are made and whenever a graph is traced.
"""

import gc
import sys

if "tensorflow" not in sys.modules:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import tensorflow  # noqa: F401
        import tensorflow_probability  # noqa: F401
    finally:
        if was_enabled:
            gc.enable()
    gc.freeze()  # what lives now is not looked at again; `gc.unfreeze` undoes it
