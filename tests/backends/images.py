"""Tiny real images, made without any network: one static program, and a file that says which version it is.

What the image runs is what it is given (`apptainer instance start x.sif NAME sleep 60`), or, without
words, a script that prints the version and sleeps.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from tests.backends.account import Account, ordinary

APPLETS = (
    *("cat", "cp", "date", "echo", "env", "false", "grep", "head", "httpd", "id", "kill", "ls", "mkdir", "mv", "nc"),
    *("ps", "rm", "sed", "sh", "sleep", "tail", "touch", "true", "wc", "wget"),
)
_FOLDERS = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var/tmp")
_RUN = '#!/bin/sh\n[ $# -eq 0 ] || exec "$@"\necho "version $(cat /version)"\nexec sleep 86399\n'
_DOCKER = "application/vnd.docker."
_OCI = "application/vnd.oci."


# ---------------------------------------------------------------- images


def image(folder: Path, version: str, name: str = "app", files: Mapping[str, str] | None = None) -> Path:
    """The image `folder/NAME-VERSION.sif`. Its version is in /version, in a label and in what it prints.

    `files`: more of them, by path inside; those below /bin can be executed. An image of the same version
    and files is built once per session, and is the same file to the byte.
    """
    account, content = ordinary(), _content(version, files)
    built = _built(account, content, version)
    target = folder / f"{name}-{version}.sif"
    shutil.copyfile(built, target)
    target.chmod(0o755)
    account.own(target)
    return target


def archive(path: Path, version: str, files: Mapping[str, str] | None = None, tag: str = "app:latest") -> Path:
    """The same as a tar of `docker save`, for `docker-archive:PATH`."""
    layer = _layer(_content(version, files))
    config = json.dumps(_config(version, _digest(layer))).encode()
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    entries = {"layer.tar": layer, "config.json": config, "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(_tar(entries))
    return path


def oci_archive(path: Path, version: str, files: Mapping[str, str] | None = None, tag: str = "latest") -> Path:
    """The same as a tar of an OCI layout, for `oci-archive:PATH`."""
    stored = Stored.of(version, files)
    entry = stored.descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    index = {"schemaVersion": 2, "manifests": [entry]}
    entries = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
    blobs = {"blobs/sha256/" + digest.partition(":")[2]: data for digest, data in stored.blobs.items()}
    path.write_bytes(_tar(entries | blobs, ("blobs", "blobs/sha256")))
    return path


def _built(account: Account, content: Mapping[str, bytes], version: str) -> Path:
    parts = [word for path, data in sorted(content.items()) for word in (path.encode(), data)]
    folder = account.folder(Path(os.environ["RECONCILE_TEST_BASE"]) / f"images-{account.uid}")
    made = folder / f"{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.sif"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            root = folder / made.stem
            _write(root, content)
            account.own_all(root)
            _build(account, root, made)
    return made


def _build(account: Account, source: Path, target: Path) -> None:
    env = {"HOME": str(source.parent), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "SOURCE_DATE_EPOCH": "0"}
    env |= {"APPTAINER_CONFIGDIR": str(source.parent / "c"), "APPTAINER_CACHEDIR": str(source.parent / "cache")}
    env["TMPDIR"] = "/tmp"
    argv = ["apptainer", "--quiet", "build", str(target), f"{source}/"]
    done = subprocess.run(
        argv, cwd="/", env=env, capture_output=True, text=True, timeout=60, check=False, **account.become
    )
    assert done.returncode == 0, done.stderr


def _content(version: str, files: Mapping[str, str] | None) -> dict[str, bytes]:
    """All regular files, by path; busybox finds what to do by the name that it is called by."""
    label = {"org.label-schema.version": version}
    content = {
        "bin/busybox": Path(shutil.which("busybox") or "/bin/busybox").read_bytes(),
        "version": f"{version}\n".encode(),
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
        "etc/group": b"root:x:0:\n",
        "bin/run": _RUN.encode(),
        ".singularity.d/labels.json": json.dumps(label).encode(),
        ".singularity.d/runscript": b'#!/bin/sh\nexec /bin/run "$@"\n',
        ".singularity.d/startscript": b'#!/bin/sh\nexec /bin/run "$@"\n',
    }
    return content | {path.lstrip("/"): text.encode() for path, text in (files or {}).items()}


def _is_program(path: str) -> bool:
    return path.startswith("bin/") or path.endswith("script")


def _write(root: Path, content: Mapping[str, bytes]) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    for path, data in content.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        (root / path).chmod(0o755 if _is_program(path) else 0o644)
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")


# ---------------------------------------------------------------- as layers


class Stored(NamedTuple):
    """An image as a registry keeps it: by digest."""

    manifest: bytes
    kind: str
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return _digest(self.manifest)

    @property
    def descriptor(self) -> dict[str, Any]:
        return _descriptor(self.manifest, self.kind)

    @classmethod
    def of(cls, version: str, files: Mapping[str, str] | None = None) -> Stored:
        layer = _layer({path: data for path, data in _content(version, files).items() if path[:1] != "."})
        packed = gzip.compress(layer, mtime=0)
        config = json.dumps(_config(version, _digest(layer))).encode()
        return cls._stored(
            _descriptor(config, _OCI + "image.config.v1+json"),
            _descriptor(packed, _OCI + "image.layer.v1.tar+gzip"),
            config,
            packed,
        )

    @classmethod
    def of_sif(cls, sif: Path) -> Stored:
        """A SIF as it is, for `oras://`."""
        config, data = b"{}", sif.read_bytes()
        layer = _descriptor(data, "application/vnd.sylabs.sif.layer.v1.sif")
        layer["annotations"] = {"org.opencontainers.image.title": sif.name}
        return cls._stored(_descriptor(config, "application/vnd.sylabs.sif.config.v1+json"), layer, config, data)

    @classmethod
    def _stored(cls, config: dict[str, Any], layer: dict[str, Any], *blobs: bytes) -> Stored:
        kind = _OCI + "image.manifest.v1+json"
        content = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}
        manifest = json.dumps(content).encode()
        return cls(manifest, kind, {_digest(blob): blob for blob in (*blobs, manifest)})


def _descriptor(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _config(version: str, layer: str) -> dict[str, Any]:
    settings = {"Entrypoint": ["/bin/run"], "Env": ["PATH=/bin"], "Labels": {"version": version}}
    rootfs = {"type": "layers", "diff_ids": [layer]}
    return {"architecture": _architecture(), "os": "linux", "config": settings, "rootfs": rootfs}


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def _layer(content: Mapping[str, bytes]) -> bytes:
    return _tar(content, _FOLDERS, {f"bin/{applet}": "busybox" for applet in APPLETS})


def _tar(content: Mapping[str, bytes], folders: tuple[str, ...] = (), links: Mapping[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755 if _is_program(name) else 0o644
            tar.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return out.getvalue()


# ---------------------------------------------------------------- a registry


class Registry:
    """One on loopback, without TLS: `docker://HOST/NAME:TAG` or `oras://HOST/NAME:TAG`, with `--no-https`.

    `asked` has the paths that were asked for.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.asked: list[str] = []
        self._stored: dict[tuple[str, str], Stored] = {}  # by name and tag

    def push(self, name: str, tag: str, stored: Stored) -> str:
        """Its digest, which can be asked for as well."""
        self._stored[name, tag] = stored
        return stored.digest

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """What lies there, and of what kind."""
        self.asked.append(path)
        if path == "/v2/":
            return "application/json", b"{}"
        for kind in ("manifests", "blobs"):
            name, found, reference = path.removeprefix("/v2/").partition(f"/{kind}/")
            if found:
                return self._manifest(name, reference) if kind == "manifests" else self._blob(name, reference)
        return None

    def _manifest(self, name: str, reference: str) -> tuple[str, bytes] | None:
        for (stored_as, tag), stored in self._stored.items():
            if stored_as == name and reference in (tag, stored.digest):
                return stored.kind, stored.manifest
        return None

    def _blob(self, name: str, digest: str) -> tuple[str, bytes] | None:
        for (stored_as, _), stored in self._stored.items():
            if stored_as == name and digest in stored.blobs:
                return "application/octet-stream", stored.blobs[digest]
        return None


@contextmanager
def registry() -> Iterator[Registry]:
    """On a port of its own."""
    made = Registry("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = made.answer(self.path)
            kind, body = found or ("application/json", b'{"errors": [{"code": "NOT_FOUND"}]}')
            self.send_response(200 if found else 404)
            headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Docker-Content-Digest": _digest(body)}
            for header, value in headers.items():
                self.send_header(header, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    made.host = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
