"""A real network file system: sshfs, which asks OpenSSH's sftp-server over TCP, with a delay and at times no answer.

What is forgotten between two calls is asked again: neither names nor attributes are kept. The server is a part of the
process that mounts, so no mount outlives it that does not answer.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/lib/sftp-server", "/usr/libexec/openssh/sftp-server")
_KEEPS_NOTHING = "dir_cache=no,attr_timeout=0,entry_timeout=0,negative_timeout=0"
_SECONDS = 20  # until it is mounted, or no longer


def why_no_mount() -> str:
    """What is missing; empty where such a mount can be made."""
    if not shutil.which("sshfs"):
        return "not installed (Debian: sshfs)"
    if not any(map(os.path.exists, _SERVERS)):
        return "no sftp-server (Debian: openssh-sftp-server)"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    return ""


def version() -> str:
    told = subprocess.run(["sshfs", "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    return next((line for line in told.splitlines() if line.startswith("SSHFS")), "sshfs")


class Line:
    """The way between a mount and its server."""

    def __init__(self, delay: float) -> None:
        """`delay`: seconds that all takes in each direction, so an answer takes twice that."""
        self._delay = delay
        self._open = Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends: list[Callable[[], object]] = [self._listener.close]
        Thread(target=self._serve, daemon=True).start()

    def silence(self) -> None:
        """From now on nothing comes through, and no end is told."""
        self._open.clear()

    def go_on(self) -> None:
        """What was held back comes through."""
        self._open.set()

    def cut(self) -> None:
        """The connection is lost, and both sides know."""
        for end in self._ends:
            with suppress(OSError):
                end()
        self._open.set()

    def _serve(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            program = next(filter(os.path.exists, _SERVERS))
            near, far = socket.socketpair()
            with subprocess.Popen([program], stdin=far.fileno(), stdout=far.fileno()) as server:
                far.close()
                self._ends += [lambda: client.shutdown(socket.SHUT_RDWR), lambda: near.shutdown(socket.SHUT_RDWR)]
                self._ends += [server.kill]
                both = [Thread(target=self._pass, args=way, daemon=True) for way in ((client, near), (near, client))]
                for one in both:
                    one.start()
                for one in both:
                    one.join()
                client.close()
                near.close()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        Thread(target=self._hand_on, args=(waiting, target), daemon=True).start()
        data = b"?"
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self._delay, data))

    def _hand_on(self, waiting: SimpleQueue[tuple[float, bytes]], target: socket.socket) -> None:
        data = b"?"
        while data:
            due, data = waiting.get()
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            self._open.wait()
            with suppress(OSError):
                target.sendall(data) if data else target.shutdown(socket.SHUT_RDWR)


@contextmanager
def mounted(served: Path, at: Path, delay: float = 0.0) -> Iterator[Line]:
    """The folder `served`, mounted at another one, until the end of the block."""
    line = Line(delay)
    options = f"directport={line.port},{_KEEPS_NOTHING}"
    argv = ["sshfs", "-f", "-o", options, f"127.0.0.1:{served}", str(at)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _until(lambda: _is_mounted(at) or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError(f"sshfs: {process.communicate()[1].decode(errors='replace')}")
        yield line
    finally:
        line.cut()
        process.terminate()
        process.communicate(timeout=_SECONDS)
        if _is_mounted(at):
            subprocess.run(["fusermount3", "-u", "-z", str(at)], check=False, capture_output=True)
        _until(lambda: not _is_mounted(at))  # else whoever removes the folder would remove what is served


def _is_mounted(at: Path) -> bool:
    """By the kernel's list: a mount that does not answer cannot be asked."""
    place = f" {at} ".encode()
    return any(place in line for line in Path("/proc/self/mountinfo").read_bytes().splitlines())


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + _SECONDS
    while not true():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.01)
