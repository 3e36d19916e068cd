"""The clients of docs/serving against a server."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

requests = pytest.importorskip("requests")
pytest.importorskip("kserve")

FOLDER = Path(__file__).parents[2] / "docs" / "serving"

# What the page needs of a browser. Prints the pixels of its canvases and its message.
BROWSER = """
const fields = {{}};
for (const id of ["form", "server", "model", "seed", "temperature", "message", "samples"])
  fields[id] = {{ replaceChildren(...nodes) {{ this.nodes = nodes; }} }};
fields.form.addEventListener = (name, listener) => {{ fields.form[name] = listener; }};
Object.assign(fields, {values});
globalThis.document = {{
  getElementById: (id) => fields[id],
  createElement: (name) => ({{
    name,
    getContext: () => ({{
      createImageData: (width, height) => ({{
        data: new Uint8ClampedArray(4 * width * height),
      }}),
      putImageData(image) {{ fields.drawn.push([...image.data]); }},
    }}),
  }}),
}};
fields.drawn = [];
"""
