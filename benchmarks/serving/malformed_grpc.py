"""Messages of the Open Inference Protocol that no client should send over gRPC."""

import random
from collections.abc import Iterator

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from malformed import Target

__all__ = ["FINE", "MODEL_INFER", "grpc_cases"]

SERVICE = "/inference.GRPCInferenceService"
MODEL_INFER = f"{SERVICE}/ModelInfer"

FINE = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.PERMISSION_DENIED,
}
"""What 4xx are called here."""


def grpc_cases(
    target: Target, count: int, seed: int = 0
) -> Iterator[tuple[str, str, bytes, bool]]:
    """Kinds in turn.

    Args:
        target: The model that is asked.
        count: How many.
        seed: The same one makes the same messages.

    Yields:
        Kind, method, message, and whether it may be right after all.
    """
    rng = random.Random(seed)
    makers = [_broken_message, _wrong_message, _other_method]
    for i in range(count):
        make = makers[i % len(makers)]
        name = make.__name__.strip("_").replace("_", " ")
        yield f"gRPC: {name}", *make(rng, target)


def _message(rng: random.Random, target: Target) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=target.name, id="1")
    shape = [1, *target.event_shape]
    images = message.inputs.add(name="images", datatype="UINT8", shape=shape)
    data = rng.randbytes(target.num_dims)
    if rng.random() < 0.5:
        message.raw_input_contents.append(data)
    else:
        images.contents.uint_contents.extend(data)
    return message


def _broken_message(rng: random.Random, target: Target) -> tuple[str, bytes, bool]:
    data = bytearray(_message(rng, target).SerializeToString())
    how = rng.randrange(4)
    if how == 0:
        return MODEL_INFER, rng.randbytes(rng.randrange(500)), True
    if how == 1:
        return MODEL_INFER, bytes(data[: rng.randrange(len(data))]), True
    if how == 2:
        return MODEL_INFER, bytes(20_000_000), False
    for _ in range(rng.randint(1, 5)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return MODEL_INFER, bytes(data), True


def _wrong_message(rng: random.Random, target: Target) -> tuple[str, bytes, bool]:
    message = _message(rng, target)
    (images,) = message.inputs
    strange = ["", "x", "../../etc/passwd", "é", "x" * 5000, "\0"]

    def shape() -> None:
        size = rng.choice([0, -1, 2**31, 2**63 - 1, -(2**63), 7])
        images.shape[rng.randrange(len(images.shape))] = size

    def rank() -> None:
        images.shape.append(1)

    def datatype() -> None:
        images.datatype = rng.choice(
            [*strange, "BYTES", "FP32", "FP16", "INT8", "uint8"]
        )

    def name() -> None:
        images.name = rng.choice(strange)

    def model() -> None:
        message.model_name = rng.choice(strange)

    def version() -> None:
        message.model_version = rng.choice([*strange[1:], "0", "-1", "9" * 40, "1.0"])

    def twice() -> None:
        message.inputs.append(images)

    def none() -> None:
        del message.inputs[:]

    def more_raw() -> None:
        message.raw_input_contents.extend([b"x"] * rng.randint(1, 3))

    def value() -> None:
        del message.raw_input_contents[:]
        del images.contents.uint_contents[:]
        images.contents.uint_contents.extend([2**32 - 1] * target.num_dims)

    def other_contents() -> None:
        images.contents.fp32_contents.append(float("nan"))
        images.contents.bytes_contents.append(b"\xff")
        del images.contents.uint_contents[:]

    def output() -> None:
        message.outputs.add(name=rng.choice(strange))

    def signature() -> None:
        message.parameters["signature_name"].string_param = rng.choice(strange[1:])

    def parameter() -> None:
        message.parameters["signature_name"].int64_param = -1

    rng.choice(
        [
            *(
                shape,
                rank,
                datatype,
                name,
                model,
                version,
                twice,
                none,
                more_raw,
                value,
            ),
            *(other_contents, output, signature, parameter),
        ]
    )()
    return MODEL_INFER, message.SerializeToString(), False


def _other_method(rng: random.Random, target: Target) -> tuple[str, bytes, bool]:
    name = rng.choice([target.name, "", "../..", "x" * 5000])
    method, message = rng.choice(
        [
            ("ModelReady", pb.ModelReadyRequest(name=name, version="\0")),
            ("ModelMetadata", pb.ModelMetadataRequest(name=name, version="-1")),
            ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name)),
            ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=name)),
            ("ServerReady", pb.ModelReadyRequest(name=name)),
            ("ModelStreamInfer", pb.ModelInferRequest(model_name=name)),
            ("../ModelInfer", pb.ModelInferRequest(model_name=name)),
        ]
    )
    return f"{SERVICE}/{method}", message.SerializeToString(), method == "ServerReady"
