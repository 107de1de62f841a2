"""Apptainer's records of instances: where they are, what they say, and whether that is still so.

A record is written in place, so it can be met half-written; it outlives a reboot and a crash, and then its
pid may be anybody's. Of a home that several hosts share, each has a folder of its own, named after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

from reconciler.host import files, proc

_RETRIES, _RETRY = 5, 0.002  # a record is written in one go


class Stand(Enum):
    """What a record is worth."""

    ABSENT = "absent"
    ALIVE = "alive"  # its process is that instance
    CLOSED = "closed"  # its process is an instance, and which cannot be told
    STALE = "stale"  # there is no such process, or it is something else by now
    BROKEN = "broken"  # it is not whole


class Record(NamedTuple):
    stand: Stand
    pid: int = 0


def _folder(configdir: str, kind: str) -> str:
    import pwd

    user = str(os.getuid())
    with suppress(KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
    return f"{configdir}/instances/{kind}/{os.uname().nodename}/{user}"


def path(configdir: str, name: str) -> str:
    return f"{_folder(configdir, 'app')}/{name}/{name}.json"


def logs(configdir: str, name: str) -> tuple[str, str]:
    """Where an instance's two outputs go."""
    folder = _folder(configdir, "logs")
    return f"{folder}/{name}.out", f"{folder}/{name}.err"


def names(configdir: str) -> list[str]:
    """Of all instances that are recorded for this host and account. Raises `OSError`."""
    try:
        return os.listdir(_folder(configdir, "app"))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read(configdir: str, name: str) -> Record:
    """What stands behind a record. One that is just being written is waited for. Raises `OSError`."""
    place = path(configdir, name)
    try:
        pid = parse(files.read(place))
        for _ in range(_RETRIES):
            if pid is not None:
                break
            time.sleep(_RETRY)
            pid = parse(files.read(place))
    except (FileNotFoundError, NotADirectoryError):
        return Record(Stand.ABSENT)
    return Record(Stand.BROKEN) if pid is None else Record(_stand(pid, name), pid)


def parse(content: bytes) -> int | None:
    """The pid of the instance's first process, 0 for what cannot be one; None where the record is not whole."""
    import json

    try:
        match json.loads(content):
            case {"pid": int(pid)}:
                return pid if 1 < pid < 1 << 31 else 0
    except (ValueError, RecursionError):
        pass
    return None


def _stand(pid: int, name: str) -> Stand:
    try:
        ours = pid != 0 and os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except (FileNotFoundError, ProcessLookupError):
        ours = False
    box = proc.instance(pid) if ours else None
    if box is None or (box.name and box.name != name):
        return Stand.STALE
    return Stand.ALIVE if box.name else Stand.CLOSED


def forget(configdir: str, name: str) -> None:
    """Take away a record behind which nothing stands; any other is left. Raises `OSError`."""
    if read(configdir, name).stand in (Stand.STALE, Stand.BROKEN):
        place = path(configdir, name)
        files.remove(place)
        with suppress(OSError):  # somebody keeps more in it
            os.rmdir(os.path.dirname(place))


def first_processes() -> Iterator[tuple[int, str]]:
    """Every instance of this account that runs, whatever the records say: its pid and its name."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                box = proc.instance(int(entry))
                if box is not None and os.stat(f"/proc/{entry}").st_uid == os.getuid():
                    yield int(entry), box.name


def is_elsewhere(configdir: str, pid: int) -> bool:
    """Whether an instance is recorded in another folder: its output goes below the one that it was started with."""
    try:
        output = os.readlink(f"/proc/{pid}/fd/1")
    except OSError:
        return False
    return "/instances/logs/" in output and not output.startswith(f"{os.path.realpath(configdir)}/")
