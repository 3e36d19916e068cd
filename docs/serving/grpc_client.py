"""Asks a server of an exported Glow over gRPC, with the Open Inference Protocol.

    tfp-glow serve models --grpc-port 8500
    python docs/serving/grpc_client.py [HOST:PORT] [MODEL]

With KServe's client. Any other client of the protocol does as well: it is described by
`grpc_predict_v2.proto`.
"""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

DATATYPES = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32"}


async def infer(
    client: InferenceGRPCClient, model: str, signature_name: str, **inputs: np.ndarray
) -> np.ndarray:
    """Calls a signature.

    Args:
        client: Of the server.
        model: Name of the model.
        signature_name: `"log_prob"`, `"bits_per_dim"`, `"encode"`, `"decode"` or
            `"sample"`.
        **inputs: Arrays of as many rows each.

    Returns:
        An array of as many rows.
    """
    tensors = []
    for name, array in inputs.items():
        tensor = InferInput(name, list(array.shape), DATATYPES[array.dtype.name])
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    answer = await client.infer(
        InferRequest(model, tensors, parameters={"signature_name": signature_name})
    )
    (output,) = answer.outputs
    return output.as_numpy()


async def main(server: str = "127.0.0.1:8500", model: str = "digits") -> None:
    """Prints the log-likelihoods of four samples."""
    async with InferenceGRPCClient(server) as client:
        seeds = np.arange(4, dtype=np.int32)
        temperatures = np.full([4], 0.7, np.float32)
        images = await infer(
            client, model, "sample", seed=seeds, temperature=temperatures
        )  # uint8 [4, H, W, C]
        log_prob = await infer(client, model, "log_prob", images=images)
    for seed, nats in enumerate(log_prob):
        print(f"seed {seed}: {images[seed].shape}, {nats:.3f} nats")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
