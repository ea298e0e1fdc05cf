# SPDX-License-Identifier: Apache-2.0
"""A hub of this machine's own: answers like the real one where Longtake asks it, and can be told to misbehave."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """Holds files by "repository/file", and remembers what was asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.stated: dict[str, str] = {}  # the hash that it states, where that is not the file's
        self.gated: set[str] = set()
        self.cut_after: int | None = None  # bytes of the next answer after which the connection ends
        self.ignores_ranges = False
        self.asked: list[tuple[str, str, str]] = []  # method, revision, range
        self.address = ""

    def sent_from(self) -> list[str]:
        """The ranges of the downloads so far, in order; empty text for a whole file."""
        return [ranged for method, _, ranged in self.asked if method == "GET"]


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Run a hub on 127.0.0.1 while the block lasts."""
    hub = LocalHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing on the screen."""

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            match = re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", self.path)
            assert match is not None
            name, ranged = f"{match[1]}/{match[3]}", self.headers.get("Range", "")
            hub.asked.append((self.command, match[2], ranged))
            if name in hub.gated or name not in hub.files:
                self.send_response(403 if name in hub.gated else 404)
                self.send_header("X-Error-Code", "GatedRepo" if name in hub.gated else "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = hub.files[name]
            start = int(ranged.removeprefix("bytes=").removesuffix("-")) if ranged and not hub.ignores_ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hub.stated.get(name, hashlib.sha256(content).hexdigest())}"')
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if with_body and hub.cut_after is not None:
                self.wfile.write(content[start : start + hub.cut_after])
                hub.cut_after = None
                self.close_connection = True
            elif with_body:
                self.wfile.write(content[start:])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
