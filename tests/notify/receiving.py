"""A server of the test's own that takes what is posted, and answers as it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple


class Posted(NamedTuple):
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Receiving:
    """What was posted, in order. `answers` is by path; anything else is answered with 200."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.answers: dict[str, tuple[int, str]] = {}
        self.url = ""

    def taken(self, path: str = "") -> list[Posted]:
        """What came since the last look, of one path or of all."""
        found = [one for one in self.posted if one.path.startswith(path)]
        self.posted = [one for one in self.posted if one not in found]
        return found


@contextmanager
def receiving() -> Iterator[Receiving]:
    """Listens on a free port of this host for as long as it is entered."""
    found = Receiving()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            assert self.headers["Content-Type"] == "application/json"
            body = json.loads(self.rfile.read(size))
            found.posted.append(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, said = found.answers.get(self.path, (200, "ok"))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{found.url}/elsewhere")
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Not on the test's own standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
