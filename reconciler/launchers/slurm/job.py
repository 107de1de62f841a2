"""The job that carries a deployment's services: what sbatch is told, and what runs on the node. Pure.

Slurm keeps a copy of the script that it was given, so that one only calls `job.sh` below `paths.config`, which passes
keep up to date: a job that waited for days begins with what git wants by then. On the node that becomes supervisord,
with a port, and a key to it that nobody else has.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.core.digest import digest_of
from reconciler.core.prologue import prologue_script
from reconciler.host.detached import SERVICE_PATH
from reconciler.launchers import shim
from reconciler.launchers.slurm import limits
from reconciler.launchers.slurm.queue import Mark

NAME = "slurm"  # the launcher's
USER = "reconcile"  # of the port; the key to it is the job's own
KEY, PORT, UNTIL = "RECONCILE_JOB_KEY", "RECONCILE_JOB_PORT", "RECONCILE_JOB_UNTIL"
ID = "RECONCILE_JOB_ID"  # what its services know of the job
_KILL_WAIT = 30  # seconds that Slurm leaves between SIGTERM and SIGKILL unless a site says otherwise
_OWN = ("job-name", "dependency", "comment", "time", "time-min", "parsable", "signal", "chdir", "output", "open-mode")
_NOT_OURS = ("wrap", "wait", "array", "begin")  # would make it another kind of job
_SHORT = ("-J", "-d", "-t", "-D", "-o", "-W", "-a", "-b")
_LONG = tuple(f"--{word}" for word in (*_OWN, *_NOT_OURS))


class Job(NamedTuple):
    """What git wants of the job itself."""

    name: str
    time: str  # its limit, as sbatch takes it
    options: str  # further words for sbatch, as a shell reads them
    prologue: str
    on_start: str  # shell lines that run when it comes to another node
    umask: str
    port: int  # 0: any that is free
    stop_seconds: int  # that its slowest service may take to stop


class Where(NamedTuple):
    """The deployment that it carries."""

    deployment: str
    root: str
    conf: str  # of supervisord
    script: str  # this job's own, on the node
    run: str
    log: str


def spec_of(job: Job, where: Where) -> str:
    """Another one where the job must be submitted anew. How long a service may take to stop is looked at again then."""
    return digest_of([job._replace(stop_seconds=0), where])[:16]


def mark(deployment: str, root: str, spec: str) -> Mark:
    return Mark(deployment, digest_of(root)[:12], spec)


def check_options(text: str) -> str:
    """What stands against these further words for sbatch, or nothing."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        return f"options {text!r}: {str(error)[:1].lower()}{str(error)[1:]}"
    for word in words:
        if _is_reserved(word):
            return f"options: {word.partition('=')[0]} is set by reconcile itself, see `job` and `time`"
        if "\n" in word or "\0" in word:
            return "options: a word has a line break"
    return ""


def _is_reserved(word: str) -> bool:
    """sbatch takes a long option by its first letters too, and the value of a short one right behind it."""
    name = word.partition("=")[0]
    return word[:2] in _SHORT or (len(name) > len("--") and any(option.startswith(name) for option in _LONG))


def submission(
    address: Mapping[str, str], spec: str, time: int | None, least: int | None, after: Sequence[int] = ()
) -> list[str]:
    """The command that submits the job; its script is `script`. Times in seconds. `after`: jobs that end first."""
    own = mark(address["deployment"], address["root"], spec)
    ahead = int(address["stop_seconds"]) + _KILL_WAIT
    return [
        "sbatch",
        "--parsable",
        f"--job-name={address['job']}",
        f"--comment={own}",
        "--dependency=" + ",".join(("singleton", *(f"afterany:{job}" for job in after))),
        "--requeue",
        f"--time={limits.write(time)}",
        *([f"--time-min={limits.write(least)}"] if least is not None else []),
        # To the script alone, which has become supervisord: it stops its programs, each with the time that it needs.
        f"--signal=B:TERM@{ahead}",
        f"--chdir={address['root']}",
        f"--output={address['output']}",
        "--open-mode=append",
        *shlex.split(address["options"]),
    ]


def adjustment(number: int, time: int | None, least: int | None) -> list[str]:
    """The command that gives a job which waits other limits, in seconds. Its owner may do so, and it keeps its place
    in the queue (22.05 and 24.11). Both go along together: neither may pass the other."""
    words = (f"TimeLimit={limits.write(time)}", f"TimeMin={limits.write(least or 0)}")
    return ["scontrol", "update", f"JobId={number}", *words]


def script(address: Mapping[str, str], python: str) -> str:
    """What Slurm keeps and runs on the node. `python` is one that has supervisord, where all nodes see it."""
    return f"#!/bin/sh\nexec {shim.quote(address['script'])} {shim.quote(python)}\n"


def render(job: Job, where: Where, spec: str, on_start: str) -> str:
    """`job.sh`, which runs on the node. `on_start`: shell lines for `job.on_start`."""
    variables = {
        "RECONCILE_DEPLOYMENT": where.deployment,
        "RECONCILE_ROOT": where.root,
        "RECONCILE_SERVICE": "",
        "RECONCILE_DAEMON": "slurm",
        "RECONCILE_SPEC": spec,
    }
    exports = " ".join(f"{name}={shim.quote(value)}" for name, value in variables.items())
    return "".join(
        (
            f"#!/bin/{'bash' if job.prologue.strip() else 'sh'}\n",
            shim.header(where.deployment, "", where.root),
            "# Written by reconcile at every change: edit the desired state instead.\n",
            f"# What the job {job.name} does on its node. $1 is a Python that has supervisord.\n",
            f"umask {job.umask}\n",
            f"export PATH={SERVICE_PATH}\n",
            f"export {exports} RECONCILE_PID=$$\n",
            _prologue(job),
            on_start,
            # The key that a pass shows to supervisord. Programs do not inherit it: their sections set it to nothing.
            f"{KEY}=$(od -A n -N 24 -t x1 /dev/urandom | tr -d ' \\n')\n",
            f'[ "${{#{KEY}}}" -eq 48 ] || {{ echo "reconcile: no key can be made" >&2; exit {shim.CONFIG_EXIT}; }}\n',
            _port(job),
            f"export {KEY} {PORT}\n",
            f"cd {shim.quote(where.root)} || exit {shim.CONFIG_EXIT}\n",
            f'exec "$1" -P -m supervisor.supervisord -n -c {shim.quote(where.conf)}\n',
        )
    )


def _port(job: Job) -> str:
    if job.port:
        return f"{PORT}={job.port}\n"
    free = "import socket; one = socket.socket(); one.bind(('', 0)); print(one.getsockname()[1])"
    return f'{PORT}=$("$1" -I -c "{free}") || exit {shim.CONFIG_EXIT}\n'


def _prologue(job: Job) -> str:
    if not job.prologue.strip():
        return ""
    failed = "reconcile: the prologue of the job failed with exit status"
    return (
        f"{prologue_script(job.prologue)}"
        "reconcile_status=$?\n"
        'if [ "$reconcile_status" -ne 0 ]; then\n'
        f"  printf '%s\\n' {shim.quote(failed)}\" $reconcile_status\" >&2\n"
        f"  exit {shim.CONFIG_EXIT}\n"
        "fi\n"
        "unset reconcile_status\n"
    )
