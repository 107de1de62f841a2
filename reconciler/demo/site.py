"""The demo's own site in a copy of the project's desired state: what a person would write for a new place."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import ExitStack

from reconciler.demo.package import Package

ENVIRONMENT = "dev"
RESTARTED = ("web-1", "web-2")  # of the component that is bumped
KEPT = ("clock-local", "clock-utc")  # of the other one

_SITE = """\
# The demo, on this machine. It runs nothing of JAWS: `null` takes a key of
# the layers before this one away. What it has is in {site}.dev.yaml.
environments: [dev]
components: null
files: null
services: null
cleanup: null
"""

_SITE_ENVIRONMENT = """\
versions:
  web: "{package.before}"
  clock: "1"

paths:
  root: "{root}"

vars:
  ports: {{web-1: {ports[0]}, web-2: {ports[1]}}}

components:
  web:
    install: venv
    requirement: "{package.requirement}"
    python: "{python}"
  clock:
    install: none

files:
  app.py: {{template: demo-app.py.j2, path: "{{{{ paths.config }}}}/app.py"}}

services:
  web-1: &web
    component: web
    command: "python {{{{ files['app.py'].path }}}} {{{{ ports[service] }}}}"
    files: [app.py]
    ports: ["{{{{ ports[service] }}}}"]
  web-2: *web
  clock-utc: &clock
    component: clock
    command: "sh -c 'while date; do sleep 10; done'"
    env: {{TZ: UTC}}
  clock-local:
    <<: *clock
    env: {{LC_ALL: C}}
"""


class Site:
    """The demo's site: its names, its ports, and the files that make it."""

    def __init__(self, name: str, root: str, python: str, package: Package) -> None:
        self.name = name
        self.root = root
        self.package = package
        self.ports = free_ports(len(RESTARTED))
        self.versions_file = f"desired/sites/{name}.{ENVIRONMENT}.yaml"
        self._python = python

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}/" for port in self.ports]

    @property
    def supervisor_conf(self) -> str:
        return os.path.join(self.root, "config", "supervisord.conf")

    def write(self, repo: str) -> None:
        """A copy of the project's own desired state with this site added."""
        for folder in ("desired", "templates"):
            shutil.copytree(os.path.join(jaws(), folder), os.path.join(repo, folder))
        values = {"root": self.root, "python": self._python, "package": self.package, "ports": self.ports}
        self._put(repo, f"desired/sites/{self.name}.yaml", _SITE.format(site=self.name))
        self._put(repo, self.versions_file, _SITE_ENVIRONMENT.format(**values))
        self._put(repo, "templates/demo-app.py.j2", self.package.app)

    def _put(self, repo: str, name: str, text: str) -> None:
        with open(os.path.join(repo, name), "w", encoding="utf-8") as file:
            file.write(text)


def jaws() -> str:
    """The folder with the project's `desired` and `templates`: inside of an installed wheel, else the checkout."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(here, "jaws")
    return installed if os.path.isdir(installed) else os.path.dirname(os.path.dirname(here))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, chosen by the system and all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
