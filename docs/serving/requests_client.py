"""Asks a server of an exported Glow with requests: for samples, how likely they are.

    tfp-glow serve models --port 8501
    python docs/serving/requests_client.py [SERVER] [MODEL]

The same lists work with TensorFlow Serving.
"""

import sys

import numpy as np
import requests


def predict(url: str, signature_name: str, instances: list) -> list:
    """Calls a signature.

    Args:
        url: Of the model, `SERVER/v1/models/MODEL`.
        signature_name: `"log_prob"`, `"bits_per_dim"`, `"encode"`, `"decode"` or
            `"sample"`.
        instances: A row each: its inputs by name.

    Returns:
        A prediction for each row; `None` where a number is not finite.
    """
    body = {"signature_name": signature_name, "instances": instances}
    answer = requests.post(f"{url}:predict", json=body, timeout=30)
    if not answer.ok:
        raise ValueError(answer.json()["error"])
    return answer.json()["predictions"]


def main(server: str = "http://127.0.0.1:8501", model: str = "digits") -> None:
    """Prints the log-likelihoods of four samples."""
    url = f"{server}/v1/models/{model}"
    seeds = [{"seed": seed, "temperature": 0.7} for seed in range(4)]
    images = predict(url, "sample", seeds)  # lists [4][H][W][C]
    log_prob = predict(url, "log_prob", [{"images": image} for image in images])
    for seed, nats in enumerate(np.array(log_prob, dtype=float)):  # `None` is nan now
        print(f"seed {seed}: {np.shape(images[seed])}, {nats:.3f} nats")


if __name__ == "__main__":
    main(*sys.argv[1:])
