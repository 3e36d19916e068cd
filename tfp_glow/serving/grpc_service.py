"""The Open Inference Protocol over gRPC: KServe's service, with versions and limits."""

import asyncio
import time
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, NoReturn

import grpc
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    add_GRPCInferenceServiceServicer_to_server,
)
from kserve.protocol.grpc.servicer import InferenceServicer

from tfp_glow.serving import metrics
from tfp_glow.serving.open_inference import GrpcExchange, described
from tfp_glow.serving.refused import Refused, too_late
from tfp_glow.serving.repository import Version
from tfp_glow.serving.rest import parse_version
from tfp_glow.serving.server_state import ServerState

__all__ = ["make_grpc_server"]

_CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_PROTOCOL = GrpcExchange.protocol
_MAX_MESSAGE = 2**31 - 1  # bytes that gRPC can carry; an answer is as long as it is
_OVERHEAD = 2**16  # names, shapes and the like, beside the tensors


def make_grpc_server(
    state: ServerState, data_plane: DataPlane, host: str, port: int
) -> tuple[grpc.aio.Server, int]:
    """Makes a server, which is still to be started.

    KServe's own `GRPCServer` would listen to the whole network.

    Args:
        state: The state of the server.
        data_plane: KServe's data plane over the same models.
        host: Address to listen to.
        port: Port to listen to; 0 for one that is free.

    Returns:
        The server and its port.

    Raises:
        OSError: If the address is taken.
    """
    max_request = min(state.limits.max_bytes + _OVERHEAD, _MAX_MESSAGE)
    server = grpc.aio.server(
        interceptors=[_Parser(state)],
        options=[
            ("grpc.max_send_message_length", _MAX_MESSAGE),
            ("grpc.max_receive_message_length", max_request),
            ("grpc.so_reuseport", 0),  # Else a second server would share the port.
        ],
    )
    service = _Service(state, data_plane)
    add_GRPCInferenceServiceServicer_to_server(service, server)
    address = f"[{host}]" if ":" in host else host
    try:
        port = server.add_insecure_port(f"{address}:{port}")
    except RuntimeError as error:
        raise OSError(
            f"Cannot listen to {host} at port {port} for gRPC. If another program "
            "does, name another port with --grpc-port."
        ) from error
    return server, port


class _Parser(grpc.aio.ServerInterceptor):
    """Parses requests where it can say what is wrong: gRPC would answer UNKNOWN.

    It counts them among the bodies in memory, too.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(data: bytes, context: grpc.aio.ServicerContext) -> Any:
            started = time.perf_counter()
            try:
                with self._state.room_for(len(data)):
                    try:
                        request = handler.request_deserializer(data)
                    except Exception as error:  # protobuf has a kind of its own
                        raise Refused("The request is no such message.") from error
                    return await handler.unary_unary(request, context)
            except Refused as error:
                labels = {"model": "", "signature": "", "protocol": _PROTOCOL}
                metrics.observe(labels, int(error.status), started)
                await _abort(context, error)

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )


class _Service(InferenceServicer):
    def __init__(self, state: ServerState, data_plane: DataPlane) -> None:
        super().__init__(data_plane, None)
        self._state = state
        self._plane = data_plane

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelInferResponse:
        """Answers tensors."""
        started = time.perf_counter()
        labels = {"model": "", "signature": "", "protocol": _PROTOCOL}
        code = HTTPStatus.INTERNAL_SERVER_ERROR
        self._state.num_requests += 1
        try:
            answer = await self._infer(request, labels)
            code = HTTPStatus.OK
            return answer
        except Refused as error:
            code, refusal = error.status, error
        except asyncio.CancelledError:
            code = 499
            raise
        finally:
            self._state.num_requests -= 1
            metrics.observe(labels, int(code), started)
        return await _abort(context, refusal)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelReadyResponse:
        """Whether a version of a model is loaded and warm."""
        try:
            self._find(request)
        except Refused as error:
            if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                await _abort(context, error)
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.ModelMetadataResponse:
        """The tensors of the signature `serving_default`."""
        try:
            version = self._find(request)
        except Refused as error:
            await _abort(context, error)
        versions = sorted(self._state.repository.find(request.name).versions)
        signature = version.model.signatures["serving_default"]
        return pb.ModelMetadataResponse(
            name=request.name,
            versions=[str(number) for number in versions],
            platform="tensorflow_savedmodel",
            inputs=described(signature.inputs),
            outputs=described(signature.outputs),
        )

    async def RepositoryModelLoad(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> NoReturn:
        """Refuses: models come and go with their folders."""
        await _abort(context, _NOT_FOR_CLIENTS)

    async def RepositoryModelUnload(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> NoReturn:
        """Refuses: models come and go with their folders."""
        await _abort(context, _NOT_FOR_CLIENTS)

    def _find(self, request: Any) -> Version:
        model = self._state.repository.find(request.name)
        return model.find(parse_version(request.version))

    async def _infer(
        self, request: pb.ModelInferRequest, labels: dict[str, str]
    ) -> pb.ModelInferResponse:
        name, seconds = request.model_name, self._state.limits.seconds
        labels["model"] = self._state.repository.find(name).name
        exchange = GrpcExchange(parse_version(request.model_version), request)
        try:
            async with asyncio.timeout(seconds):
                answer, _ = await self._plane.infer(name, exchange)
        except TimeoutError as error:
            raise too_late(seconds) from error
        finally:
            labels["signature"] = exchange.signature_name
        return answer


_NOT_FOR_CLIENTS = Refused(
    "Models come and go with their folders, and not as clients say.",
    HTTPStatus.FORBIDDEN,
)


def _abort(context: grpc.aio.ServicerContext, error: Refused) -> Awaitable[NoReturn]:
    code = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)
    return context.abort(code, error.message)
