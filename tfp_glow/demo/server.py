"""Serves the page, to this computer alone unless told otherwise."""

import os
import socket
from tempfile import TemporaryDirectory

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response

from tfp_glow.demo.markup import HEAD
from tfp_glow.demo.page import make_page
from tfp_glow.demo.pictures import MAX_BYTES
from tfp_glow.demo.studio import Studio

__all__ = ["make_server", "serve"]

# Whatever Gradio's files ask for, a browser gets it from here or not at all.
_POLICY = (
    "default-src 'self' data: blob:; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'"
)
# Gradio's ways to fetch files and addresses: the page needs none of them.
_CLOSED = ("/gradio_api/file{rest:path}", "/gradio_api/proxy{rest:path}")
_GRACE_SECONDS = 1  # A page that is open keeps a connection.


def make_server(studio: Studio) -> uvicorn.Server:
    """The server of a model's page, which asks nobody for anything."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    page = make_page(studio)
    # Else Gradio would take the path of any file here for that of an upload.
    page.has_launched = True
    app = FastAPI(openapi_url=None)
    for path in _CLOSED:
        app.add_route(path, _not_found)
    app = gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=_theme(),
        head=HEAD,
        footer_links=[],
        run_history=False,
        show_error=False,  # but those that say what to do
        ssr_mode=False,
        max_file_size=MAX_BYTES,
    )
    return uvicorn.Server(
        uvicorn.Config(
            app,
            headers=[("Content-Security-Policy", _POLICY)],
            log_level="critical",  # Pages that are open at the end are no errors.
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


def serve(studio: Studio, sock: socket.socket) -> None:
    """Serves until an interrupt. What was uploaded is gone then, at the latest."""
    with TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        make_server(studio).run([sock])


async def _not_found(request: Request) -> Response:
    return Response(status_code=404)


def _theme() -> gr.themes.Base:
    """Fonts of the computer, and paler text that can still be read."""
    theme = gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
    )
