"""The least that serves a SavedModel: FastAPI, uvicorn and TensorFlow, row by row.

    python bare_server.py FOLDER PORT

TensorFlow Serving's path and bodies for the only model of the folder. No batching, no
limits, no metrics, no versions.
"""

import sys
from pathlib import Path

import fastapi
import numpy as np
import pydantic
import tensorflow as tf
import uvicorn

app = fastapi.FastAPI()


class Request(pydantic.BaseModel):
    """What is asked."""

    signature_name: str = "serving_default"
    instances: list[dict]


# As FastAPI wants it for what blocks: no coroutine, so that it runs in a thread.
@app.post("/v1/models/{name}:predict")
def predict(name: str, request: Request) -> dict:
    """Calls a signature."""
    function = signatures[request.signature_name]
    _, specs = function.structured_input_signature
    inputs = {
        key: tf.constant(
            np.array([row[key] for row in request.instances], spec.dtype.as_numpy_dtype)
        )
        for key, spec in specs.items()
    }
    (outputs,) = function(**inputs).values()
    return {"predictions": outputs.numpy().tolist()}


if __name__ == "__main__":
    (saved_model,) = Path(sys.argv[1]).glob("*/*/saved_model.pb")
    signatures = tf.saved_model.load(str(saved_model.parent)).signatures
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
