"""`health` by HTTPS: a certificate has to be good, by a CA of the host's or by the one that git names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.test_health import free_port, health_of, layer, told
from tests.scenarios.world import World, a_world

__all__ = ["a_world"]
pytestmark = [
    pytest.mark.scenario,
    pytest.mark.supervisor,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl command to make certificates with"),
]

SERVER = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"fine\\n")
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2] + ".pem", sys.argv[2] + ".key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
SOON = "start_period: 3s, settle: 0s, interval: 0s, retries: 1"


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


def authority(folder: Path, name: str) -> Path:
    """The certificate of a CA, with its key beside it."""
    words = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl(folder, "req", "-x509", *words, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder / f"{name}.pem"


def certificate(folder: Path, name: str, host: str, by: str, days: str = "2") -> Path:
    """Of a host, signed by a CA: the path of both its files, without their endings."""
    words = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={host}")
    openssl(folder, "req", *words, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "ext").write_text(f"subjectAltName=DNS:{host}\n")
    signed = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-extfile", "ext", "-days", days)
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder / name


def serving(world: World, certificate: Path, *, ca: Path | None = None, host: str = "localhost") -> int:
    """A commit with a server that has this certificate; the port that it takes."""
    port = free_port()
    (world.folder / "server.py").write_text(SERVER)
    named = f", ca: {ca}" if ca else ""
    http = f"http: {{url: 'https://{host}:{port}/', body: fine{named}}}, {SOON}"
    command = f"{sys.executable} {world.folder}/server.py {port} {certificate}"
    world.commit(layer(http, command=command))
    return port


def test_a_ca_of_ones_own_is_trusted_where_git_names_it(world: World) -> None:
    ca = authority(world.folder, "ours")
    serving(world, certificate(world.folder, "good", "localhost", "ours"), ca=ca)
    world.once()
    assert health_of(world.run("status", "--json"))["health"] == "healthy"
    ca.rename(world.folder / "away")
    missing = f"the certificates of {ca} cannot be used: No such file or directory"
    assert f"degraded: web: http: {missing}" in told(world.once(code=1))
    (world.folder / "away").rename(ca)
    world.once()


@pytest.mark.parametrize("wrong", ["nobody's", "another CA's", "another host's", "expired"])
def test_no_other_certificate_is(world: World, wrong: str) -> None:
    ours, theirs = (authority(world.folder, name) for name in ("ours", "theirs"))
    host = "elsewhere.example.org" if wrong == "another host's" else "localhost"
    days = "-1" if wrong == "expired" else "2"
    made = certificate(world.folder, "made", host, "ours", days)
    ca = {"nobody's": None, "another CA's": theirs}.get(wrong, ours)
    serving(world, made, ca=ca)
    world.once("--json", code=1)
    done = world.once(code=1)
    assert "degraded: web: http: its certificate is not good: " in told(done), done.said
    reason = {"another host's": "Hostname mismatch", "expired": "has expired"}.get(wrong, "unable to get local issuer")
    assert reason in told(done)
