"""Where the demo plays: one temporary folder, a name that nobody else uses, and commands as a person types them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from typing import Any

from reconciler.demo.ending import carriers, end_all
from reconciler.demo.narrator import Narrator
from reconciler.demo.site import ENVIRONMENT
from reconciler.host import proc

_LONGEST = 60  # bytes of the folder's path: a unix socket below it may have 108

_MEANINGS = {0: "in agreement", 1: "failed, or not healthy", 2: "differences remain"}


class DemoFailed(Exception):  # noqa: N818 - it says what is so
    """The demo cannot go on. The text says why, and what to do."""


class Stage:
    """The folder with all that the demo makes. `close` ends every process that was started and removes it."""

    def __init__(self, narrator: Narrator) -> None:
        self.narrator = narrator
        self._claim, self.site_name = _claim_name()
        self.folder = tempfile.mkdtemp(prefix="reconcile-demo-", dir=_base())
        self.repo = os.path.join(self.folder, "repo")
        self.root = os.path.join(self.folder, "root")
        self.config = os.path.join(self.folder, "agent.yaml")
        self._env = self._environment()

    def prepare(self) -> None:
        """The command as it is typed, and the agent's file."""
        os.mkdir(self.repo)
        bin_ = os.path.join(self.folder, "bin")
        os.mkdir(bin_)
        for name, module in (("reconcile", "reconciler"), ("supervisorctl", "supervisor.supervisorctl")):
            path = os.path.join(bin_, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m {module} "$@"\n')
            os.chmod(path, 0o700)
        with open(self.config, "w", encoding="utf-8") as file:
            state = os.path.join(self.folder, "state")
            file.write(f"repo: {self.repo}\nsite: {self.site_name}\nstate_dir: {state}\n")

    def _environment(self) -> Mapping[str, str]:
        """Nobody's own settings of git or reconcile have a part in it."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "RECONCILE_"))}
        person = {"NAME": "Demo", "EMAIL": "demo@example.org"}
        env |= {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat"}
        path = os.path.join(self.folder, "bin") + os.pathsep + env.get("PATH", os.defpath)
        return env | {"PATH": path, "RECONCILE_CONFIG": self.config}

    # ------------------------------------------------------------ commands

    def type(self, line: str, *, expect: Collection[int] = (0,)) -> None:
        """Run a command in the repo's folder, shown as it is typed. Raises `DemoFailed` for another exit status."""
        self.narrator.command(line)
        began = time.monotonic()
        code = subprocess.run(["/bin/sh", "-c", line], cwd=self.repo, env=self._env, check=False).returncode
        if line.startswith("reconcile"):
            self.narrator.ended(code, _MEANINGS.get(code, ""), time.monotonic() - began)
        if code not in expect:
            raise DemoFailed(f"`{line}` ended with exit status {code}")

    def services(self) -> Mapping[str, Mapping[str, Any]]:
        """What `reconcile status --json` says of each service."""
        argv = ["reconcile", "status", "--json"]
        done = subprocess.run(argv, cwd=self.repo, env=self._env, capture_output=True, text=True, check=False)
        try:
            deployments = json.loads(done.stdout)["deployments"]
        except (ValueError, KeyError) as error:
            raise DemoFailed(f"`{' '.join(argv)}` ended with {done.returncode}: {done.stderr.strip()}") from error
        return {service["service"]: service for found in deployments for service in found["services"]}

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Raises `DemoFailed` where something stays."""
        end_all(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        left = carriers(self.folder)
        if left or os.path.exists(self.folder):
            pids = " ".join(map(str, left))
            raise DemoFailed(f"{self.folder} could not be removed" + (f"; still at work in it: {pids}" if pids else ""))


def _base() -> str:
    chosen = tempfile.gettempdir()
    return chosen if len(os.fsencode(chosen)) <= _LONGEST else "/tmp"  # noqa: S108 - mkdtemp makes a private folder


def _claim_name() -> tuple[socket.socket, str]:
    """The site's name: `demo`, unless another demo of this host has it or was left running.

    Two deployments of one name would take each other's processes for left-overs of their own.
    """
    for number in range(1, 100):
        name = "demo" if number == 1 else f"demo-{number}"
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0reconcile-{name}")  # goes with this process
        except OSError:
            claim.close()
            continue
        if not proc.scan(f"{name}/{ENVIRONMENT}")[0]:
            return claim, name
        claim.close()
    raise DemoFailed("a hundred demos run on this host already")
