"""The Open Inference Protocol over gRPC."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest

pytest.importorskip("kserve", reason="needs the extra serve")

import grpc
from kserve import InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tfp_glow.serving.grpc_service import make_grpc_server
from tfp_glow.serving.refused import Refused


@asynccontextmanager
async def connected(server):
    """A client of a server that listens to a free port of this machine."""
    service, port = make_grpc_server(server.state, server.data_plane, "127.0.0.1", 0)
    await service.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield GRPCInferenceServiceStub(channel)
    await service.stop(0)


def request(name="digits", signature="", raw=True, **arrays):
    datatypes = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32"}
    inputs = []
    for key, array in arrays.items():
        tensor = InferInput(key, list(array.shape), datatypes[array.dtype.name])
        if raw:
            tensor.set_data_from_numpy(array)
        else:
            tensor.data = array.ravel().tolist()
        inputs.append(tensor)
    parameters = {"signature_name": signature} if signature else None
    message = InferRequest(name, inputs, "7", parameters=parameters).to_grpc()
    message.ClearField("model_version")
    return message


@pytest.mark.parametrize("raw", [True, False])
def test_answers_are_those_in_process(serve, models, images, in_process, raw):
    seed, temperature = np.int32([1, 2]), np.float32([0.7, 1])

    async def main():
        async with serve(models) as server, connected(server) as stub:
            answer = await stub.ModelInfer(request(raw=raw, images=images))
            assert (answer.id, answer.model_version) == ("7", "1")
            (output,) = answer.outputs
            assert (output.name, output.datatype) == ("log_prob", "FP32")
            if raw:
                values = np.frombuffer(answer.raw_output_contents[0], "<f4")
            else:
                values = np.array(output.contents.fp32_contents)
            expected = in_process("log_prob", images=images)
            np.testing.assert_allclose(values, expected, rtol=1e-5)

            message = request(
                signature="sample", raw=raw, seed=seed, temperature=temperature
            )
            message.model_version = "1"
            answer = await stub.ModelInfer(message)
            (output,) = answer.outputs
            assert list(output.shape) == [2, 8, 8, 1]
            if raw:
                values = np.frombuffer(answer.raw_output_contents[0], np.uint8)
            else:
                values = np.array(output.contents.uint_contents)
            expected = in_process("sample", seed=seed, temperature=temperature)
            difference = np.abs(values.reshape(expected.shape).astype(int) - expected)
            assert difference.max() <= 1

    asyncio.run(main())


def test_readiness_and_metadata(serve, models):
    async def main():
        async with serve(models) as server, connected(server) as stub:
            assert (await stub.ServerLive(pb.ServerLiveRequest())).live
            assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
            for version in ("", "1"):
                ready = pb.ModelReadyRequest(name="digits", version=version)
                assert (await stub.ModelReady(ready)).ready
            found = await stub.ModelMetadata(pb.ModelMetadataRequest(name="digits"))
            assert list(found.versions) == ["1"]
            assert found.inputs[0].name == "images"
            assert list(found.inputs[0].shape) == [-1, 8, 8, 1]
            server.state.repository.is_loaded = False
            assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
            other = pb.ModelReadyRequest(name="other")
            assert not (await stub.ModelReady(other)).ready

    asyncio.run(main())


def bad(change, code):
    return pytest.param(change, code, id=change.__name__)


def unknown_model(message):
    message.model_name = "../digits"


def unknown_version(message):
    message.model_version = "x"


def unknown_signature(message):
    message.parameters["signature_name"].string_param = "smaple"


def signature_of_a_number(message):
    message.parameters["signature_name"].int64_param = 3


def too_few_bytes(message):
    message.raw_input_contents[0] = b"x"


def more_contents_than_inputs(message):
    message.raw_input_contents.append(b"x")


def contents_of_both_kinds(message):
    message.inputs[0].contents.uint_contents.append(3)


def negative_shape(message):
    message.inputs[0].shape[0] = -1


def huge_shape(message):
    message.inputs[0].shape[0] = 2**62


def no_shape(message):
    del message.inputs[0].shape[:]


def unknown_datatype(message):
    message.inputs[0].datatype = "UINT7"


def no_inputs(message):
    del message.inputs[:]
    del message.raw_input_contents[:]


def unknown_output(message):
    message.outputs.add(name="other")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        bad(unknown_model, grpc.StatusCode.NOT_FOUND),
        bad(unknown_version, grpc.StatusCode.NOT_FOUND),
        *(
            bad(change, grpc.StatusCode.INVALID_ARGUMENT)
            for change in (
                *(unknown_signature, signature_of_a_number, too_few_bytes),
                *(more_contents_than_inputs, contents_of_both_kinds, negative_shape),
                *(huge_shape, no_shape, unknown_datatype, no_inputs, unknown_output),
            )
        ),
    ],
)
def test_bad_messages_are_refused(serve, models, images, change, code):
    message = request(images=images)
    change(message)

    async def main():
        async with serve(models) as server, connected(server) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.ModelInfer(message)
            assert error.value.code() == code
            assert error.value.details()
            assert server.state.num_requests == 0

    asyncio.run(main())


def has_room(state, num_bytes):
    try:
        with state.room_for(num_bytes):
            return True
    except Refused:
        return False


def test_bodies_of_all_requests_are_counted_together(serve, models, images):
    async def main():
        async with serve(models) as server, connected(server) as stub:
            message, state = request(images=images), server.state
            with state.room_for(state.limits.max_bytes_together - 10):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await stub.ModelInfer(message)
            assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "too much memory" in error.value.details()
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ModelInfer(request("unknown", images=images))
            room = state.limits.max_bytes_together - message.ByteSize()
            # A client can hear of a refusal before the server is done with it.
            async with asyncio.timeout(20):
                while not has_room(state, room):
                    await asyncio.sleep(0.01)
            with state.room_for(room):
                await stub.ModelInfer(message)

    asyncio.run(main())


def test_clients_load_and_unload_nothing(serve, models):
    async def main():
        async with serve(models) as server, connected(server) as stub:
            for call, message in (
                (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest),
                (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call(message(model_name="digits"))
                assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert "digits" in server.state.repository.models

    asyncio.run(main())


def test_a_port_that_is_taken(serve, models):
    async def main():
        async with serve(models) as server:
            first, port = make_grpc_server(
                server.state, server.data_plane, "127.0.0.1", 0
            )
            await first.start()
            with pytest.raises(OSError, match=f"port {port} for gRPC"):
                make_grpc_server(server.state, server.data_plane, "127.0.0.1", port)
            await first.stop(0)

    asyncio.run(main())


def test_bodies_may_be_longer_than_a_message_of_grpc(serve, models, images):
    async def main():
        async with (
            serve(models, max_bytes=2**31) as server,
            connected(server) as stub,
        ):
            answer = await stub.ModelInfer(request(images=images))
            assert answer.outputs[0].shape == [len(images)]

    asyncio.run(main())
