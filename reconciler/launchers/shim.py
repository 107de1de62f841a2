"""The start script of a service: pure text, the same for every launcher.

A launcher's own description of a service carries no version. The shim does: it sets up what the
service needs, writes into its own environment what it was started from, and becomes the service
with `exec`, so that the launcher's signals and process id are the service's.

The marks in a process's environment, and who sets them:

    RECONCILE_DEPLOYMENT  SITE/ENVIRONMENT                  the launcher's description
    RECONCILE_ROOT        the deployment's root folder      the launcher's description
    RECONCILE_SERVICE     empty for a launcher's daemon     the launcher's description
    RECONCILE_LAUNCH      digest of that description        the launcher's description
    RECONCILE_PID         of the main process itself        the shim
    RECONCILE_SPEC, RECONCILE_VERSION, RECONCILE_COMPONENT  the shim

Inside of a container they are seen too. The main process of an Apptainer instance is the first one of
a process namespace of its own, so there RECONCILE_PID is 1, and it is set by the description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.prologue import prologue_script
from reconciler.launchers.base import Container, Mode

CONFIG_EXIT = 78  # EX_CONFIG of sysexits.h: what the service needs could not be set up

# Patterns are compiled where they are used, as a pass with nothing to do renders nothing; but for the one
# of headers, which every pass reads.
_SAFE = r"[A-Za-z0-9@%+=:,./_-]+"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_ASSIGNMENT = r"[A-Za-z_][A-Za-z0-9_]*\+?="
_HEADER = re.compile(r"^[#;] managed by reconcile: deployment=(\S+) unit=(\S*) root=(.+)$", re.MULTILINE)
_INNER = tuple(
    f"RECONCILE_{name}"
    for name in ("DEPLOYMENT", "ROOT", "SERVICE", "LAUNCH", "PID", "SPEC", "VERSION", "COMPONENT")
)
_OPERATORS = frozenset((";", ";;", "&", "&&", "|", "|&", "||", "\n"))


class Shim(NamedTuple):
    """All that a shim is made from."""

    deployment: str
    root: str
    service: str
    unit: str
    component: str
    version: str
    spec: str
    command: str  # one shell command; it is executed in the shell's place
    prologue: str
    exports: tuple[str, ...]  # shell lines of the install method
    env_file: str  # path of the file with the service's own variables
    container: Container | None = None
    pid_file: str = ""  # where an instance notes the pid of its main process; empty: nowhere
    marks: tuple[tuple[str, str], ...] = ()  # that no launcher sets, as it has no description to set them in
    on_start: str = ""  # shell lines that are run before the command, on the host itself; see `on_start.lines`
    says_start: bool = False  # it leaves a line in the log, so that what comes after it is known to be of this start


class Owner(NamedTuple):
    """What the header of a generated file says."""

    deployment: str
    unit: str  # empty for a file that belongs to the whole deployment
    root: str


def quote(text: str) -> str:
    """One word for a shell (and for `shlex`), whatever it contains."""
    return text if re.fullmatch(_SAFE, text) else "'" + text.replace("'", "'\"'\"'") + "'"


def says_start(service: str) -> str:
    """How the line begins that a start leaves in the log of a service whose `health` looks there."""
    return f"reconcile: {service} starts, pid "


def _says_start(shim: Shim) -> str:
    """Also in the two files that Apptainer adds an instance's output to, where there are any: of a first start all
    that is in them counts."""
    said = f"printf '%s\\n' {quote(says_start(shim.service))}$$"
    if not _is_instance(shim) or shim.container is None:
        return f"{said}\n"
    folder = f'{quote(f"{shim.container.configdir}/instances/logs/")}"$(uname -n)/$(id -un)/"'
    return (
        f"{said}\n"
        "for reconcile_ending in out err; do\n"
        f'  reconcile_file={folder}{quote(shim.container.instance)}".$reconcile_ending"\n'
        f'  [ ! -f "$reconcile_file" ] || {said} >>"$reconcile_file"\n'
        "done\n"
        "unset reconcile_ending reconcile_file\n"
    )


def header(deployment: str, unit: str, root: str, comment: str = "#") -> str:
    """The line that every generated file begins with, so that it is known as ours when nothing else remembers it."""
    return f"{comment} managed by reconcile: deployment={deployment} unit={unit} root={root}\n"


def owner_of(text: str) -> Owner | None:
    """Whose file this is by its header; None where it has none."""
    found = _HEADER.search(text)
    return Owner(*found.groups()) if found else None


def render_shim(shim: Shim) -> str:
    return "".join(
        (
            f"#!/bin/{'bash' if shim.prologue.strip() else 'sh'}\n",
            header(shim.deployment, shim.unit, shim.root),
            "# Written by reconcile at every change: edit the desired state instead.\n",
            _own_marks(shim),
            _again(shim),
            _prologue(shim),
            _environment(shim),
            f"{_marks(shim)}\n",
            f"cd {quote(shim.root)} || exit {CONFIG_EXIT}\n",
            shim.on_start,
            _inner_marks(shim),
            _says_start(shim) if shim.says_start else "",
            f"exec {_outer_command(shim)}\n",
        )
    )


def render_env(deployment: str, root: str, unit: str, env: tuple[tuple[str, str], ...]) -> str:
    """The file with the service's variables, to be sourced by its shim. It may hold secrets."""
    lines = [f"export {key}={quote(value)}\n" for key, value in env]
    return header(deployment, unit, root) + "".join(lines)


def check(command: str, env: Mapping[str, str] | tuple[tuple[str, str], ...]) -> str:
    """What stands against a shim with this command and these variables, or nothing."""
    for key, value in dict(env).items():
        if not re.fullmatch(_NAME, key):
            return f"env: {key!r} is not a name that a shell can export (letters, digits and _, no digit first)"
        if key.startswith("RECONCILE_"):
            return f"env: {key} is one of the marks that reconcile sets itself"
        if "\0" in value:
            return f"env: the value of {key} contains a NUL byte"
    return check_command(command)


def check_command(command: str) -> str:
    """What stands against `exec COMMAND`: anything of which only the first part would become the service."""
    from shlex import shlex

    words = shlex(_without_exec(command).replace("\\\n", " "), posix=True, punctuation_chars=";&|()<>\n")
    words.commenters, words.whitespace, words.whitespace_split = "", " \t\r", True
    try:
        tokens = list(words)
    except ValueError as error:
        return f"command: {str(error)[:1].lower()}{str(error)[1:]}"
    if not tokens:
        return "command: is empty"
    if re.match(_ASSIGNMENT, tokens[0]):
        return f"command: begins with the assignment {tokens[0]!r}; write the variable under `env`"
    operator = _operator(tokens)
    if operator:
        return f"command: has {operator!r}, but only one process can be the service; use a script or `sh -c '...'`"
    return ""


def _operator(tokens: list[str]) -> str:
    """The first token outside parentheses and backquotes that separates two commands."""
    if any("`" in token for token in tokens):
        return ""
    depth = 0
    for token in tokens:
        if depth == 0 and token in _OPERATORS:
            return token
        if not token.strip(";&|()<>\n"):
            depth += token.count("(") - token.count(")")
    return ""


def _without_exec(command: str) -> str:
    return command.strip().removeprefix("exec ").lstrip()


def _outer_command(shim: Shim) -> str:
    """What the shim becomes: the service itself, or Apptainer with the service inside."""
    command = _without_exec(shim.command)
    box = shim.container
    if box is None:
        return command
    words = ["run"] if box.mode is Mode.RUN else ["instance", "start"]
    words += ["--cleanenv"] if box.cleanenv else []
    words += [] if box.home else ["--no-home"]
    words += ["--env-file", shim.env_file]
    words += [word for mount in box.mounts for word in ("--mount", mount)]
    words += box.options
    if box.mode is Mode.INSTANCE:
        words += ["--pid-file", shim.pid_file] if shim.pid_file else []
        words += [box.image, box.instance]
    else:
        words.append(box.image)
    return " ".join((quote(box.program), *map(quote, words), command))


def _inner_marks(shim: Shim) -> str:
    """Apptainer hands on what begins with its own prefix, also into a clean environment."""
    if shim.container is None:
        return ""
    names = dict.fromkeys((*_INNER, *(name for name, _ in shim.marks)))
    inner = " ".join(f'APPTAINERENV_{name}="${name}"' for name in names)
    # What `env` says is meant as it stands: Apptainer would have a shell evaluate it once more.
    inner += " APPTAINER_NO_EVAL=1"
    where = f"export APPTAINER_CONFIGDIR={quote(shim.container.configdir)}\n"
    return f"export {inner}\n" + (where if shim.container.mode is Mode.INSTANCE else "")


def _own_marks(shim: Shim) -> str:
    return f"export {' '.join(f'{name}={quote(value)}' for name, value in shim.marks)}\n" if shim.marks else ""


def _marks(shim: Shim) -> str:
    own = "" if _is_instance(shim) else "RECONCILE_PID=$$ "
    return (
        f"export {own}RECONCILE_SPEC={quote(shim.spec)} "
        f"RECONCILE_VERSION={quote(shim.version)} RECONCILE_COMPONENT={quote(shim.component)}"
    )


def _again(shim: Shim) -> str:
    """What comes before the command may take long, and /proc shows the environment that a program began with: it
    begins once more with the marks in it. The specification is compared too, so that a shim replaced between the
    two beginnings marks itself as what it is."""
    if not shim.prologue.strip() and not shim.on_start:
        return ""
    return (
        f'if [ "$RECONCILE_PID $RECONCILE_SPEC" != "{_own_pid(shim)} "{quote(shim.spec)} ]; then\n'
        f"  {_marks(shim)}\n"
        '  exec "$0" "$@"\n'
        "fi\n"
    )


def _prologue(shim: Shim) -> str:
    """The prologue with what must stand around it; nothing where there is none."""
    if not shim.prologue.strip():
        return ""
    failed = f"reconcile: {shim.service}: its prologue failed with exit status"
    return (
        f"{prologue_script(shim.prologue)}"
        "reconcile_status=$?\n"
        'if [ "$reconcile_status" -ne 0 ]; then\n'
        f"  printf '%s\\n' {quote(failed)}\" $reconcile_status\" >&2\n"
        f"  exit {CONFIG_EXIT}\n"
        "fi\n"
        "unset reconcile_status\n"
    )


def _environment(shim: Shim) -> str:
    """The service's own variables, then the install method's lines, which may build on them."""
    path = quote(shim.env_file)
    failed = f"reconcile: {shim.service}: cannot read {shim.env_file}"
    readable = f"[ -r {path} ] || {{ printf '%s\\n' {quote(failed)} >&2; exit {CONFIG_EXIT}; }}\n"
    if shim.container is not None:  # they are meant for inside: Apptainer reads the file itself
        return readable
    lines = "".join(f"{line}\n" for line in shim.exports)
    return f"{readable}. {path}\n{lines}"


def _is_instance(shim: Shim) -> bool:
    return shim.container is not None and shim.container.mode is Mode.INSTANCE


def _own_pid(shim: Shim) -> str:
    """What RECONCILE_PID is to be. The shim of an instance is not its main process, and ends."""
    return "1" if _is_instance(shim) else "$$"
