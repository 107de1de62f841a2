"""A person's checkout of a desired-state repo, and the command line in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.cli.main import main

LAYERS = {
    "desired/defaults.yaml": """\
# what holds everywhere
versions:
  tool: "1.0"      # the same in every environment
vars: {level: INFO}
paths: {root: "/srv/{{ site }}-{{ environment }}"}
components:
  web: {install: none}
  tool: {install: none}
files:
  web.conf: {template: web.conf.j2, path: "{{ paths.config }}/web.conf"}
services:
  server:
    component: web
    command: "serve {{ version }}"
    files: [web.conf]
  queue: {component: web, command: work}
  tool: {command: "tool --level {{ level }}"}
""",
    "desired/environments/dev.yaml": """\
versions:
  # what users see
  web: '2.8.1'     # since spring
vars: {level: DEBUG}
""",
    "desired/environments/prod.yaml": 'versions: {web: "2.7.0"}\n',
    "desired/sites/aws.yaml": "",
    "desired/sites/dori.yaml": "",
    "templates/web.conf.j2": "level={{ level }}\n",
}


class Told(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Checkout:
    """A repo with a work tree, on branch main."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.first = self.commit("first", LAYERS)

    def git(self, *words: str, path: Path | None = None) -> str:
        done = subprocess.run(["git", *words], cwd=path or self.path, check=True, capture_output=True, text=True)
        return done.stdout.rstrip("\n")

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)

    def commit(self, subject: str, files: Mapping[str, str]) -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def edit(self, subject: str, file: str, old: str, new: str) -> str:
        text = self.read(file)
        assert old in text
        return self.commit(subject, {file: text.replace(old, new)})

    def read(self, file: str, revision: str = "") -> str:
        return self.git("show", f"{revision}:{file}") + "\n" if revision else (self.path / file).read_text()

    def merge(self, branch: str, *words: str) -> str:
        self.git("merge", "--quiet", *words, branch)
        return self.git("rev-parse", "HEAD")

    def branches(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split()

    def run(self, *words: str, repo: Path | None = None) -> Told:
        said = io.BytesIO(), io.BytesIO()
        out, err = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in said)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*words, "--repo", str(repo or self.path)])
        told = Told(code, *(stream.getvalue().decode() for stream in said))
        assert "defect in reconcile" not in told.err, told.err
        return told

    def made(self, *words: str, repo: Path | None = None) -> dict[str, Any]:
        """What a command that commits something answers; nothing of the checkout is another one after it."""
        before = self.snapshot()
        told = self.run(*words, "--json", repo=repo)
        assert told.code == 0, told.err
        assert self.snapshot() == before
        assert told.json["changed"], told.out
        return told.json

    def refused(self, *words: str, code: int = 3) -> str:
        """Why a command does nothing at all: no branch, no commit, no file."""
        before = (self.snapshot(), self.git("for-each-ref"))
        told = self.run(*words)
        assert (told.code, told.out) == (code, ""), told
        assert (self.snapshot(), self.git("for-each-ref")) == before
        return told.err

    def changed(self, branch: str) -> tuple[list[str], list[str]]:
        """The lines that a branch takes away and adds, of all files."""
        lines = self.git("diff", "--unified=0", f"HEAD...{branch}").splitlines()
        bodies = [line for line in lines if not line.startswith(("---", "+++"))]
        return [line[1:] for line in bodies if line[:1] == "-"], [line[1:] for line in bodies if line[:1] == "+"]

    def snapshot(self) -> dict[str, str]:
        """Everything of the work tree, the index, and what is checked out."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            name = str(path.relative_to(self.path))
            within = not name.startswith(".git") or name in (".git/HEAD", ".git/index", ".git/config")
            if within and path.is_file():
                found[name] = sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns)
        return {**found, "main": self.git("rev-parse", "main")}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Two sites in two environments. `web` is set for each of these, `tool` for all."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@example.org\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return Checkout(tmp_path / "repo")
