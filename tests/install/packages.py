"""A tiny package in every form in which pip takes one, and an index that asks for a password."""

from __future__ import annotations

import base64
import os
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

from reconciler.core.desired import Install

Describe = Callable[..., Install]

# A build backend of its own: it needs nothing from an index.
BACKEND = """
import os, zipfile
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    from make import write_wheel
    return os.path.basename(write_wheel(wheel_directory, NAME, VERSION))
"""


def write_wheel(folder: str | os.PathLike[str], name: str, version: str) -> str:
    """A wheel with one module, NAME, and one console script, NAME, that prints the version."""
    path = os.path.join(folder, f"{name}-{version}-py3-none-any.whl")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"def main():\n    print({version!r})\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_source(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """A source folder; `requires` is what its build fetches from the index first."""
    import inspect

    folder.mkdir(parents=True)
    (folder / "make.py").write_text(
        "import os, zipfile\n" + inspect.getsource(write_wheel).replace("str | os.PathLike[str]", "str")
    )
    (folder / "backend.py").write_text(f"NAME, VERSION = {name!r}, {version!r}\n{BACKEND}")
    system = f'[build-system]\nrequires = {list(requires)}\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(f'{system}[project]\nname = "{name}"\nversion = "{version}"\n')
    return folder


class Index(ThreadingHTTPServer):
    """A package index on the loopback that serves one folder of wheels to one user.

    It looks at the arguments of all processes at every request, for what must not stand there.
    """

    daemon_threads = True
    user = "svc"
    password = "sesame%opens"

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked = Event()
        self.go_on = Event()
        self.go_on.set()
        self.requests: list[str] = []
        self.seen_in_arguments: list[str] = []

    def url(self, login: str = "svc:sesame%25opens@") -> str:
        return f"http://{login}127.0.0.1:{self.server_port}/simple"

    def look(self) -> None:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                arguments = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "sesame" in arguments:
                self.seen_in_arguments.append(arguments.replace("\0", " "))


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.look()
        self.server.requests.append(self.path)
        wanted = base64.b64encode(f"{self.server.user}:{self.server.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        name = self.path.strip("/").rpartition("/")[2]
        file = self.server.folder / name
        if file.is_file():
            self.server.asked.set()
            self.server.go_on.wait(60)
            self._answer(file.read_bytes(), "application/octet-stream")
        else:
            found = sorted(path.name for path in self.server.folder.glob(f"{name}-*"))
            page = "".join(f'<a href="/files/{one}">{one}</a>\n' for one in found)
            self._answer(f"<!DOCTYPE html><html><body>{page}</body></html>".encode(), "text/html")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
