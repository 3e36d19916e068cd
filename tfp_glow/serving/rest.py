"""The application that answers HTTP: KServe's, with routes of ours."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from kserve import model_server
from kserve.errors import generic_exception_handler
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import metrics_handler
from kserve.protocol.rest.v1_endpoints import V1Endpoints
from kserve.protocol.rest.v2_datamodels import (
    ListModelsResponse,
    ModelMetadataResponse,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from kserve.protocol.rest.v2_endpoints import V2Endpoints

from tfp_glow.serving import metrics, openapi
from tfp_glow.serving.exchange import Exchange
from tfp_glow.serving.open_inference import InferExchange, described
from tfp_glow.serving.predict_body import PredictExchange
from tfp_glow.serving.refused import Refused, json_error, shown, too_late
from tfp_glow.serving.repository import Version, VersionedModel
from tfp_glow.serving.server_state import CLIENT_IS_GONE, ServerState
from tfp_glow.serving.signatures import find_signature

__all__ = ["GlowDataPlane", "make_application", "parse_version"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class GlowDataPlane(DataPlane):
    """KServe's data plane, which is ready when the models are warm."""

    def metadata(self) -> dict[str, Any]:
        """Describes the server, which lets no client load and unload models."""
        return super().metadata() | {"extensions": ["binary_tensor_data"]}

    async def ready(self) -> bool:
        """Whether all models that were there at the start are served."""
        return self.model_registry.is_loaded


def make_application(
    state: ServerState, data_plane: DataPlane, origins: Sequence[str] = ()
) -> Application:
    """Adds the routes to KServe's application.

    Args:
        state: The state of the server.
        data_plane: KServe's data plane over the same models.
        origins: Addresses of web pages that may ask this server.

    Returns:
        An application of ASGI.
    """
    app = model_server.app
    app.title = "tfp-glow serve"
    app.router.redirect_slashes = False
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type"],
        )
    app.add_exception_handler(Refused, _refusal)
    app.add_exception_handler(404, _http_error)
    app.add_exception_handler(405, _http_error)
    app.add_exception_handler(Exception, generic_exception_handler)
    _add_routes(app, _Handlers(state, data_plane))
    return _refuse_at_the_end(app, state)


def parse_version(text: str) -> int | None:
    """A version that a client named; None is the newest.

    Raises:
        Refused: If it cannot be one.
    """
    if text == "":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise Refused(f"There is no version {shown(text)}.", HTTPStatus.NOT_FOUND)
    return int(text)


def _add_routes(app: FastAPI, handlers: "_Handlers") -> None:
    v1, v2 = V1Endpoints(handlers.data_plane), V2Endpoints(handlers.data_plane)

    def get(
        path: str, handler: Callable, model: Any = None, *statuses: int, **options: Any
    ) -> None:
        app.add_api_route(
            path,
            handler,
            methods=["GET"],
            response_model=model,
            response_class=JSONResponse,
            response_model_exclude_none=True,
            responses=openapi.errors(503, *statuses),
            openapi_extra=openapi.parameters(path),
            **options,
        )

    def post(path: str, handler: Callable, body: dict[str, Any]) -> None:
        app.add_api_route(
            path,
            handler,
            methods=["POST"],
            response_model=None,
            responses=openapi.ERRORS,
            openapi_extra=openapi.parameters(path) | body,
        )

    get("/", handlers.data_plane.live)
    get("/metrics", metrics_handler, include_in_schema=False)
    get("/v1/models", v1.models)
    for place in ("/v1/models/{name}/versions/{version}", "/v1/models/{name}"):
        post(f"{place}:predict", handlers.predict, openapi.PREDICT_BODY)
        # Else it would be the status of a model of that name.
        get(f"{place}:predict", handlers.must_post, include_in_schema=False)
        get(f"{place}/metadata", handlers.metadata, None, 404)
        get(place, handlers.status, None, 404)
    get("/v2", v2.metadata, ServerMetadataResponse)
    get("/v2/health/live", v2.live, ServerLiveResponse)
    get("/v2/health/ready", handlers.is_ready, ServerReadyResponse)
    get("/v2/models", v2.models, ListModelsResponse)
    for place in ("/v2/models/{name}/versions/{version}", "/v2/models/{name}"):
        post(f"{place}/infer", handlers.infer, openapi.INFER_BODY)
        get(f"{place}/ready", handlers.is_model_ready, ModelReadyResponse, 404)
        get(place, handlers.describe, ModelMetadataResponse, 400, 404)


class _Handlers:
    """What KServe's own handlers cannot do: versions, metadata, strict bodies."""

    def __init__(self, state: ServerState, data_plane: DataPlane) -> None:
        self.data_plane = data_plane
        self._state = state

    def _find(self, request: Request) -> tuple[VersionedModel, Version]:
        model = self._state.repository.find(request.path_params["name"])
        return model, model.find(_version(request))

    async def status(self, request: Request) -> dict[str, Any]:
        """The state of a model's versions, as TensorFlow Serving has it."""
        model, version = self._find(request)
        numbers = sorted(model.versions, reverse=True)
        if "version" in request.path_params:
            numbers = [version.number]
        states = [
            {
                "version": str(number),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
            for number in numbers
        ]
        # The first two are what clients of KServe look at.
        return {"name": model.name, "ready": True, "model_version_status": states}

    async def metadata(self, request: Request) -> dict[str, Any]:
        """The signatures of a model, as TensorFlow Serving describes them."""
        model, version = self._find(request)
        return {
            "model_spec": {
                "name": model.name,
                "signature_name": "",
                "version": str(version.number),
            },
            "metadata": {"signature_def": {"signature_def": version.model.described}},
        }

    async def must_post(self, request: Request) -> None:
        """A prediction is asked for with POST."""
        raise HTTPException(405, headers={"allow": "POST"})

    async def predict(self, request: Request) -> Response:
        """Answers rows or columns: the protocol V1."""
        return await self._answer(request, partial(PredictExchange, _version(request)))

    async def infer(self, request: Request) -> Response:
        """Answers tensors: the Open Inference Protocol, V2."""
        make = partial(
            InferExchange,
            _version(request),
            json_length=request.headers.get("inference-header-content-length"),
            model=request.path_params["name"],
        )
        return await self._answer(request, make)

    async def is_ready(self) -> ServerReadyResponse:
        """Whether all models are loaded and warm."""
        if not await self.data_plane.ready():
            raise Refused("Models are being loaded.", HTTPStatus.SERVICE_UNAVAILABLE)
        return ServerReadyResponse(ready=True)

    async def is_model_ready(self, request: Request) -> ModelReadyResponse:
        """Whether a version of a model is loaded and warm."""
        model, _ = self._find(request)
        return ModelReadyResponse(name=model.name, ready=True)

    async def describe(self, request: Request) -> ModelMetadataResponse:
        """The tensors of the signature that `?signature_name=` names."""
        model, version = self._find(request)
        name = request.query_params.get("signature_name")
        signature = find_signature(version.model.signatures, name)
        return ModelMetadataResponse(
            name=model.name,
            versions=[str(number) for number in sorted(model.versions)],
            platform="tensorflow_savedmodel",
            inputs=described(signature.inputs),
            outputs=described(signature.outputs),
        )

    async def _answer(
        self, request: Request, make: Callable[..., Exchange]
    ) -> Response:
        """Answers a request with a body, or says what is wrong with it; counts it."""
        started, name = time.perf_counter(), request.path_params["name"]
        state, response = self._state, Response(status_code=500)
        labels = {"model": "", "signature": "", "protocol": make.func.protocol}
        try:
            labels["model"] = state.repository.find(name).name
            body = await state.read_body(request)
            state.watch(request)  # Not before: it takes what comes of a body.
            exchange = make(body=body)
            try:
                async with asyncio.timeout(state.limits.seconds):
                    answer, _ = await self.data_plane.infer(name, exchange)
            finally:
                state.forget_body(body)
                labels["signature"] = exchange.signature_name
            content, headers = answer
            response = Response(content, headers=headers)
        except Refused as error:
            response = await _refusal(request, error)
        except TimeoutError:
            response = await _refusal(request, too_late(state.limits.seconds))
        except asyncio.CancelledError:
            if not state.was_left():
                raise
            response = Response(status_code=CLIENT_IS_GONE)
        finally:
            state.unwatch()
            metrics.observe(labels, response.status_code, started)
        return response


def _version(request: Request) -> int | None:
    return parse_version(request.path_params.get("version", ""))


async def _refusal(request: Request, error: Refused) -> Response:
    return Response(
        json_error(error.message),
        error.status,
        error.headers,
        media_type="application/json",
    )


async def _http_error(request: Request, error: HTTPException) -> Response:
    message = f"{error.detail}: {request.method} {shown(request.url.path)}"
    return Response(
        json_error(message),
        error.status_code,
        error.headers,
        media_type="application/json",
    )


def _refuse_at_the_end(app: Application, state: ServerState) -> Application:
    """Counts requests; at the end refuses new ones and closes connections."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if state.is_draining:
            ending = Refused("The server ends.", HTTPStatus.SERVICE_UNAVAILABLE)
            headers = ending.headers | {"connection": "close"}
            refusal = Response(
                json_error(ending.message),
                ending.status,
                headers,
                media_type="application/json",
            )
            await refusal(scope, receive, send)
            return

        async def send_and_close(message: dict[str, Any]) -> None:
            if state.is_draining and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        state.num_requests += 1
        try:
            await app(scope, receive, send_and_close)
        finally:
            state.num_requests -= 1

    return application
