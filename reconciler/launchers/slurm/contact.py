"""How a pass finds the supervisord in a job: by the note that it leaves when it listens, where all nodes see it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from reconciler.host import files, proc

_KEPT = 10  # notes of jobs
ANY = "0.0.0.0"  # noqa: S104 - who connects is asked for the key


class Contact(NamedTuple):
    """Where the supervisord of a job listens. The key opens its port, so the note is the account's own (0600)."""

    job: int
    node: str
    space: str  # in which its process ids mean something
    port: int
    key: str


def space() -> str:
    """Names the process ids of this host since its boot: the same for two processes that can see each other."""
    return f"{proc.boot_id()} {os.readlink('/proc/self/ns/pid')}"


def path(folder: str, job: int) -> str:
    return f"{folder}/{job}.json"


def write(folder: str, contact: Contact) -> None:
    """Leave the note, and take away those of jobs that are long over. Raises `OSError`.

    The last few may be of a job that still runs: somebody has submitted another one beside it.
    """
    keep(folder, contact)
    notes = [f"{folder}/{name}" for name in os.listdir(folder) if _is_of_a_job(name)]
    with suppress(OSError):
        for old in sorted(notes, key=os.path.getmtime)[:-_KEPT]:
            os.unlink(old)


def _is_of_a_job(name: str) -> bool:
    return name.endswith(".json") and name.removesuffix(".json").isdecimal()


def keep(folder: str, contact: Contact) -> None:
    """Leave the note. Raises `OSError`."""
    files.make_folder(folder, 0o700)
    files.write(path(folder, contact.job), json.dumps(contact._asdict()).encode(), 0o600)


def read(folder: str, job: int) -> Contact | None:
    """The note of this job; None where there is none. Raises `OSError` for one that cannot be read or understood."""
    try:
        found = json.loads(files.read(path(folder, job)))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise OSError(5, f"is no note of a job ({error})", path(folder, job)) from error
    match found:
        case {"job": int(number), "node": str(node), "space": str(where), "port": int(port), "key": str(key)}:
            return Contact(number, node, where, port, key)
    raise OSError(5, "is no note of a job", path(folder, job))


def started(folder: str) -> set[str]:
    """The programs that have run in a job of this deployment, and were not taken away since."""
    try:
        return set(files.read(f"{folder}/started").decode(errors="replace").split("\n")) - {""}
    except OSError:
        return set()


def forget_started(folder: str, names: Iterable[str]) -> None:
    """They were taken away while no job runs. Raises `OSError`."""
    known = started(folder)
    if known & set(names):
        note_started(folder, known - set(names))


def note_started(folder: str, names: set[str]) -> None:
    """Raises `OSError`."""
    files.make_folder(folder, 0o700)
    files.write(f"{folder}/started", "\n".join([*sorted(names), ""]).encode(), 0o600)
