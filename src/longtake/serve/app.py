# SPDX-License-Identifier: Apache-2.0
"""The web application: what can be asked over HTTP, the websocket, and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from longtake import __version__
from longtake.errors import InputError
from longtake.serve.connection import Connection, known
from longtake.serve.protocol import PARTS, VERSION
from longtake.serve.visitor import Visitor
from longtake.serve.worker import Worker

_ABOUT = """Cameras and dense 3D points from live video, many clients on one model.

Frames go through the websocket `/v1/stream`, which this description cannot express: say hello with
`{"token": "...", "want": ["depth"]}`, then send JPEG files or H.264 access units as binary messages; docs/serve.md has
all of it.
"""
_PAGES = {  # address: file, type
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/cloud.js": ("cloud.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
}
_HEADERS = {  # the pages ask nobody else, and nobody may frame them
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_BEARER = HTTPBearer(auto_error=False, description="The token that the service printed at its start.")


def _token(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> str:
    """Return the caller's token. Raises 401 for none and for a wrong one."""
    if given is None or not known(given.credentials, request.app.state.tokens):
        headers = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "give the service's token: Authorization: Bearer TOKEN", headers)
    return given.credentials


Token = Annotated[str, Depends(_token)]


def build_app(worker: Worker, tokens: Sequence[str]) -> FastAPI:
    """Make the application around a worker that somebody else starts and closes."""
    # Their documentation page would load scripts from elsewhere; ours is in the package.
    app = FastAPI(title="Longtake", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None)
    app.state.tokens = tuple(tokens)
    app.state.waiting = 0

    @app.get("/health", tags=["service"])
    def health(response: Response) -> dict[str, Any]:
        """Whether frames are served. 503 where the worker has ended."""
        response.status_code = 200 if worker.alive else 503
        metrics = worker.metrics
        return {
            "status": "ok" if worker.alive else "failed",
            "clients": int(metrics.get("longtake_clients")),
            "seats": worker.limits.seats,
        }

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse)
    def metrics(_: Token) -> PlainTextResponse:
        """Counters for Prometheus, in its text format."""
        return PlainTextResponse(worker.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/service", tags=["service"])
    def service(_: Token) -> dict[str, Any]:
        """What runs, what can be wanted, and the limits."""
        streams = worker.streams
        about = {"model": worker.model.name, "rule": streams.rule.name, "device": str(streams.device)}
        return {"version": VERSION, "want": PARTS, "limits": asdict(worker.limits), **about}

    @app.get("/v1/states/{take}", tags=["takes"], response_class=FileResponse)
    def state(take: str, token: Token) -> FileResponse:
        """The kept state of a take, as a file that `model.resume` and `longtake localize` read."""
        try:
            path = worker.states.find(token, take)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        return FileResponse(path, media_type="application/octet-stream", filename="state.safetensors")

    @app.delete("/v1/states/{take}", tags=["takes"], status_code=204)
    def forget(take: str, token: Token) -> None:
        """Forget the kept state of a take."""
        try:
            worker.states.forget(token, take)
        except InputError as error:
            raise HTTPException(404, str(error)) from error

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        if app.state.waiting >= worker.limits.waiting:
            worker.metrics.add("longtake_refused_total", reason="waiting")
            await socket.close(1013)
            return
        app.state.waiting += 1
        try:
            await socket.accept()
            connection = Connection(socket, worker, app.state.tokens)
            guest = await connection.hello()
        finally:
            app.state.waiting -= 1
        if isinstance(guest, Visitor):
            await connection.serve(guest)
        else:
            await connection.close(guest)

    for address, (name, kind) in _PAGES.items():
        _add_page(app, address, name, kind)
    return app


def _add_page(app: FastAPI, address: str, name: str, kind: str) -> None:
    text = files("longtake.serve").joinpath("pages", name).read_text(encoding="utf-8")

    @app.get(address, include_in_schema=False)
    def page() -> Response:
        return Response(text, media_type=kind, headers=_HEADERS)
