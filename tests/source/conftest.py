"""A real repository to pull from, and real servers for it, on loopback only."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.source import Mirror

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
}


class Upstream:
    """A work tree that commits are made in; `path` is what a mirror follows."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", *options)
        self.write({"desired/defaults.yaml": "vars: {}\n", "templates/sub/a.j2": "a\n", "README": "not read\n"})
        self.first = self.commit("first")

    def git(self, *words: str) -> str:
        env = os.environ | IDENTITY
        done = subprocess.run(["git", *words], cwd=self.path, env=env, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)

    def commit(self, subject: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")

    def bump(self, version: str) -> str:
        self.write({"desired/environments/dev.yaml": f'versions:\n  site: "{version}"\n'})
        return self.commit(f"site {version}")


@pytest.fixture(autouse=True)
def _own_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account's own git settings and agents stay out of it."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_SSH", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def mirror_of(tmp_path: Path) -> Callable[..., Mirror]:
    def make(
        repo: object, branch: str = "main", timeout: float = 60.0, asked_to_stop: Callable[[], bool] = lambda: False
    ) -> Mirror:
        return Mirror(str(repo), branch, str(tmp_path / "state" / "mirror"), timeout, asked_to_stop)

    return make


# ---------------------------------------------------------------- servers


@contextmanager
def running(argv: list[str], port: int) -> Iterator[None]:
    """A server in a session of its own until the end of the block."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _await_port(port, process)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    process.kill()
    process.wait()
    pytest.fail("the server did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def daemon(upstream: Upstream) -> Iterator[str]:
    port = free_port()
    argv = [f"{_exec_path()}/git-daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--reuseaddr"]
    with running([*argv, f"--base-path={upstream.path.parent}"], port):
        yield f"git://127.0.0.1:{port}/upstream"


def _exec_path() -> str:
    return subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()


class _Backend(http.server.BaseHTTPRequestHandler):
    """Git's own http-backend behind basic authentication (user `ann`, password `pa:ss@word`)."""

    root = ""
    expected = "Basic " + base64.b64encode(b"ann:pa:ss@word").decode()

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != self.expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer = subprocess.run(
            [f"{_exec_path()}/git-http-backend"], input=body, env=self._cgi(len(body)), capture_output=True, check=False
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for key, value in fields.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 - the library's name

    def _cgi(self, size: int) -> dict[str, str]:
        path, _, query = self.path.partition("?")
        return os.environ | {
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(size),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "ann",
        }

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _http(root: Path, context: ssl.SSLContext | None = None) -> Iterator[int]:
    handler = type("Backend", (_Backend,), {"root": str(root)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def http_port(upstream: Upstream) -> Iterator[int]:
    with _http(upstream.path.parent) as port:
        yield port


@pytest.fixture
def https_port(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    if not shutil.which("openssl"):
        pytest.skip("no openssl command to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    with _http(upstream.path.parent, context) as port:
        yield port


class Ssh:
    """A real sshd with one deploy key; `command` is what a person would set as GIT_SSH_COMMAND."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.command = (
            f"ssh -F none -i {folder}/deploy -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts"
        )


@pytest.fixture
def sshd(upstream: Upstream, tmp_path: Path) -> Iterator[Ssh]:
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if not os.path.exists(program):
        pytest.skip("no sshd on this machine (Debian: apt-get install openssh-server)")
    folder, port = tmp_path / "ssh", free_port()
    folder.mkdir(mode=0o700)
    for key in ("host", "deploy"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized_keys").write_text("restrict " + (folder / "deploy.pub").read_text())
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} " + (folder / "host.pub").read_text())
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    with running([program, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")], port):
        yield Ssh(f"ssh://{user}@127.0.0.1:{port}{upstream.path}", folder)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes every connection and never says a word."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(50)  # the kernel accepts; nobody answers
        yield server.getsockname()[1]
