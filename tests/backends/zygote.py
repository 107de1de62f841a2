"""A Python that has imported the project, and becomes a process for each call of one by forking.

Run by its path, with the number of a socket, by tests.backends.warm. Four fifths of the processor time of a short
call of `reconcile` are imports. Nothing of the project has run here: a fork is a program that has just been started,
with the arguments, environment, folder, descriptors and account of the call.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

# What the project imports where it is used.
_OTHERS = (
    "argparse", "calendar", "csv", "difflib", "email.message", "fcntl", "fnmatch", "getpass", "glob", "gzip",
    "http.client", "random", "secrets", "shlex", "shutil", "signal", "smtplib", "ssl", "subprocess", "tempfile",
    "textwrap", "threading", "traceback", "urllib.request", "xml.parsers.expat", "xmlrpc.client",
    "deepdiff", "git", "jinja2", "jinja2.debug", "jinja2.sandbox", "pyrage", "ruamel.yaml", "ruamel.yaml.cyaml",
    "structlog", "structlog.dev", "structlog.stdlib", "supervisor.options",
    "supervisor.xmlrpc", "urllib3", "watchfiles",
)  # fmt: skip
_SET_DUMPABLE, _SET_MM, _SET_MM_MAP = 4, 35, 14
_KEPT: list[Any] = []  # what the kernel has been told of must stay where it is


def main() -> None:
    """Until the other side of the socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    library = ctypes.CDLL(None)
    gc.freeze()  # collecting would copy what forks share
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    called: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ended(called)
        if control.fileno() not in ready:
            continue
        message, received, _, _ = socket.recv_fds(control, 1 << 20, 4)
        if not message:
            return
        *streams, answers = received
        pid = os.fork()
        if not pid:
            _be(json.loads(message), streams, library)
        for each in streams:
            os.close(each)
        called[pid] = socket.socket(fileno=answers)
        _say(called[pid], pid)


def _import_all() -> None:
    for name in _OTHERS:
        with suppress(ImportError):
            import_module(name)
    import reconciler

    for found in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not found.name.endswith("__main__"):
            with suppress(ImportError):  # of an extra
                import_module(found.name)


def _tell_ended(called: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            answers = called.pop(pid)
            _say(answers, os.waitstatus_to_exitcode(status))
            answers.close()


def _say(answers: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody waits any more
        answers.send(b"%d" % number)


def _be(call: dict[str, Any], streams: list[int], library: Any) -> None:
    """Become the process that was called for. Does not return."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
        os.chdir(call["cwd"])
        os.environ.clear()
        os.environ.update(call["env"])
        time.tzset()
        if call["user"] is not None:
            os.setgroups(call["groups"])
            os.setresgid(*[call["group"]] * 3)
            os.setresuid(*[call["user"]] * 3)
            library.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # as a program is that was executed by that account
        gc.unfreeze()
        argv = [sys.executable, *call["words"]]
        if not _tell_kernel(library, argv, call["env"]):
            os.execve(sys.executable, argv, call["env"])
        _execute(*call["words"])
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its outermost
        traceback.print_exc()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _tell_kernel(library: Any, argv: list[str], env: dict[str, str]) -> bool:
    """Have /proc show the arguments and the environment of the call, as if it had been executed with them; whether
    that can be done. The other fields are what they were: proc(5), and PR_SET_MM_MAP of prctl(2)."""
    words = b"".join(os.fsencode(word) + b"\0" for word in argv)
    values = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in env.items())
    _KEPT.append(ctypes.create_string_buffer(words + values))
    begin = ctypes.addressof(_KEPT[-1])
    middle, end = begin + len(words), begin + len(words) + len(values)
    with open("/proc/self/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    code, data, heap, stack = (int(fields[number - 3]) for number in (26, 45, 47, 28))
    code_end, data_end = int(fields[27 - 3]), int(fields[46 - 3])
    library.sbrk.restype = ctypes.c_void_p
    places = (code, code_end, data, data_end, heap, library.sbrk(0), stack, begin, middle, middle, end, 0)
    made = struct.pack("12Q2I", *places, 0, 0xFFFFFFFF)
    return bool(library.prctl(_SET_MM, _SET_MM_MAP, made, len(made), 0) == 0)


def _execute(way: str, what: str, *words: str) -> None:
    """As `python -m` and `python -c` do."""
    sys.orig_argv = [sys.executable, way, what, *words]
    if way == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = [what, *words]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, "")
        sys.argv = ["-c", *words]
        sys.modules["__main__"] = program = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), program.__dict__)


if __name__ == "__main__":
    main()
