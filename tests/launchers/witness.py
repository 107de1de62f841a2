"""A deployment whose services say themselves when they begin and end, whatever keeps them.

Each service is one small script. It takes a lock while it lives and writes a line when it begins and when it
was told to end, in the order in which that happens on the host: so two at once cannot go unseen.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.backends.images import image
from tests.backends.instances import helpers, instances
from tests.backends.manager import runs
from tests.scenarios.world import World

# $1: the service, $2: where it writes. Ending takes a moment, so that a hasty start would be seen.
_PROGRAM = """\
#!/bin/sh
note() { echo "$1 $service $RECONCILE_VERSION" >>"$log"; }
service=$1 log=$2/log lock=$2/$1.lock
ended() { sleep 0.2; note stop; rm -r "$lock"; exit 0; }
trap ended TERM
mkdir "$lock" || note TWICE
note start
echo "$service $RECONCILE_VERSION is up"
while :; do sleep 0.05; done
"""
_DEFAULTS = """\
components:
  app: {{install: none}}
  box:
    install: apptainer-sif
    image: "box-{{{{ version }}}}.sif"
    source: "{folder}/box-{{{{ version }}}}.sif"
    container: {{configdir: "{configdir}", mounts: {{said: "src={said},dst={said}"}}}}
"""

# What a service has to say to be kept so; PROGRAM is the script.
_OUTSIDE = "component: app, command: 'PROGRAM"
_INSIDE = "component: box, command: '/bin/witness"
KEEPERS = {
    "supervisor": f"launcher: supervisor, supervisor: {{startsecs: 0}}, {_OUTSIDE}",
    "systemd": f"launcher: systemd, systemd: {{start_seconds: 0}}, {_OUTSIDE}",
    "supervisor-run": f"launcher: supervisor, supervisor: {{startsecs: 0}}, {_INSIDE}",
    "systemd-run": f"launcher: systemd, systemd: {{start_seconds: 0}}, {_INSIDE}",
    "systemd-instance": f"launcher: systemd, container: {{mode: instance}}, systemd: {{start_seconds: 0}}, {_INSIDE}",
    "apptainer": f"launcher: apptainer, apptainer: {{start_seconds: 0}}, {_INSIDE}",
}


def launcher_of(keeper: str) -> str:
    return keeper.partition("-")[0]


def makes_instances(keeper: str) -> bool:
    return keeper in ("apptainer", "systemd-instance")


def files_of(services: Mapping[str, str]) -> set[str]:
    """What is generated for services, by how each is kept."""
    names = (name if launcher_of(keeper) == "supervisor" else f"{name}-dev" for name, keeper in services.items())
    return {path for name in names for path in (f"bin/{name}", f"config/env/{name}.env")}


class Said(NamedTuple):
    """One line of a service."""

    word: str  # start, stop, TWICE
    service: str
    version: str


class Witnessed:
    """A world with such services: by name, how each is kept, and more of its keys."""

    def __init__(self, world: World, *versions: str) -> None:
        """`versions`: of images that can be had; the script is in them."""
        self.world = world
        self.configdir = world.folder / "a"
        self.said = world.account.folder(world.folder / "said")
        self.program = world.folder / "witness"
        self.program.write_text(_PROGRAM)
        self.program.chmod(0o755)
        world.env["RECONCILE_DEBUG"] = "1"  # a defect shows where it is
        for version in versions:
            self.have_image(version)
        defaults = _DEFAULTS.format(folder=world.folder, configdir=self.configdir, said=self.said)
        world.write({"desired/defaults.yaml": defaults})

    def have_image(self, version: str) -> None:
        image(self.world.folder, version, "box", {"bin/witness": _PROGRAM})

    # ------------------------------------------------------------ git

    def layer(self, version: str, services: Mapping[str, str], more: Mapping[str, str] | None = None) -> dict[str, str]:
        """`services`: how each is kept; `more`: further keys of some of them, as flow YAML."""
        lines = [f'versions: {{app: "{version}", box: "{version}"}}', "services:" + " {}" * (not services)]
        for name, keeper in services.items():
            keys = KEEPERS[keeper].replace("PROGRAM", str(self.program)) + f" {name} {self.said}'"
            further = (more or {}).get(name, "")
            lines.append(f"  {name}: {{{keys}{', ' * bool(further)}{further}}}")
        return {"desired/environments/dev.yaml": "\n".join(lines) + "\n"}

    def commit(self, version: str, services: Mapping[str, str], more: Mapping[str, str] | None = None) -> None:
        self.world.commit(self.layer(version, services, more))

    # ------------------------------------------------------------ what the services say

    def lines(self) -> list[Said]:
        path = self.said / "log"
        return [Said(*line.split(" ")) for line in path.read_text().splitlines()] if path.exists() else []

    def lives(self, service: str) -> list[str]:
        """What it said, in order, with versions: `start 1.0`, `stop 1.0`. Fails where two were there at once."""
        lines = self.lines()
        assert [line for line in lines if line.word == "TWICE"] == []
        words = [line.word for line in lines if line.service == service]
        assert words == ["start", "stop"] * (len(words) // 2) + ["start"] * (len(words) % 2), (service, words)
        return [f"{line.word} {line.version}" for line in lines if line.service == service]

    def alive(self) -> set[str]:
        """Services that have a lock now."""
        return {path.stem for path in self.said.glob("*.lock")}

    def programs(self) -> dict[str, list[int]]:
        """The processes of the script itself, by service: inside of a container or not. Its children do not count."""
        found = {int(pid): service for pid in filter(str.isdigit, os.listdir("/proc")) if (service := self._runs(pid))}
        by_service: dict[str, list[int]] = {}
        for pid, service in found.items():
            if runs(pid) and _parent(pid) not in found:
                by_service.setdefault(service, []).append(pid)
        return by_service

    def _runs(self, pid: str) -> str:
        """The service whose script a process executes."""
        shell, *words = _words(pid) or [""]
        begins_well = shell in ("/bin/sh", "sh") and len(words) == 3 and words[0].endswith("/witness")
        return words[1] if begins_well and words[2] == str(self.said) else ""

    # ------------------------------------------------------------ what is left

    def remains(self, launcher: str) -> list[str]:
        """Everything on this host that is a launcher's: files of this deployment, processes, what would come back."""
        looks = {"supervisor": self._supervisors, "systemd": self._systemds, "apptainer": self._apptainers}
        return sorted(looks[launcher]())

    def _supervisors(self) -> Iterator[str]:
        root = self.world.root
        for pattern in ("config/supervisord.conf*", "config/supervisor/*", "run/supervisor*"):
            yield from (str(path.relative_to(root)) for path in root.glob(pattern))
        yield from (f"daemon {one.pid}" for one in self.world.live() if one.marks.get("RECONCILE_DAEMON"))

    def _systemds(self) -> Iterator[str]:
        """What systemd merely remembers until it reads its files anew is not counted: see `remembered`."""
        manager = self.world.manager
        if manager is None:
            return
        yield from (str(path) for path in manager.units.rglob("*-dev*"))
        yield from (line for line in self._units("list-units") if " inactive dead " not in line)
        yield from self._units("list-unit-files")

    def remembered(self) -> list[str]:
        """Units that systemd lists and that have neither a process nor a file."""
        assert self.world.manager
        return [
            line
            for line in self._units("list-units")
            if not (self.world.manager.units / line.partition(" ")[0]).exists()
        ]

    def _units(self, verb: str) -> list[str]:
        assert self.world.manager
        words = (verb, "--all", "--no-legend", "--plain", "*-dev.service")
        return self.world.manager.systemctl(*words, code=None).splitlines()

    def _apptainers(self) -> Iterator[str]:
        """Instances, whoever keeps them, with what Apptainer remembers and what it has left running."""
        yield from (str(path) for path in (self.configdir / "instances/app").rglob("*.json"))
        yield from (f"instance {one.name}" for one in instances() if one.image.startswith(f"{self.world.folder}/"))
        kept = {pid for pids in self.programs().values() for pid in pids}
        if not kept:
            yield from (f"helper {pid}" for pid in helpers(self.world.folder) if runs(pid))

    def own_files(self) -> set[str]:
        """Start scripts and environments, by path below the root."""
        found = (path for folder in ("bin", "config/env") for path in (self.world.root / folder).rglob("*"))
        return {str(path.relative_to(self.world.root)) for path in found if not path.is_dir()}

    def notes(self) -> list[str]:
        """What is kept of single services while they run: pids of instances, stops under way."""
        return sorted(path.name for path in (self.world.root / "run").glob("*-dev*"))

    def managers(self) -> list[str]:
        """The launchers that are noted as ours, in both copies."""
        first, *others = (self._inventory(path) for path in self.inventories())
        noted = [manager[0] for manager in first["managers"]]
        assert all([manager[0] for manager in other["managers"]] == noted for other in others)
        return sorted(noted)

    def inventories(self) -> Sequence[Path]:
        found = [self.world.root / ".reconcile/inventory.json", *self.world.state.rglob("inventory.json")]
        assert len(found) == 2
        return found

    def _inventory(self, path: Path) -> Any:
        return json.loads(path.read_text().splitlines()[1])["inventory"]

    def idle(self) -> None:
        """A pass that finds nothing to do, and writes nothing but when it last heard of the remote."""
        before = self._written()
        self.world.idle()
        after = self._written()
        assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == set()

    def _written(self) -> dict[str, tuple[int, int]]:
        """By file, when it was changed and which one it is. The lock, and the time of the last contact, are no news."""
        found = {}
        for top in (self.world.root, self.world.state, self.world.home, self.configdir):
            for path in top.rglob("*"):
                info = path.lstat() if os.path.lexists(path) else None
                telling = path.name not in ("lock", "source.json", "logs") and "logs" not in path.parts
                if info and telling and not stat.S_ISDIR(info.st_mode) and ".git" not in str(path.parent):
                    found[str(path)] = (info.st_mtime_ns, info.st_ino)
        return found


def _words(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
