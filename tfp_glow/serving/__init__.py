"""A server for SavedModels of Glow, on top of KServe's: `tfp-glow serve`.

A request passes through few rooms: `rest` or `grpc_service` takes it, KServe's data
plane hands it to a `VersionedModel` of the `repository`, the body is read by
`predict_body` or `open_inference`, a `Batcher` puts its rows beside those of others,
and a `ServedModel` answers. `server` starts and ends all of it.

This needs the extra `serve`, TensorFlow and nothing else: neither Keras nor TensorFlow
Probability, and nothing of the package that imports them.
"""

import sys

# KServe reads the command line when it is imported, as if it were its own.
_arguments = sys.argv
sys.argv = sys.argv[:1]
try:
    import kserve  # noqa: F401
finally:
    sys.argv = _arguments
