"""What all builds share: one builder at a time, a marker when all is done, and no process left behind.

A killed pass cannot end what it has started, which then goes on writing. So every process of a build carries
the folder that it builds in its environment, and whoever builds there next ends it first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING

from reconciler.install.base import BuildStopped, InstallError

if TYPE_CHECKING:
    from reconciler.host.run import CommandFailed, Finished

MARK = "RECONCILE_BUILD"  # in the environment of every process of a build
TIME_LIMIT = 1800.0  # seconds, of one command
_PATIENCE = 3600.0  # seconds that another builder of the same thing is waited for
_SLICE = 0.2  # seconds between two looks at how a command gets on
_SIGKILL = 9  # by number: the signal module costs 5 ms


# ---------------------------------------------------------------- the marker


def first_line(path: str) -> str:
    """Of a small file; empty where there is none. Raises `OSError` where that cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        return os.read(descriptor, 256).decode(errors="replace").partition("\n")[0]
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------- one at a time


@contextmanager
def alone(path: str, what: str, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> Iterator[None]:
    """Nobody else who takes the lock at this path builds meanwhile. Raises `InstallError` where it stays taken."""
    from reconciler.host.lock import Lock

    lock = Lock(path)
    until = monotonic() + _PATIENCE
    told = False
    while (holder := lock.acquire()) is not None:
        if asked_to_stop():
            raise BuildStopped(what)
        if monotonic() > until:
            raise InstallError(f"{what} was not built: {lock.path} is held by {holder}")
        if not told:
            progress(f"{what}: waits for another builder of it, {holder}")
        told = True
        sleep(_SLICE)
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- its processes


def run_watched(
    argv: Sequence[str], env: Mapping[str, str], folder: str, cwd: str, meanwhile: Callable[[], None]
) -> Finished:
    """Run a program for the build in `folder`, and `meanwhile` time and again; what that raises ends the program.

    Raises `CommandFailed`.
    """
    from threading import Thread

    from reconciler.host.run import CommandFailed

    results: list[Finished | CommandFailed] = []
    thread = Thread(target=_run_into, args=(results, argv, {**env, MARK: folder}, cwd), daemon=True)
    meanwhile()
    try:
        thread.start()
    except RuntimeError as error:  # the account may run no more threads
        raise CommandFailed(argv, f"could not be started: {error}") from error
    try:
        while thread.is_alive():
            thread.join(_SLICE)
            meanwhile()
    except BaseException:
        end_processes(folder)
        thread.join(5)
        raise
    if isinstance(results[0], CommandFailed):
        raise results[0]
    return results[0]


def _run_into(results: list[Finished | CommandFailed], argv: Sequence[str], env: Mapping[str, str], cwd: str) -> None:
    from reconciler.host.run import CommandFailed, run

    try:
        results.append(run(argv, timeout=TIME_LIMIT, env=env, cwd=cwd))
    except CommandFailed as error:
        results.append(error)


def end_processes(folder: str, seconds: float = 10.0) -> None:
    """End what a killed pass left at work in this folder. Raises `InstallError` where it does not go."""
    until = monotonic() + seconds
    while pids := processes_of(folder):
        if monotonic() > until:
            raise InstallError(
                f"{folder}: process {pids[0]} of an earlier build is still at work in it and cannot be ended"
            )
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, _SIGKILL)
        sleep(0.02)


def processes_of(folder: str) -> list[int]:
    """The processes of a build in this folder, other than this one."""
    from reconciler.host import files

    mark = f"{MARK}={folder}".encode("utf-8", "surrogateescape")
    pids = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):  # gone, or somebody else's
            if mark in files.read(f"/proc/{name}/environ").split(b"\0"):
                pids.append(int(name))
    return pids
