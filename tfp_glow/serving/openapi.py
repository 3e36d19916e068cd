"""What `/openapi.json` says of bodies and errors."""

import re
from http import HTTPStatus
from typing import Any

__all__ = ["ERRORS", "INFER_BODY", "PREDICT_BODY", "errors", "parameters"]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part `responses` of a route that may answer with errors."""
    content = {"application/json": {"schema": _ERROR}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def parameters(path: str) -> dict[str, Any]:
    """The part `parameters` of a route: what stands in braces in its path.

    Example:
        >>> [p["name"] for p in parameters("/v1/models/{name}:predict")["parameters"]]
        ['name']
    """
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", path)
        ]
    }


ERRORS = errors(400, 404, 408, 413, 415, 429, 503, 504)
"""Those of a route that computes."""

_VALUES = {"description": "Numbers, lists of them, or {'b64': PNG or JPEG}"}
PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "signature_name": {"type": "string"},
                        "instances": {"type": "array", "items": _VALUES, "minItems": 1},
                        "inputs": _VALUES,
                        "output_format": {"enum": ["list", "png"]},
                    },
                    "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
                },
                "example": {
                    "signature_name": "sample",
                    "instances": [{"seed": 1, "temperature": 0.7}],
                },
            }
        },
    }
}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "datatype": {"enum": ["UINT8", "INT32", "INT64", "FP32", "FP64"]},
        "data": {"type": "array"},
    },
}
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
                        "outputs": {"type": "array", "items": {"type": "object"}},
                    },
                },
                "example": {
                    "parameters": {"signature_name": "sample"},
                    "inputs": [
                        {
                            "name": "seed",
                            "shape": [1],
                            "datatype": "INT32",
                            "data": [1],
                        },
                        {
                            "name": "temperature",
                            "shape": [1],
                            "datatype": "FP32",
                            "data": [0.7],
                        },
                    ],
                },
            }
        },
    }
}
