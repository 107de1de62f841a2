"""Real images by a real Apptainer: from every kind of source, killed at any instant, and two at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any, NamedTuple

import pytest

from reconciler.install.apptainer.content import problem
from reconciler.install.base import BuildStopped, InstallError
from reconciler.install.building import MARK
from tests.backends.account import Account, ordinary, python_for
from tests.backends.images import Registry, Stored, archive, image, oci_archive
from tests.backends.images import registry as serve
from tests.install.sif import Wanted, sha256, wanted

pytestmark = pytest.mark.apptainer

BUILD = """
import json, sys
from reconciler.core.desired import Install
from reconciler.install import method
install = Install(*json.loads(sys.argv[1]))
method(install.method).build(install, print)
"""


class Bed:
    """A folder of an ordinary user's, and the surroundings that it runs programs in."""

    def __init__(self, folder: Path, account: Account) -> None:
        self.folder, self.account = account.folder(folder), account
        self.images = account.folder(folder / "images")
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(account.folder(folder / "home")),
            "APPTAINER_CONFIGDIR": str(folder / "config"),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }

    def own(self, path: Path) -> Path:
        self.account.own(path)
        return path

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(argv, cwd=self.folder, env=self.env, **pipe, **self.account.become)

    def run(self, *argv: str) -> str:
        process = self.start(*argv)
        out = process.communicate(timeout=120)[0].decode()
        assert process.returncode == 0, out
        return out

    def builder(self, one: Wanted) -> subprocess.Popen[bytes]:
        return self.start(python_for(self.account), "-c", BUILD, json.dumps(one.install))

    def build(self, one: Wanted) -> str:
        return self.run(python_for(self.account), "-c", BUILD, json.dumps(one.install))

    def version(self, one: Wanted) -> str:
        """What is in the image, by its own account."""
        return self.run("apptainer", "-s", "exec", str(one.path), "cat", "/version").strip()


@pytest.fixture
def bed(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    made = Bed(short_folder, ordinary())
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("APPTAINER_CACHEDIR", raising=False)
    yield made
    assert at_work(made.folder) == []


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve() as made:
        yield made


class Guarded(NamedTuple):
    """A registry that wants ann and her password."""

    registry: Registry
    host: str
    seen: list[bytes]  # arguments of processes that had the password in them


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    made = Guarded(Registry(""), "", [])
    login = "Basic " + b64encode(b"ann:sesame").decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.seen.extend(words for words in arguments() if b"sesame" in words)
            allowed = self.headers["Authorization"] == login
            kind, body = (made.registry.answer(self.path) if allowed else None) or ("application/json", b"{}")
            self.send_response(200 if allowed else 401)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            if not allowed:
                self.send_header("WWW-Authenticate", 'Basic realm="here"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made._replace(host=f"127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    thread.join()
    server.server_close()


def arguments() -> Iterator[bytes]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            yield Path(f"/proc/{name}/cmdline").read_bytes()


def at_work(folder: Path) -> list[str]:
    """Processes of builds below this folder."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes()
            command = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if f"{MARK}={folder}/".encode() in environ:
            found.append(f"{name}: {command!r}")
    return found


# ---------------------------------------------------------------- from everywhere


@pytest.mark.parametrize("kind", ["path", "sandbox", "oras", "oras with a login", "http"])
def test_fetched_as_it_is(kind: str, bed: Bed, registry: Registry) -> None:
    sif = image(bed.folder, "1.2")
    stored = Stored.of_sif(sif)
    registry.push("team/site", "1", stored)
    sources = {
        "path": str(sif),
        "sandbox": str(bed.folder / "sandbox"),
        "oras": f"oras://{registry.host}/team/site:1",
        "oras with a login": f"oras://ann:sesame@{registry.host}/team/site:1",
        "http": f"http://{registry.host}/v2/team/site/blobs/sha256:{sha256(sif)}",
    }
    if kind == "sandbox":
        bed.run("apptainer", "build", "--sandbox", sources[kind], str(sif))
    one = wanted(bed.images, sources[kind], sha256="" if kind == "sandbox" else sha256(sif))
    told = bed.build(one)
    assert (one.complete(), one.others(), bed.version(one)) == (True, [], "1.2")
    assert "sesame" not in told
    assert not (bed.folder / "home/.apptainer/cache").exists()


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci", "docker", "docker by digest"])
def test_converted(kind: str, bed: Bed, registry: Registry) -> None:
    stored = Stored.of("2.1")
    registry.push("team/site", "2", stored)
    bed.own(archive(bed.folder / "d.tar", "2.1"))
    bed.run(
        "tar",
        "-C",
        str(bed.account.folder(bed.folder / "oci")),
        "-xf",
        str(bed.own(oci_archive(bed.folder / "o.tar", "2.1"))),
    )
    sources = {
        "docker-archive": f"docker-archive:{bed.folder}/d.tar",
        "oci-archive": f"oci-archive:{bed.folder}/o.tar",
        "oci": f"oci:{bed.folder}/oci",
        "docker": f"docker://{registry.host}/team/site:2",
        "docker by digest": f"docker://{registry.host}/team/site@{stored.digest}",
    }
    one = wanted(bed.images, sources[kind], name="apptainer-docker")
    told = bed.build(one)
    assert (one.complete(), one.others(), bed.version(one)) == (True, [], "2.1")
    assert f"site-1.0: converts {sources[kind]}\nsite-1.0: Fetching OCI image...\n" in told
    assert not (bed.folder / "home/.apptainer/cache").exists()


@pytest.mark.parametrize("scheme", ["oras", "docker"])
def test_a_registry_that_wants_a_password(scheme: str, bed: Bed, guarded: Guarded) -> None:
    """It gets it, and no process has it in its arguments; a wrong one is told without showing it."""
    stored = Stored.of("4.0") if scheme == "docker" else Stored.of_sif(image(bed.folder, "4.0"))
    guarded.registry.push("team/site", "4", stored)
    name = "apptainer-docker" if scheme == "docker" else "apptainer-sif"
    one = wanted(bed.images, f"{scheme}://ann:sesame@{guarded.host}/team/site:4", name=name)
    one.build()
    assert (one.complete(), bed.version(one), guarded.seen) == (True, "4.0", [])
    wrong = wanted(bed.images, f"{scheme}://ann:sesame-seed@{guarded.host}/team/site:4", image="x.sif", name=name)
    with pytest.raises(InstallError, match="The server wants another user and password") as error:
        wrong.build()
    assert "sesame" not in str(error.value)
    assert (wrong.path.exists(), guarded.seen) == (False, [])


def test_by_whoever_runs_the_tests(bed: Bed) -> None:
    """Root's builds take another way in Apptainer."""
    one = wanted(bed.images, f"docker-archive:{archive(bed.folder / 'd.tar', '2.2')}", name="apptainer-docker")
    one.build()
    assert (one.complete(), one.others(), bed.version(one)) == (True, [], "2.2")


def test_an_image_that_registries_do_not_have(bed: Bed, registry: Registry) -> None:
    for name, scheme in (("apptainer-docker", "docker"), ("apptainer-sif", "oras")):
        one = wanted(bed.images, f"{scheme}://{registry.host}/team/nothing:1", name=name)
        with pytest.raises(InstallError, match=rf"{scheme}://{registry.host}/team/nothing:1: exit status") as error:
            one.build()
        assert "There is no such image: check `source:`" in str(error.value)
        assert (one.path.exists(), one.others()) == (False, [])


def test_the_old_image_stays_until_the_new_one_is_whole(bed: Bed, registry: Registry) -> None:
    one = wanted(bed.images, image(bed.folder, "1.0"))
    one.build()
    with pytest.raises(InstallError):
        wanted(bed.images, f"oras://{registry.host}/team/nothing:1").build()
    assert (one.complete(), bed.version(one)) == (True, "1.0")


# ---------------------------------------------------------------- ended in the middle


def test_asked_to_stop_while_apptainer_works(bed: Bed, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = registry.answer, list[str]()

    def slow(path: str) -> tuple[str, bytes] | None:
        asked.append(path)
        end = monotonic() + 30
        while at_work(bed.folder) and monotonic() < end:
            sleep(0.05)
        return answer(path)

    monkeypatch.setattr(registry, "answer", slow)
    one = wanted(bed.images, f"docker://{registry.host}/team/site:1", name="apptainer-docker")
    began = monotonic()
    with pytest.raises(BuildStopped):
        one.build(asked_to_stop=lambda: bool(asked))
    assert monotonic() - began < 15
    assert (at_work(bed.folder), one.path.exists(), one.others()) == ([], False, [])


@pytest.mark.slow
def test_killed_at_any_instant(bed: Bed) -> None:
    """What stands in the place is always a whole image, and the next build finds its way."""
    sources = [bed.own(archive(bed.folder / f"{version}.tar", version)) for version in ("1.0", "2.0")]
    both = [wanted(bed.images, f"docker-archive:{source}", name="apptainer-docker") for source in sources]
    began = monotonic()
    bed.build(both[1])
    whole = monotonic() - began
    for attempt in range(10):
        one = both[attempt % 2]
        builder = bed.builder(one)
        delay = random.uniform(0.1, 1.1) * whole
        sleep(delay)
        builder.send_signal(signal.SIGKILL)
        builder.wait()
        assert builder.stdout
        builder.stdout.close()
        assert problem(str(one.path)) == "", delay
        assert bed.version(one) in ("1.0", "2.0")
        assert not one.complete() or bed.version(one) == ("1.0", "2.0")[attempt % 2]
    bed.build(both[0])
    assert (both[0].complete(), both[0].others(), bed.version(both[0])) == (True, [], "1.0")


def test_two_at_once_build_it_once(bed: Bed, registry: Registry) -> None:
    stored = Stored.of("3.0")
    registry.push("team/site", "3", stored)
    one = wanted(bed.images, f"docker://{registry.host}/team/site:3", name="apptainer-docker")
    builders = [bed.builder(one) for _ in range(2)]
    told = [builder.communicate(timeout=120)[0].decode() for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0], told
    assert "".join(told).count("converts") == 1
    assert (one.complete(), one.others(), bed.version(one)) == (True, [], "3.0")
