"""The site that all contenders bring about: one repo that says the same to each of them in its own words."""

from __future__ import annotations

import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
LEVELS = ("info", "warning", "debug", "error")
# Of each service: what the peers' shims and environment files say as well.
_CONSTANT = """\
      SITE: "{{ site }}"
      SERVICE_NAME: "{{ service }}"
      SERVICE_VERSION: "{{ version }}"
      INPUTS: "{{ inputs }}/{{ service }}"
      TMPDIR: /tmp
      LANG: C.UTF-8
      LC_ALL: C.UTF-8
      PYTHONUNBUFFERED: "1"
"""


class Repo:
    """A bare repo, and a work tree in which its versions are bumped."""

    def __init__(self, folder: str, count: int, env: dict[str, str]) -> None:
        self.bare, self._tree, self._env = f"{folder}/repo.git", f"{folder}/tree", env
        self.names = [f"svc{number:04d}" for number in range(count)]
        self.patch = dict.fromkeys(self.names, 0)
        os.makedirs(self._tree)
        shutil.copytree(f"{HERE}/peers", f"{self._tree}/peers", ignore=shutil.ignore_patterns("*.sh", "__pycache__"))
        self._root = folder
        # Two sites, not two environments of one: a pass compiles all environments of its site.
        self._write("desired/environments/main.yaml", "")
        self._write("desired/sites/bench.yaml", "vars: {startsecs: 0}\n")
        self._write("desired/sites/ready.yaml", "vars: {startsecs: 1}\n")
        self._git("init", "-q", "--bare", "-b", "main", self.bare, tree=False)
        self._git("init", "-q", "-b", "main")
        self._commit("start")

    def version(self, name: str) -> str:
        return f"1.0.{self.patch[name]}"

    def bump(self, *names: str) -> None:
        """One commit that raises the versions of these services: one line each."""
        for name in names:
            self.patch[name] += 1
        self._commit(f"bump {names[0]}" if len(names) == 1 else "bump all")

    def root(self, site: str) -> str:
        """Where reconcile brings a site about."""
        return f"{self._root}/r-{site}"

    def _commit(self, subject: str) -> None:
        self._write("desired/defaults.yaml", self._desired())
        self._write("peers/site.yaml", self._peers())
        self._git("add", "-A")
        self._git("commit", "-q", "-m", subject)
        self._git("push", "-q", self.bare, "main")

    def _desired(self) -> str:
        versions = "".join(f'  {name}: "{self.version(name)}"\n' for name in self.names)
        components = "".join(f"  {name}: {{install: none}}\n" for name in self.names)
        services = ""
        for number, name in enumerate(self.names):
            port, workers, level = _values(number)
            services += f"  {name}:{'' if number else ' &service'}\n"
            services += "    <<: *service\n" if number else "    launcher: supervisor\n    command: sleep infinity\n"
            if not number:
                services += '    supervisor: {startsecs: "{{ startsecs }}"}\n'
            services += f"    component: {name}\n    env:{'' if number else ' &env'}\n"
            services += "      <<: *env\n" if number else _CONSTANT
            services += f'      SERVICE_PORT: "{port}"\n      SERVICE_WORKERS: "{workers}"\n'
            services += f'      LOG_LEVEL: {level}\n      OMP_NUM_THREADS: "{workers}"\n'
        head = f'paths: {{root: "{self._root}/r-{{{{ site }}}}"}}\nvars: {{inputs: /data/inputs}}\n'
        head += f"supervisor: {{minfds: {minfds(len(self.names))}}}\n"
        return f"{head}versions:\n{versions}components:\n{components}services:\n{services}"

    def _peers(self) -> str:
        text = "site: bench\nstartsecs: 0\nservices:\n"
        for number, name in enumerate(self.names):
            port, workers, level = _values(number)
            text += f'  - name: {name}\n    version: "{self.version(name)}"\n    port: {port}\n    workers: {workers}\n'
            text += f"    level: {level}\n    inputs: /data/inputs/{name}\n"
        return text

    def _write(self, path: str, text: str) -> None:
        whole = f"{self._tree}/{path}"
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "w") as file:
            file.write(text)

    def _git(self, *words: str, tree: bool = True) -> None:
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        where = ("-C", self._tree) if tree else ()
        subprocess.run(["git", *where, *identity, *words], check=True, env=self._env)


def minfds(count: int) -> int:
    """Open files that supervisord asks for: three a program. Each program that it starts closes all of them first."""
    return max(1024, count * 4)


def _values(number: int) -> tuple[int, int, str]:
    return 9000 + number, 1 + number % 4, LEVELS[number % 4]
