"""A JAWS site as people have set it up by hand, with a venv, wrappers and supervisord; and git, which wants it.

Git is the project's own `desired/`, with one more site. The daemons are stubs: a package that stays until it is told to
stop, and a `java` that does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.adopt.byhand import ENVIRONMENT, ByHand, Place

PROJECT = Path(__file__).parents[2]

# By service, its name under supervisor.
DAEMONS = {
    "rpc-server": "rpc-server",
    "run-daemon": "runs",
    "transfer-daemon": "transfers",
    "perf-metrics-daemon": "perf-metrics",
    "task-log": "task-log",
}
SERVICES = {*DAEMONS, "cromwell"}
VERSION = "2.8.1"
PASSWORD = "hunter2-never-shown"

_MAIN = "import signal\ndef main():\n    signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n    signal.pause()\n"

_SITE = """\
environments: [dev]
vars:
  install_base: {base}
  scratch_base: {base}/scratch
  ref_data: {base}/refdata
  unix_group: jaws
  users_group: jaws
  globus_endpoint: none
  globus_host_path: /
  max_cpu: 2
  max_ram_gb: 4
  python: {python}
  locale: C.UTF-8
components:
  site: {{install: venv, requirement: "--no-index --find-links {base}/wheels jaws-site=={{{{ version }}}}"}}
cleanup: null
services:
  cromwell:
    command: >-
      {base}/java/bin/java -Xmx5g -Dconfig.file={{{{ files['cromwell.conf'].path }}}}
      -jar {{{{ cromwell_jar }}}} server
    env: {{LC_ALL: C.UTF-8, LANG: C.UTF-8}}
    supervisor: {{startsecs: 0}}
"""
_DAEMON = "  {name}: {{supervisor: {{startsecs: 0, startretries: 0}}}}\n"

_SUPERVISORD = """\
[unix_http_server]
file=%(here)s/../s.sock
[supervisord]
logfile={root}/logs/supervisord.log
pidfile={root}/supervisord.pid
childlogdir={root}/logs
directory={root}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/../s.sock
[include]
files=supervisord.*.conf
"""
_PROGRAM = """\
[program:{unit}]
command={root}/wrappers/{service}
startsecs=0
autorestart=true
stopwaitsecs={stop}
stdout_logfile={root}/logs/{unit}.log
"""
_WRAPPER = """\
#!/bin/bash
set -a; . {base}/private/here-dev.env; set +a
export LC_ALL={locale} LANG={locale} PYTHONIOENCODING=utf-8
cd {root}
exec {command}
"""


class Jaws:
    """The site `here`, environment dev."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.place = place
        self.base = folder / "jaws-install"
        self.root = self.base / f"here-{ENVIRONMENT}"
        place.root = self.root
        for name in ("wheels", "private", "java/bin", "cromwell", "scratch", "refdata", f"here-{ENVIRONMENT}"):
            (self.base / name).mkdir(parents=True)
        for name in ("configs", "config", "logs", "wrappers", "said", "more"):
            (self.root / name).mkdir(exist_ok=True)
        (self.base / "private/here-dev.env").write_text(f"JAWS_DB_PASSWORD={PASSWORD}\n")
        (self.base / "private/here-dev.env").chmod(0o600)
        _program(self.base / "java/bin/java", "import signal\nsignal.pause()\n")
        for number in ("86", "87", "88"):
            (self.base / f"cromwell/cromwell-{number}.jar").write_text("")
        for number in ("2.8.0", VERSION, "2.8.2"):
            wheel(self.base / "wheels", number)
        self._desired()

    def _desired(self) -> None:
        for part in ("desired", "templates"):
            shutil.copytree(PROJECT / part, self.place.repo / part)
        text = _SITE.format(base=self.base, python=sys.executable)
        self.layer.write_text(text + "".join(_DAEMON.format(name=name) for name in DAEMONS))
        self.place.commit()

    @property
    def layer(self) -> Path:
        return self.place.repo / f"desired/sites/{self.place.site}.yaml"

    @property
    def own_layer(self) -> Path:
        return self.place.layer

    # ------------------------------------------------------------ what people have done

    def set_up(
        self,
        names: Mapping[str, str] = DAEMONS,
        *,
        services: Sequence[str] = (*DAEMONS, "cromwell"),
        version: str = VERSION,
        level: str = "DEBUG",
        locale: str = "C.UTF-8",
        jar: str = "87",
        configuration: bool = True,
        more: str = "",
    ) -> ByHand:
        """supervisord with these programs, of the version and in the way that git wants unless it is said otherwise."""
        self.venv(version)
        if configuration:
            self.configuration()
        for service in services:
            self._wrapper(service, self.command(service, level, jar), locale)
        made = self.supervisord(self.root, names, services)
        (made.conf.parent / "supervisord.more.conf").write_text(more.format(root=self.root))
        return made

    def second(self, folder: Path) -> ByHand:
        """A supervisord of its own for the workflow engine."""
        self._wrapper("cromwell", self.command("cromwell"))
        return self.supervisord(folder, {}, ("cromwell",))

    def _wrapper(self, service: str, command: str, locale: str = "C.UTF-8") -> None:
        path = self.root / "wrappers" / service
        path.write_text(_WRAPPER.format(base=self.base, root=self.root, locale=locale, command=command))
        path.chmod(0o755)

    def supervisord(self, folder: Path, names: Mapping[str, str], services: Sequence[str]) -> ByHand:
        """One that runs these programs, not started yet."""
        (folder / "configs").mkdir(parents=True, exist_ok=True)
        made = ByHand.__new__(ByHand)
        made.folder, made.login = folder, (None, None)
        made.conf = folder / "configs/supervisord.conf"
        made._process = None
        made.conf.write_text(_SUPERVISORD.format(root=folder))
        (folder / "logs").mkdir(exist_ok=True)
        site = [name for name in services if name in DAEMONS]
        if site:
            units = [names.get(name, name) for name in site]
            text = "".join(self._section(names.get(name, name), name, 10) for name in site)
            text += f"[group:jaws-site]\nprograms={','.join(units)}\n"
            (made.conf.parent / "supervisord.jaws-site.conf").write_text(text)
        if "cromwell" in services:
            text = self._section(names.get("cromwell", "cromwell"), "cromwell", 120)
            (made.conf.parent / "supervisord.jaws-cromwell.conf").write_text(text)
        return made

    def _section(self, unit: str, service: str, stop: int) -> str:
        return _PROGRAM.format(root=self.root, unit=unit, service=service, stop=stop)

    def command(self, service: str, level: str = "DEBUG", jar: str = "87") -> str:
        if service == "cromwell":
            conf, archive = self.root / "config/cromwell.conf", self.base / f"cromwell/cromwell-{jar}.jar"
            return f"{self.base}/java/bin/java -Xmx5g -Dconfig.file={conf} -jar {archive} server"
        log, conf = self.root / f"logs/jaws-{service}.log", self.root / "config/jaws-site.conf"
        return f"{self.root}/site/bin/jaws-site --log {log} --config {conf} --log-level {level} {service}"

    def venv(self, version: str) -> None:
        folder = self.root / "site"
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        with zipfile.ZipFile(self.base / f"wheels/jaws_site-{version}-py3-none-any.whl") as archive:
            archive.extractall(packages)
        text = f"#!{folder}/bin/python\nfrom jaws_site import main\nmain()\n"
        (folder / "bin/jaws-site").write_text(text)
        (folder / "bin/jaws-site").chmod(0o755)

    def configuration(self) -> None:
        """The files as git renders them."""
        from tests.jaws.repo import Repo, rendered

        compiled = Repo(self.place.repo).compile(self.place.site, ENVIRONMENT)
        for name in ("jaws-site.conf", "cromwell.conf"):
            (self.root / "config" / name).write_text(rendered(compiled, name))

    # ------------------------------------------------------------ git

    def bump(self, component: str, version: str) -> None:
        path = self.place.repo / f"desired/environments/{ENVIRONMENT}.yaml"
        text, count = re.subn(rf'(?m)^  {component}: "[^"]+"$', f'  {component}: "{version}"', path.read_text())
        assert count == 1
        path.write_text(text)
        self.place.commit()

    def adopt(self, conf: Path, *more: str, code: int = 0) -> Any:
        told = self.place.run("adopt", "supervisor", str(conf), *more, "--json")
        assert told.code == code, told.err or told.out
        return told.json if code == 0 else told


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


def wheel(folder: Path, version: str) -> None:
    info = f"jaws_site-{version}.dist-info"
    with zipfile.ZipFile(folder / f"jaws_site-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("jaws_site.py", _MAIN)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: jaws-site\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\njaws-site = jaws_site:main\n")
        archive.writestr(f"{info}/RECORD", "")
