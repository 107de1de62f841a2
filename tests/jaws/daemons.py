"""A small JAWS in a world of its own: the daemons of a site, and what a person on call reads and does there.

`jaws-site` is a script that behaves as JAWS Site does in what matters here: it reads its configuration
once, when it starts, and ends with an error for a daemon that it does not know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from time import time
from typing import Any

from tests.scenarios.world import Done, World, until

SITE = ("rpc-server", "run-daemon", "transfer-daemon", "perf-metrics-daemon", "task-log")
SERVICES = (*SITE, "cromwell")
DEFAULTS, STAGING = "desired/defaults.yaml", "desired/environments/staging.yaml"

_LAYER = """\
versions: {site: "2.8.1", cromwell: "84"}
vars: {rpc_port: 5672, jaws_site: PROGRAM}
components:
  site: {install: none}
  cromwell: {install: none}
files:
  jaws-site.conf: {template: jaws-site.conf.j2, path: "{{ paths.config }}/jaws-site.conf"}
services:
  task-log: &daemon
    component: site
    group: jaws-site
    launcher: supervisor
    command: "{{ jaws_site }} --config {{ files['jaws-site.conf'].path }} {{ service }}"
    files: [jaws-site.conf]
    supervisor: {startsecs: 0, startretries: 0}
  rpc-server: {<<: *daemon, after: [task-log]}
  run-daemon: {<<: *daemon, name: runs}
  transfer-daemon: {<<: *daemon, name: transfers}
  perf-metrics-daemon: {<<: *daemon, name: perf-metrics}
  cromwell:
    group: jaws-cromwell
    launcher: supervisor
    command: sleep 86399
    supervisor: {startsecs: 0, startretries: 0}
"""
_CONF = "[RPC_SERVER]\nport = {{ rpc_port }}\n"
_PROGRAM = """\
#!/bin/sh
for daemon; do :; done
case $daemon in
rpc-server | run-daemon | transfer-daemon | perf-metrics-daemon | task-log*) ;;
*) echo "Error: No such command '$daemon'." >&2; sleep 0.3; exit 2 ;; # journald asks later whose line it was
esac
JAWS_PORT=$(sed -n 's/^port = //p' "$2") exec sleep 86399
"""


class Jaws:
    """The site `jgi` with its staging environment, in a world."""

    def __init__(self, world: World, launcher: str = "supervisor") -> None:
        self.world = world
        self.layer = f"desired/sites/{world.site}.yaml"
        self.units = ("rpc-server", "runs", "transfers", "perf-metrics", "task-log", "cromwell")
        self.programs = world.account.folder(world.folder / "bin")
        program = self.program("jaws-site", _PROGRAM)
        layer = _LAYER.replace("PROGRAM", str(program)).replace("launcher: supervisor", f"launcher: {launcher}")
        if launcher == "systemd":
            layer = layer.replace("supervisor: {startsecs: 0, startretries: 0}", "systemd: {start_seconds: 1}")
            layer = re.sub(", name: [a-z-]+", "", layer)  # as on dori: SERVICE-ENV
        site = f'environments: [staging]\npaths: {{root: "{world.root}"}}\n'
        files = {DEFAULTS: layer, STAGING: "", self.layer: site}
        world.commit({**files, "desired/environments/dev.yaml": None, "templates/jaws-site.conf.j2": _CONF})

    def program(self, name: str, script: str) -> Path:
        path = self.programs / name
        path.write_text(script)
        path.chmod(0o755)
        self.world.account.own(path)
        return path

    # ------------------------------------------------------------ git

    def edit(self, old: str, new: str, layer: str = DEFAULTS) -> str:
        """A commit that replaces one piece of text, which is there once."""
        text = (self.world.repo / layer).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {layer}"
        return self.world.commit({layer: text.replace(old, new)}, f"{old} -> {new}")

    def rename(self, old: str, new: str) -> str:
        """A commit that calls a service otherwise, wherever it is named."""
        text = (self.world.repo / DEFAULTS).read_text()
        return self.world.commit({DEFAULTS: text.replace(old, new)}, f"{old} is now {new}")

    # ------------------------------------------------------------ passes

    def begin(self) -> dict[str, int]:
        """All is as git wants it; who runs."""
        self.world.once()
        pids = self.world.pids()
        assert pids.keys() - {""} == set(SERVICES)
        return pids

    def age(self) -> None:
        """Wait until what is done to files now is clearly later than the start of all that runs."""
        born = max(os.stat(f"/proc/{pid}").st_mtime for pid in self.world.pids().values())
        until(lambda: time() - born > 1.5)

    def mends(self, *said: str, restarted: tuple[str, ...] = (), code: int = 0) -> Done:
        """A pass that says so and restarts these and no others; where all is well, a second one does nothing."""
        before = self.world.pids()
        done = self.tells(*said, code=code)
        after = self.world.pids()
        assert {name for name in before if after.get(name) != before[name]} == set(restarted), done.said
        if code == 0:
            self.world.idle()
            assert self.world.pids() == after
        return done

    def refuses(self, *said: str, code: int = 1) -> None:
        """Pass after pass says so; whatever runs goes on untouched, and nobody calls it a success."""
        pids = self.world.pids()
        for _ in range(2):
            self.tells(*said, code=code)
            assert self.world.pids() == pids

    def tells(self, *said: str, code: int) -> Done:
        """A pass that ends so, and says all of this, however its lines are folded."""
        done = self.world.once(code=code)
        words = " ".join(done.out.split())
        for sentence in said:
            assert sentence in words, f"{sentence!r} is missing in:\n{done.said}"
        return done

    def status(self) -> Mapping[str, Mapping[str, Any]]:
        """By service."""
        services = self.world.run("status", "--json").json()["deployments"][0]["services"]
        return {service["service"]: service for service in services}

    # ------------------------------------------------------------ the host

    def file(self, name: str) -> Path:
        """Below the root."""
        return self.world.root / name

    def port(self, service: str) -> str:
        """The one that a running daemon has read when it started."""

        def read() -> str:
            entries = Path(f"/proc/{self.world.pids()[service]}/environ").read_text().split("\0")
            return next((entry.partition("=")[2] for entry in entries if entry.startswith("JAWS_PORT=")), "")

        return until(read)  # its shim becomes it a moment after it was started

    def replace(self, name: str, old: str, new: str) -> Path:
        """Edit a file below the root by hand."""
        path = self.file(name)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return path


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/exe")
