"""Serves the page, to this computer alone unless told otherwise."""

import os
import socket
from collections.abc import Awaitable, Callable

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response

from tfp_glow.demo.page import CSS, HEAD, make_page
from tfp_glow.demo.pictures import MAX_BYTES
from tfp_glow.demo.studio import Studio

__all__ = ["bind", "make_app", "serve"]

# Whatever Gradio's files ask for, a browser gets it from here or not at all.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' "
    "blob:; style-src 'self' 'unsafe-inline'"
)
_FONTS = ["system-ui", "sans-serif"]


def make_app(studio: Studio) -> FastAPI:
    """The page of a model, an ASGI application that asks nobody for anything."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def with_policy(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await answer(request)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    theme = gr.themes.Default(font=_FONTS, font_mono=["monospace"])
    return gr.mount_gradio_app(
        app,
        make_page(studio),
        path="/",
        theme=theme,
        css=CSS,
        head=HEAD,
        footer_links=[],
        ssr_mode=False,
        max_file_size=MAX_BYTES,
        show_error=True,
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket for the page; port 0 is any that is free.

    Raises:
        OSError: If it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(
            f"The page cannot be at {host}:{port}: {error.strerror}. Choose another "
            "--port, or --host."
        ) from error
    return bound


def serve(studio: Studio, bound: socket.socket) -> None:
    """Serves the page until it is interrupted."""
    config = uvicorn.Config(make_app(studio), log_level="warning")
    uvicorn.Server(config).run([bound])
