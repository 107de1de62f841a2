"""The launcher `slurm`: one job that carries a deployment's services, under a supervisord on the job's node.

For sites that have no place of their own for a daemon. A pass sees to the job, and drives the services in it
through their supervisord: a bump restarts one process, and only other resources or another script submit the job anew.

This module is the pure half. `job` says what is submitted, `standing` and `queue` read Slurm's queue, `inside` is what
supervisord runs on the node, `backend` does the talking.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from reconciler.core.desired import Leaves, Manager, Role, Trace
from reconciler.core.digest import digest_of
from reconciler.launchers import on_start, scripts, shim
from reconciler.launchers.base import Backend, Mode, Option, Place, RenderedFile, Rendering, ServiceSpec, Shared
from reconciler.launchers.slurm import contact, job, limits
from reconciler.launchers.slurm.job import NAME, USER
from reconciler.launchers.supervisor import program, stanza

_BACKUPS = 3  # rotated copies of its supervisord's own log
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_HOST = r"[A-Za-z0-9._-]+"
_ADDRESS = r"([A-Za-z0-9._-]|\{node\})+"
_RPC = "supervisor.rpcinterface:make_main_rpcinterface"
_INSIDE = "reconciler.launchers.slurm.inside:make"

_SETTINGS = {
    "job": Option(str, "the job's name (reconcile-SITE-ENV)"),
    "time": Option(str, 'its time limit, as sbatch takes it ("1-00:00:00")'),
    "options": Option(str, 'further words for sbatch, such as "--qos=workflow --constraint=cron"'),
    "partition": Option(str, "of the job; then its maintenance counts, and no other's"),
    "nodes": Option(str, "that may carry the job, as Slurm writes them; then their maintenance counts, and no other's"),
    "buffer": Option(int, "minutes before a maintenance in which the job is not submitted (120)", minimum=1),
    "renew": Option(int, "minutes before the job's end at which its successor is submitted (60)", minimum=1),
    "prologue": Option(str, "shell lines that the job begins with"),
    "on_start": Option(str, "shell lines that run when the job comes to another node: dynamic DNS"),
    "port": Option(int, "that supervisord listens on, on the job's node (any that is free)", minimum=1),
    "host": Option(str, "the address that the port is bound to (0.0.0.0: passes may run on other nodes)"),
    "address": Option(str, 'how the job\'s node is reached from others ("{node}", its name)'),
    "loglevel": Option(
        str, "of supervisord's own log", choices=("critical", "error", "warn", "info", "debug", "trace", "blather")
    ),
    "minfds": Option(int, "open files that supervisord asks for (1024); a program takes three", minimum=64),
    "umask": Option(str, 'of supervisord and all that it starts ("022")'),
}


class Slurm:
    """The pure half; see `base.Launcher`."""

    name: str = NAME
    service_options: Mapping[str, Option] = program.SERVICE_OPTIONS
    settings: Mapping[str, Option] = _SETTINGS
    account_wide: bool = False
    mode: Mode | None = None

    def unit(self, service: str, environment: str, name: str) -> str:  # noqa: ARG002 - the job has its own daemon
        return name or service

    def render(self, place: Place, services: Sequence[ServiceSpec]) -> Rendering:
        """All that the job and its services need. What `check` refuses must not come here."""
        keeper = program.Keeper(NAME, f"{_folder(place)}/programs", ((job.KEY, ""),))
        files = [_conf(place), _script(place, services), _order(place, services)]
        for service in services:
            files += (program.unit_file(place, service, keeper), scripts.script(place, service))
            files.append(scripts.environment(place, service))
        wants_notes = bool(_text(place, "on_start").strip())
        return Rendering(
            files=tuple(files),
            launch={service.name: program.launch(place, service, keeper) for service in services},
            ready_seconds={service.name: float(program.startsecs(service)) for service in services},
            manager=_manager(place, services),
            ports=(_port(place),) if _port(place) else (),
            notes=(on_start.note(_job_name(place), place.paths["run"], private=False),) if wants_notes else (),
            traces=(*_traces(place), *(program.log(place, service, NAME) for service in services)),
        )

    def check_settings(self, place: Place) -> str:
        """What stands against a job for this deployment, or nothing."""
        against = _check_words(place) or job.check_options(_text(place, "options")) or _check_paths(place)
        if not against:
            try:
                limits.parse(_time(place))
            except ValueError as error:
                against = f"time: {error}"
        return against and f"{NAME}: {against}"

    def check(self, place: Place, service: ServiceSpec) -> str:  # noqa: ARG002 - other launchers need the place
        """What stands against this service, or nothing."""
        return program.check(NAME, service)

    def backend(self, manager: Manager, shared: Shared | None = None) -> Backend:
        from reconciler.launchers.slurm.backend import SlurmBackend

        return SlurmBackend(manager, shared or Shared())


def _check_words(place: Place) -> str:
    for key, pattern in (("job", _NAME), ("partition", _NAME), ("host", _HOST), ("address", _ADDRESS)):
        value = _text(place, key)
        if value and not re.fullmatch(pattern, value):
            return f"{key} {value!r} has a letter that it cannot have"
    if not re.fullmatch(program.OCTAL, _text(place, "umask") or "022"):
        return f"umask {_text(place, 'umask')!r} is not an octal number like '022'"
    nodes = _text(place, "nodes")
    if nodes:
        from reconciler.launchers.slurm.hostlist import expand

        try:
            expand(nodes)
        except ValueError as error:
            return f"nodes: {error}"
    return ""


def _check_paths(place: Place) -> str:
    for key in ("root", "bin", "config", "logs", "run"):
        problem = stanza.check_text(place.paths[key])
        if problem:
            return f"paths.{key} {place.paths[key]!r} {problem}"
        if re.search(r"%|[*?\[]", place.paths[key]):
            return f"paths.{key} {place.paths[key]!r} has one of % * ? [, which Slurm or supervisord replace"
    return ""


# ---------------------------------------------------------------- settings


def _text(place: Place, key: str) -> str:
    return str(place.settings.get(key) or "")


def _minutes(place: Place, key: str, otherwise: int) -> int:
    return 60 * int(_text(place, key) or otherwise)


def _time(place: Place) -> str:
    return _text(place, "time") or "1-00:00:00"


def _options(place: Place) -> str:
    """As a shell would read them."""
    partition = _text(place, "partition")
    return f"--partition={partition} {_text(place, 'options')}".strip() if partition else _text(place, "options")


def _port(place: Place) -> int:
    return int(_text(place, "port") or 0)


def _host(place: Place) -> str:
    return _text(place, "host") or contact.ANY


def _umask(place: Place) -> str:
    return _text(place, "umask") or "022"


def _job_name(place: Place) -> str:
    return _text(place, "job") or f"reconcile-{place.site}-{place.environment}"


def _folder(place: Place) -> str:
    """Apart from that of the launcher `supervisor`: services may move from one to the other."""
    return f"{place.paths['config']}/slurm"


# ---------------------------------------------------------------- what is written


def _conf_path(place: Place) -> str:
    return f"{_folder(place)}/supervisord.conf"


def _sections(place: Place) -> list[tuple[str, program.Options]]:
    paths = place.paths
    return [
        (
            "supervisord",
            (
                ("logfile", stanza.escape(f"{paths['logs']}/supervisord-slurm.log")),
                ("logfile_maxbytes", "10MB"),
                ("logfile_backups", str(_BACKUPS)),
                ("loglevel", _text(place, "loglevel") or "info"),
                ("pidfile", stanza.escape(f"{paths['run']}/supervisord-slurm.pid")),
                ("childlogdir", stanza.escape(paths["logs"])),
                ("nocleanup", "true"),
                ("silent", "true"),
                ("minfds", _text(place, "minfds") or "1024"),
            ),
        ),
        (
            "inet_http_server",
            (
                # An address: without one supervisord does not begin where the node's own name is not known.
                ("port", f"{_host(place)}:%(ENV_{job.PORT})s"),
                ("username", USER),
                ("password", f"%(ENV_{job.KEY})s"),
            ),
        ),
        ("rpcinterface:supervisor", (("supervisor.rpcinterface_factory", _RPC),)),
        ("include", (("files", "programs/*.conf"),)),
    ]


def _traces(place: Place) -> tuple[Trace, ...]:
    """What the job's supervisord leaves, on whichever node."""
    return (
        Trace(Leaves.LOG, f"{place.paths['logs']}/supervisord-slurm.log", NAME, "", keep=_BACKUPS),
        Trace(Leaves.PID, f"{place.paths['run']}/supervisord-slurm.pid", NAME, ""),
        Trace(Leaves.JOBS, _contacts(place), NAME, ""),
    )


def _conf_spec(place: Place) -> str:
    return digest_of([_sections(place), _umask(place)])[:16]


def _conf(place: Place) -> RenderedFile:
    inside = (
        ("supervisor.rpcinterface_factory", _INSIDE),
        ("spec", _conf_spec(place)),
        ("folder", stanza.escape(_contacts(place))),
        ("order", stanza.escape(_order_path(place))),
    )
    sections = [*_sections(place), ("rpcinterface:reconcile", inside)]
    text = shim.header(scripts.deployment(place), "", place.paths["root"], ";")
    text += "".join(stanza.section(name, options) for name, options in sections)
    return RenderedFile(_conf_path(place), 0o600, scripts.encode(text), Role.DAEMON, "")


def _order_path(place: Place) -> str:
    return f"{_folder(place)}/order.json"


def _contacts(place: Place) -> str:
    return f"{place.paths['run']}/slurm"


def _order(place: Place, services: Sequence[ServiceSpec]) -> RenderedFile:
    """After which others each program starts, for a job that begins while no pass looks."""
    units = {service.name: service.unit for service in services}
    order = {service.unit: sorted(units[name] for name in service.after if name in units) for service in services}
    text = json.dumps(order, sort_keys=True, indent=1) + "\n"
    return RenderedFile(_order_path(place), 0o600, text.encode(), Role.DAEMON, "")


def _wanted(place: Place, services: Sequence[ServiceSpec]) -> job.Job:
    return job.Job(
        name=_job_name(place),
        time=_time(place),
        options=_options(place),
        prologue=_text(place, "prologue"),
        on_start=_text(place, "on_start"),
        umask=_umask(place),
        port=_port(place),
        stop_seconds=math.ceil(max((service.stop_seconds for service in services), default=10)),
    )


def _where(place: Place) -> job.Where:
    paths = place.paths
    script, log = f"{_folder(place)}/job.sh", f"{paths['logs']}/slurm-job.log"
    return job.Where(scripts.deployment(place), paths["root"], _conf_path(place), script, paths["run"], log)


def _script(place: Place, services: Sequence[ServiceSpec]) -> RenderedFile:
    wanted, where = _wanted(place, services), _where(place)
    lines = ""
    if wanted.on_start.strip():
        lines = on_start.lines(wanted.name, wanted.on_start, on_start.folder(place.paths["run"]))
    text = job.render(wanted, where, job.spec_of(wanted, where), lines)
    return RenderedFile(where.script, 0o700, scripts.encode(text), Role.DAEMON, "")


def _manager(place: Place, services: Sequence[ServiceSpec]) -> Manager:
    """Its specification has two parts: the job's, and that of supervisord, which can begin anew within the job."""
    wanted, where = _wanted(place, services), _where(place)
    address = {
        "deployment": where.deployment,
        "root": where.root,
        "conf": _conf_path(place),
        "units": f"{_folder(place)}/programs",
        "contacts": _contacts(place),
        "logs": place.paths["logs"],
        "log": f"{place.paths['logs']}/supervisord-slurm.log",
        "output": where.log,
        "script": where.script,
        "job": wanted.name,
        "time": wanted.time,
        "partition": _text(place, "partition"),
        "nodes": _text(place, "nodes"),
        "options": wanted.options,
        "buffer": str(_minutes(place, "buffer", 120)),
        "renew": str(_minutes(place, "renew", 60)),
        "stop_seconds": str(wanted.stop_seconds),
        "host": _host(place),
        "address": _text(place, "address") or "{node}",
    }
    return Manager(NAME, f"{job.spec_of(wanted, where)}.{_conf_spec(place)}", tuple(address.items()))


LAUNCHER = Slurm()
