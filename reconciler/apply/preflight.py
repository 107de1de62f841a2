"""Whether what is to be started can be started, before anything is stopped for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from shlex import quote

from reconciler.core.desired import Install, Service
from reconciler.core.prologue import prologue_script
from reconciler.host.detached import SERVICE_PATH
from reconciler.host.run import CommandFailed, run, tail
from reconciler.install import method

_PROLOGUE_SECONDS = 120.0
_NOT_FOUND = 121  # the exit status where the program is not there: one that a prologue hardly has of its own
_LAST_WORDS = 'set -o pipefail; /bin/bash -c "$1" 2>&1 | tail -c 16384'  # it may print for as long as it runs
_OF_THE_SHELL = frozenset("~$`*?[{(<>")  # what a word means that has one of these, only a shell can tell


def check_places(folders: Sequence[str], mounted: Sequence[str]) -> tuple[str, str] | None:
    """None when a service can use its places: folders to write to, and what its container is shown of the host."""
    for path in folders:
        if not os.path.isdir(path):
            return f"{path} is not there and could not be made", "see who may write to the folder that it is in"
        if not os.access(path, os.W_OK | os.X_OK):
            return f"{path} cannot be written to by this account", f"see `ls -ld {path}` and what it is mounted as"
    missing = next((path for path in mounted if not os.path.exists(path)), "")
    return (f"{missing} is to be mounted, and does not exist", "check `container.mounts`") if missing else None


Missing = tuple[str, str]  # what is missing, and how to mend it
Asked = dict[tuple[str, str], Missing | None]  # what a shell has said of a prologue and a program


def find_program(service: Service, install: Install | None, root: str, asked: Asked | None = None) -> Missing | None:
    """None when the prologue of a service goes well and its program can be found, else what is missing.

    `asked` remembers what a shell said, for the services that have the same prologue.
    """
    program = service.program
    if not program or program[0] == "-" or not _OF_THE_SHELL.isdisjoint(program):
        program = ""  # not known, an option of `exec`, or the shell decides what it is
    if "/" in program:
        missing, program = _check_path(os.path.join(root, program)), ""
        if missing:
            return missing
    if install is not None and program and method(install.method).find_program(install, program):
        program = ""
    if service.prologue.strip():
        known = {} if asked is None else asked
        key = (service.prologue, program)
        if key not in known:
            known[key] = _ask_shell(service, program)
        return known[key]
    return _search(program, install) if program else None


def _in_image(install: Install | None) -> bool:
    return install is not None and method(install.method).is_image


def _search(program: str, install: Install | None) -> Missing | None:
    if any(os.access(os.path.join(folder, program), os.X_OK) for folder in SERVICE_PATH.split(":")):
        return None
    if _in_image(install):
        hint = "install Apptainer, load it in the component's `prologue`, or say where it is with `container.program`"
        return f"command not found: {program} (looked in {SERVICE_PATH})", hint
    where = f"{install.path}/bin, {SERVICE_PATH}" if install is not None and install.path else SERVICE_PATH
    return f"command not found: {program} (looked in {where})", "check `command:`, `requirement:` and the version"


def _check_path(path: str) -> tuple[str, str] | None:
    if os.access(path, os.X_OK) and os.path.isfile(path):
        return None
    if os.path.exists(path):
        return f"{path} is not executable", f"chmod +x {path}"
    return f"{path} does not exist", "check `command:` and the version"


def _ask_shell(service: Service, program: str) -> tuple[str, str] | None:
    search = f"command -v -- {quote(program)} || exit {_NOT_FOUND}\n" if program else ""
    script = prologue_script(service.prologue) + search
    env = {"HOME": os.environ.get("HOME", "/"), "PATH": SERVICE_PATH}
    try:
        run(["/bin/bash", "-c", _LAST_WORDS, "bash", script], timeout=_PROLOGUE_SECONDS, env=env, cwd="/")
    except CommandFailed as error:
        printed = tail(error.err) or tail(error.out)
        not_found = error.why == f"exit status {_NOT_FOUND}"
        message = f"command not found after the prologue: {program}" if not_found else f"the prologue {error.why}"
        message += f"\n{printed}" if printed else ""
        return message, f"prologue: {service.prologue.strip()}"
    return None
