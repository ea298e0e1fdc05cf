# SPDX-License-Identifier: Apache-2.0
"""The service as one object: model, worker, web server, and their orderly end."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from longtake.background import Background
from longtake.errors import InputError, MissingExtra, OutputError
from longtake.registry import Model
from longtake.serve.limits import Limits
from longtake.serve.metrics import Metrics
from longtake.serve.states import States
from longtake.serve.worker import Worker

SHORTEST_TOKEN = 8


class Service:
    """A websocket service in threads of its own. Use it in a `with` block, or close it."""

    def __init__(
        self,
        model: Model,
        *,
        tokens: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 8765,
        rule: str | None = None,
        reset_every: int | Literal["auto"] | None = "auto",
        limits: Limits | None = None,
        states: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """Bind the port and begin to serve.

        tokens: what clients must say; by default one is made, see `tokens`. port: 0 takes a free one.
        states: folder for the states of clients that left; by default a temporary one that goes with the service.
        certificate, key: PEM files for https and wss.
        Raises MissingExtra, InputError, OutputError, CapabilityError for a model whose memory grows.
        """
        try:
            import uvicorn
            import websockets  # noqa: F401 (uvicorn speaks through it)

            from longtake.serve.app import build_app
        except ImportError as error:
            raise MissingExtra(
                f"the service needs FastAPI, uvicorn and websockets ({error}): pip install 'longtake[serve]'"
            ) from error
        if short := [each for each in tokens if len(each) < SHORTEST_TOKEN]:
            raise InputError(f"a token of {len(short[0])} characters can be guessed; give {SHORTEST_TOKEN} or more")
        if (certificate is None) != (key is None):
            raise InputError("https needs both: --certificate FILE and --key FILE")
        for file in filter(None, (certificate, key)):
            if not file.is_file():
                raise InputError(f"{file}: no such file; give a PEM file")
        self.tokens = tuple(tokens) or (secrets.token_urlsafe(18),)
        self.limits, self.metrics = limits or Limits(), Metrics()
        self._temporary = tempfile.TemporaryDirectory(prefix="longtake-states-") if states is None else None
        folder = Path(self._temporary.name) if self._temporary else Path(states or "")
        try:
            kept = States(folder, self.limits.states)
        except OSError as error:
            raise OutputError(f"{folder}: states cannot be kept here ({error}); give another --states.") from error
        try:
            self.worker = Worker(model, kept, self.limits, self.metrics, rule=rule, reset_every=reset_every)
        except BaseException:
            if self._temporary:
                self._temporary.cleanup()
            raise
        config = uvicorn.Config(
            build_app(self.worker, self.tokens),
            host=host,
            port=port,
            ws="websockets-sansio",
            ws_max_size=self.limits.max_bytes,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            ws_per_message_deflate=False,  # a small message must not unfold to a large one
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        self._scheme = "http" if certificate is None else "https"
        self._server = uvicorn.Server(config)
        self._thread = Background(target=self._serve, name="longtake-serve")
        self._up = threading.Event()
        self.worker.start()
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._up.wait(0.01)
        if not self._server.started:
            self.close()
            raise InputError(
                f"{host}:{port}: the service cannot listen here{self._why}. Give another --port or --host."
            )
        shown = f"[{host}]" if ":" in host else host
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else shown
        self.url = f"{self._scheme}://{shown}:{self._server.servers[0].sockets[0].getsockname()[1]}"

    _why = ""

    def _serve(self) -> None:
        try:
            self._server.run()
        except SystemExit:  # uvicorn's way of saying that the port is taken
            self._why = " (the port is taken, or the address is none of this machine's)"
        except Exception as error:  # noqa: BLE001 (a certificate that cannot be read, for one)
            self._why = f" ({error})"

    @property
    def page(self) -> str:
        """Address of the camera page, with the token where only the browser sees it."""
        return f"{self.url}/#token={self.tokens[0]}"

    def wait(self) -> None:
        """Wait until the server ends; Ctrl-C raises KeyboardInterrupt here."""
        self._thread.wait()

    def close(self) -> None:
        """Say goodbye to the clients, keep their states, end the threads. Closing twice is fine."""
        self._server.should_exit = True
        self._thread.wait()
        self.worker.close()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
