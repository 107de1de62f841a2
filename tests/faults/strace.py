"""Faults at the boundary of the kernel: strace lists the system calls of a program, and has one of them fail.

Only the main thread of the program itself is looked at, which is where the calls of a pass are made; the programs
that it starts run undisturbed. What was really hit is read from strace's own log, so that a count that has shifted
by a call names the call that it fell on.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

KILL = "KILL"  # instead of an error: SIGKILL as the call is entered

# What may go wrong with a call. The first of each is what happens most.
_CREATES = ("ENOSPC", "EACCES", "EMFILE", KILL)
_ERRORS: Mapping[str, tuple[str, ...]] = {
    "openat": ("EACCES", "EIO"),
    **dict.fromkeys(("read", "pread64", "getdents64", "newfstatat", "fstat", "statx"), ("EIO",)),
    **dict.fromkeys(("write", "pwrite64"), ("ENOSPC", "EIO", KILL)),
    "fsync": ("EIO", KILL),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), ("EROFS", "ENOSPC", KILL)),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), ("EACCES", "EROFS", KILL)),
    **dict.fromkeys(("mkdir", "mkdirat"), ("ENOSPC", "EACCES", KILL)),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat"), ("EPERM", "EROFS", KILL)),
    "ftruncate": ("EIO", KILL),
    "utimensat": ("EACCES", KILL),
    **dict.fromkeys(("readlink", "readlinkat", "access", "faccessat", "faccessat2", "statfs"), ("EACCES",)),
    "flock": ("EIO", "ENOLCK", KILL),
    **dict.fromkeys(("vfork", "fork", "clone", "clone3"), ("EAGAIN", "ENOMEM", KILL)),
    **dict.fromkeys(("wait4", "waitid"), ("ECHILD", KILL)),
    "kill": ("EPERM", KILL),
    **dict.fromkeys(("pipe2", "socket", "memfd_create"), ("EMFILE",)),
    "connect": ("ECONNREFUSED", "EACCES", KILL),
    **dict.fromkeys(("sendto", "sendmsg"), ("EPIPE", KILL)),
    **dict.fromkeys(("recvfrom", "recvmsg"), ("ECONNRESET", KILL)),
    "poll": ("ENOMEM", KILL),
}
_OF_PROGRAMS = ("vfork", "fork", "clone", "clone3", "wait4", "waitid", "kill", "pipe2", "memfd_create")
_NAMELESS = frozenset((*_OF_PROGRAMS, "socket", "connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "poll"))
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (.*)$")
_PIPES = re.compile(r"^\d+<(pipe|socket|UNIX|TCP)")


class Call(NamedTuple):
    """One system call of a pass."""

    name: str
    nth: int  # of this name, from the start of the program
    place: str  # what it is about, without what differs from run to run
    creates: bool = False

    @property
    def errors(self) -> tuple[str, ...]:
        return _CREATES if self.creates else _ERRORS[self.name]

    def __str__(self) -> str:
        return f"{self.name} {self.place}"


class Fault(NamedTuple):
    """One call that fails; with `on`, all later ones of its name do too, as on a disk that stays full."""

    call: Call
    error: str
    on: bool = False

    def __str__(self) -> str:
        return f"{self.call.name}#{self.call.nth} {self.error}{' from then on' if self.on else ''}: {self.call.place}"


class Ran(NamedTuple):
    """A program that ran under strace."""

    code: int  # negative: ended by that signal
    out: str
    err: str
    log: str

    @property
    def hit(self) -> str:
        """The first call that failed, as strace has it; empty where it never came so far."""
        return next((line for line in self.log.splitlines() if "(INJECTED)" in line), "")


def recorded(argv: Sequence[str], env: Mapping[str, str], log: Path, ours: Sequence[str]) -> tuple[Ran, list[Call]]:
    """Run a program; its calls that have to do with these folders, or with other programs."""
    ran = _run(argv, env, log, ["-e", "trace=" + ",".join(f"?{name}" for name in _ERRORS)])
    return ran, list(_calls(ran.log, ours))


def concerns(line: str, ours: Sequence[str]) -> bool:
    """Whether a call has to do with these folders, or with other programs: the start of the interpreter has not."""
    match = _LINE.match(line)
    if not match:
        return False
    name, arguments, _ = match.groups()
    return name in _NAMELESS or bool(_PIPES.match(arguments)) or any(folder in arguments for folder in ours)


def injected(argv: Sequence[str], env: Mapping[str, str], log: Path, fault: Fault) -> Ran:
    """Run a program in which this call fails."""
    what = f"signal={fault.error}" if fault.error == KILL else f"error={fault.error}"
    name, when = fault.call.name, f"{fault.call.nth}{'+' if fault.on else ''}"
    return _run(argv, env, log, ["-e", f"trace={name}", "-e", f"inject={name}:{what}:when={when}"])


def _run(argv: Sequence[str], env: Mapping[str, str], log: Path, options: Sequence[str]) -> Ran:
    command = ["strace", "-y", "-s", "0", "-o", str(log), *options, *argv]
    # not in a folder of ours: strace would name that with each call that takes a whole path
    done = subprocess.run(
        command, cwd="/", env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
    )
    text = log.read_text(errors="replace")
    return Ran(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), text)


def _calls(log: str, ours: Sequence[str]) -> Iterator[Call]:
    counts: Counter[str] = Counter()
    for line in log.splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        name, arguments, _ = match.groups()
        counts[name] += 1
        if concerns(line, ours):
            yield Call(name, counts[name], _place(arguments, ours), name == "openat" and "O_CREAT" in arguments)


def _place(arguments: str, ours: Sequence[str]) -> str:
    """The paths in the arguments of a call, or what kind of descriptor it is about."""
    place = arguments
    for folder in ours:
        if not folder.startswith("/proc/"):
            place = place.replace(os.path.dirname(folder.rstrip("/")) + "/", "")
    place = re.sub(r"AT_FDCWD<[^>]*>, ", "", place)
    place = re.sub(r"/proc/\d+", "/proc/PID", place)
    place = re.sub(r"[0-9a-f]{16,40}", "HASH", place)
    words = [left or right for left, right in re.findall(r"\d<([^>:]*)[^>]*>|\"([^\"]+)\"", place)]
    return "/".join(words)[:150]
