"""A deployment of an ordinary user's whose services are instances of Apptainer."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.backends.images import image
from tests.backends.instances import Instance, instances
from tests.scenarios.world import Done, World

_COMPONENT = """\
components:
  app:
    install: apptainer-sif
    image: "app-{{{{ version }}}}.sif"
    source: "{folder}/app-{{{{ version }}}}.sif"
    container: {{configdir: "{configdir}"}}
"""


class Site:
    """The services by name, with their keys as flow YAML; `app` is the component's version."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.configdir = world.folder / "a"
        world.env["RECONCILE_DEBUG"] = "1"  # a defect shows where it is
        self.app = "1.0"
        self.services: dict[str, str] = {}
        image(world.folder, "1.0")
        component = _COMPONENT.format(folder=world.folder, configdir=self.configdir)
        world.write({"desired/defaults.yaml": component})

    def commit(self, app: str = "", **services: str) -> None:
        """`keys` of each service; without `command`, it sleeps. It counts as started at once."""
        self.app = app or self.app
        self.services |= services
        lines = [f'versions: {{app: "{self.app}"}}', "services:"]
        for name, keys in self.services.items():
            whole = keys if "command:" in keys else f'command: "sleep 86399", {keys}'.rstrip(", ")
            options = "" if "apptainer:" in keys else ", apptainer: {start_seconds: 0}"
            lines.append(f"  {name}: {{component: app, launcher: apptainer, {whole}{options}}}")
        text = "\n".join(lines) + ("\n" if self.services else " {}\n")
        self.world.commit({"desired/environments/dev.yaml": text})

    def converge(self, *, code: int = 0) -> dict[str, str]:
        """One pass; what became of each service."""
        done = self.world.run("--once", "--json")
        assert done.code == code, done.said
        changes = done.json()["deployments"][0]["changes"]
        return {change["service"]: change["kind"] for change in changes}

    def fail(self) -> str:
        """One pass that fails; all that it says."""
        done: Done = self.world.run("--once")
        assert done.code == 1, done.said
        return done.out + done.err

    def pids(self) -> dict[str, int]:
        return self.world.pids()

    def instance(self, name: str) -> Instance:
        """The one of that name below this configdir."""
        (found,) = [one for one in instances() if one.name == name and self.holds(one)]
        return found

    def holds(self, one: Instance) -> bool:
        return os.readlink(f"/proc/{one.pid}/fd/1").startswith(f"{self.configdir}/")

    # ------------------------------------------------------------ by hand

    def apptainer(self, *words: str, env: Mapping[str, str] | None = None, code: int = 0) -> str:
        return self.run_by_hand("apptainer", *words, env=env, code=code)

    def run_by_hand(self, *argv: str, env: Mapping[str, str] | None = None, code: int = 0) -> str:
        """As a person of this account runs it."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            argv,
            cwd=self.world.folder,
            env={**self.world.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **self.world.account.become,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start_by_hand(self, name: str, marks: Mapping[str, str] | None = None, *command: str) -> Instance:
        env = {f"APPTAINERENV_{key}": value for key, value in (marks or {}).items()}
        sif = str(self.world.folder / "app-1.0.sif")
        self.apptainer("instance", "start", sif, name, *(command or ("sleep", "86399")), env=env)
        return self.instance(name)

    def record(self, name: str, host: str = "") -> Path:
        user = pwd.getpwuid(self.world.account.uid).pw_name
        return self.configdir / "instances/app" / (host or os.uname().nodename) / user / name / f"{name}.json"

    def write_record(self, name: str, content: bytes | Mapping[str, Any], host: str = "") -> Path:
        path = self.record(name, host)
        self.world.account.folder(path.parent, 0o700)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        self.world.account.own_all(self.configdir)
        return path

    def printed(self, name: str) -> str:
        """What an instance has written to its standard output."""
        path = self.record(name)
        return (self.configdir / "instances/logs" / Path(*path.parts[-4:-2]) / f"{name}.out").read_text()
