"""A real Slurm for one test, of one of two versions: controller, nodes and munge as one ordinary user.

It has a folder and ports of its own, so that any number of them run side by side, and nothing of it
outlives the test. The user is SlurmUser, who may do what only an administrator may elsewhere:
reservations, drained nodes, jobs of others.

The first node is this machine, under its own name. Each further one looks like another machine: another host name,
and processes of its own, of which those on other nodes see nothing. What runs there is seen from here, with
other process ids. Files are the same everywhere, as on a shared file system.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from tests.backends.account import Account, current
from tests.backends.manager import runs
from tests.conftest import left_behind

VERSIONS = {22: "22.05", 24: "24.11"}  # the older one has no scrontab
HOST = socket.gethostname().partition(".")[0]  # the first node's name
_FIELDS = "%i|%T|%r|%S|%e|%L|%V|%l|%N|%k|%j".replace("|", "\x1f")
_POLL = 0.02
# The host's name is a matter of its own, and so are its processes; the user stays who it is, without any rights.
_ELSEWHERE = (
    *("unshare", "--user", "--map-current-user", "--keep-caps", "--uts", "--pid", "--fork", "--kill-child"),
    *("--mount-proc", "sh", "-c", 'hostname "$0" && setpriv --inh-caps=-all --ambient-caps=-all "$@"; exit'),
)

Completed = subprocess.CompletedProcess[str]


class Job(NamedTuple):
    """A line of squeue, in its words."""

    id: str
    state: str
    reason: str
    start: str
    end: str
    left: str
    submitted: str
    limit: str
    node: str
    comment: str
    name: str


class Cluster:
    """Nothing runs before `boot`. `settings` go over those of slurm.conf, `nodes` are the names of further nodes."""

    def __init__(
        self,
        folder: Path,
        version: int = 24,
        account: Account | None = None,
        nodes: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.account = account or current()
        self.version = version
        self.folder = self.account.folder(folder)
        self.home = self.account.folder(folder / "home")
        self.conf = folder / "slurm.conf"
        self.nodes = (HOST, *nodes)
        self.env = {
            "HOME": str(self.home),
            "USER": self.account.name,
            "LOGNAME": self.account.name,
            "PATH": f"{place(version)}/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(self.conf),
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._prepare(settings or {})

    # ------------------------------------------------------------ its life

    def boot(self) -> None:
        """Start all of it, and wait until jobs can run on every node. Takes a quarter of a second."""
        # It would have a socket that everybody can reach: here nobody else is to.
        self._start("munged", "--foreground", "--force", *self._munge_options())
        self._await(self._munge.is_socket)
        self.start_controller()
        for name in self.nodes:
            self._start_node(name)
        self._await(lambda: set(self.states().values()) == {"idle"})

    def stop_controller(self) -> None:
        """As its administrator would: what it knows is saved. Jobs go on."""
        self._stop("slurmctld", signal.SIGTERM)

    def start_controller(self) -> None:
        """It knows what it knew. Wait until it answers; nodes that run come back to it by themselves."""
        self._start("slurmctld", "-D")
        self._await(lambda: _listens(self._port))  # a command that comes too early waits for a second
        self._await(lambda: bool(self.states()))

    def stop_node(self, name: str = HOST) -> None:
        """Its slurmd is killed. On the first node jobs go on; on another it is as if its power were cut."""
        self._stop(f"slurmd.{name}", signal.SIGKILL)

    def start_node(self, name: str = HOST) -> None:
        """Wait until it takes jobs again; one that an administrator has set down wants `resume` for that."""
        self._start_node(name)
        self._await(lambda: self.states()[name] in ("idle", "mixed", "allocated"))

    def end(self) -> None:
        """All is gone at once: jobs, and what jobs have started, too."""
        for name in list(self._daemons):
            self._stop(name, signal.SIGKILL)
        while left := left_behind(str(self.folder)):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            sleep(_POLL)

    # ------------------------------------------------------------ using it

    def call(self, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Completed:
        """A command as the user, whatever its exit status; in its home."""
        return subprocess.run(
            argv, cwd=self.home, env=self.env | dict(env or {}), input=stdin, capture_output=True, text=True,
            timeout=100, check=False, **self.account.become,
        )  # fmt: skip

    def run(self, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """A command as the user that must succeed; its standard output."""
        done = self.call(*argv, stdin=stdin, env=env)
        assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """A batch job of these lines of shell; its id."""
        return self.run("sbatch", "--parsable", *options, stdin=f"#!/bin/sh\n{script}\n").strip()

    def jobs(self, *options: str) -> list[Job]:
        """What squeue lists of the user's: without options, what is not over. Times are seconds since 1970."""
        argv = ["squeue", "--noheader", f"--user={self.account.name}", f"--format={_FIELDS}", *options]
        return [Job(*line.split("\x1f")) for line in self.run(*argv, env={"SLURM_TIME_FORMAT": "%s"}).splitlines()]

    def job(self, number: str) -> Job:
        """One that the controller still knows, over or not."""
        (found,) = self.jobs("--states=all", f"--jobs={number}")
        return found

    def states(self) -> dict[str, str]:
        """What the nodes are in: idle, mixed, drained ...; nothing where the controller does not answer."""
        found = self.call("sinfo", "--noheader", "--Node", "--format=%N %T").stdout.splitlines()
        return dict(line.split() for line in found)

    def reserve(
        self,
        name: str,
        start: str,
        minutes: int,
        *,
        flags: str = "maint,ignore_jobs",
        nodes: str = "ALL",
        users: str = "",
    ) -> None:
        """`start` is `now+30minutes`, or a local time such as 2026-01-31T10:00:00."""
        self.run(
            "scontrol", "create", "reservation", f"reservationname={name}", f"starttime={start}", f"flags={flags}",
            f"duration={minutes}", f"nodes={nodes}", f"users={users or self.account.name}",
        )  # fmt: skip

    def drop(self, reservation: str) -> None:
        self.run("scontrol", "delete", f"reservationname={reservation}")

    def drain(self, node: str = HOST, reason: str = "mending") -> None:
        """It takes no more jobs."""
        self.run("scontrol", "update", f"nodename={node}", "state=drain", f"reason={reason}")

    def resume(self, node: str = HOST) -> None:
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    # ------------------------------------------------------------ what it is made of

    @property
    def _munge(self) -> Path:
        return self.folder / "munge/s"

    def _munge_options(self) -> list[str]:
        files = {"socket": self._munge, "key-file": self.folder / "munge.key"}
        files |= {"pid-file": self.folder / "munge/pid", "seed-file": self.folder / "munge/seed"}
        return [f"--{option}={path}" for option, path in files.items()]

    def _prepare(self, settings: Mapping[str, str]) -> None:
        for name in ("munge", "state", "spool"):
            self.account.folder(self.folder / name)
        self._write("munge.key", os.urandom(64), 0o600)
        # Without control groups: 22.05 cannot do without a plugin for them, but leaves them alone.
        self._write("cgroup.conf", b"CgroupPlugin=%s\n" % (b"cgroup/v1" if self.version == 22 else b"disabled"))
        with ExitStack() as held:
            self._port, *ports = [_free_port(held) for _ in (0, *self.nodes)]
        lines = [f"{key}={value}" for key, value in (self._settings() | dict(settings)).items()]
        for name, port in zip(self.nodes, ports, strict=True):
            lines += [f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=1000"]
        lines += ["PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:20"]
        self._write(self.conf.name, "\n".join([*lines, ""]).encode())

    def _settings(self) -> dict[str, str]:
        """Nothing is accounted, limited or traced, and the scheduler looks every second."""
        return {
            "ClusterName": "test",
            "SlurmctldHost": f"{HOST}(127.0.0.1)",
            "SlurmctldPort": str(self._port),
            "SlurmUser": self.account.name,
            "SlurmdUser": self.account.name,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._munge}",
            "CredType": "cred/munge",
            "PluginDir": f"{place(self.version)}/plugins",
            "StateSaveLocation": f"{self.folder}/state",
            "SlurmctldPidFile": f"{self.folder}/slurmctld.pid",
            "SlurmdPidFile": f"{self.folder}/slurmd.%n.pid",
            "SlurmdSpoolDir": f"{self.folder}/spool/%n",
            "MpiDefault": "none",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "sched_interval=1,bf_interval=1,batch_sched_delay=0",
            "ReturnToService": "1",
            "JobRequeue": "1",
            "KillWait": "2",
            "MinJobAge": "60",
            "MessageTimeout": "10",
            "SlurmdTimeout": "30",
            **({"SwitchType": "switch/none"} if self.version == 22 else {"ScronParameters": "enable"}),
        }

    def _write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(mode)
        self.account.own(path)

    # ------------------------------------------------------------ its processes

    def _start_node(self, name: str) -> None:
        elsewhere = () if name == HOST else (*_ELSEWHERE, name)
        self.account.folder(self.folder / "spool" / name)
        self._start("slurmd", "-D", "-N", name, "-d", f"{place(self.version)}/sbin/slurmstepd", label=f"slurmd.{name}",
                    before=elsewhere)  # fmt: skip

    def _start(self, program: str, *words: str, label: str = "", before: Sequence[str] = ()) -> None:
        label = label or program
        assert label not in self._daemons
        argv = [*before, f"{place(self.version)}/sbin/{program}", *words]
        with self._log(label).open("ab") as log:
            self._daemons[label] = subprocess.Popen(
                argv, cwd="/", env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self.account.become,
            )  # fmt: skip

    def _stop(self, label: str, number: signal.Signals) -> None:
        process = self._daemons.pop(label)
        space = ""
        with suppress(OSError):  # it has ended by itself
            space = os.readlink(f"/proc/{process.pid}/ns/pid_for_children")
        process.send_signal(number)
        process.wait(20)
        if space != os.readlink("/proc/self/ns/pid"):  # whatever ran there ends with it, but not at once
            self._await(lambda: not _peopled(space))

    def _log(self, label: str) -> Path:
        return self.folder / f"{label}.log"

    def _await(self, what: Callable[[], bool]) -> None:
        end = monotonic() + 30
        while not what():
            for label, process in self._daemons.items():
                assert process.poll() is None, f"{label} ended: {self._log(label).read_text()}"
            assert monotonic() < end, "\n".join(self._log(label).read_text() for label in self._daemons)
            sleep(_POLL)


def place(version: int) -> Path:
    """Where scripts/setup puts it."""
    return Path(f"/opt/slurm{version}")


def _free_port(held: ExitStack) -> int:
    """Held until all are known, so that each is another."""
    taken = held.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    return int(taken.getsockname()[1])


def _peopled(space: str) -> bool:
    """Whether a process is in this space of process ids."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.readlink(f"/proc/{name}/ns/pid") == space and runs(int(name)):
                return True
    return False


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
