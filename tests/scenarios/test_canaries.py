"""Secrets of every source in every kind of place, and every byte that was written or sent looked through for them.

Each canary is another random text, so a find tells which source leaked. Where one may be is said in one list; all else
must be free of it: outputs, the state directory, the mirror with its objects unpacked, the tree below the root, the
arguments of all processes, and, by strace, each write and each program that was started.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.scenarios.test_secrets import Sampler
from tests.scenarios.world import SLEEP, Done, World, a_world, everything_below, until  # noqa: F401

pyrage = pytest.importorskip("pyrage")
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

PREFIX = "C4n"  # of every canary
SOURCES = ("file", "keyed", "env", "command", "age", "agewhole", "sops", "literal")
STRACE = shutil.which("strace")
TRACED = "trace=write,writev,pwrite64,sendto,sendmsg,sendmmsg,execve"


class Planted(NamedTuple):
    """Where the canaries are got from; nothing of reconcile's."""

    world: World
    folder: Path  # of the sources, outside of all that is looked through
    canaries: dict[str, str]

    @property
    def env(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{self.world.env['PATH']}"  # sops is there
        return {"CANARY_ENV": self.canaries["env"], "SOPS_AGE_KEY_FILE": str(self.folder / "id"), "PATH": path}

    def run(self, *words: str, **more: str) -> Done:
        """A command as from cron with a crontab that sets the variable. What it says is looked through."""
        config = ["--config", str(self.world.home / "agent.yaml")]
        done = self.world.run(*words, *config, env={**self.env, **more}, where=False)
        assert not self.found(done.out.encode() + done.err.encode()), (words, done.said)
        assert "Traceback" not in done.out + done.err
        assert "defect" not in done.out + done.err, done.said
        return done

    def once(self, code: int = 0, *words: str, **more: str) -> Done:
        done = self.run("--once", *words, **more)
        assert done.code == code, done.said
        return done

    def idle(self) -> None:
        before = self.state()
        done = self.once(0, "--json")
        assert [step["id"] for one in done.json()["deployments"] for step in one["steps"]] == []
        assert self.state() == before, "an idle pass writes nothing"

    def state(self) -> dict[str, int]:
        """Which files there are, each with its inode: a write makes another one."""
        return {str(path): path.stat().st_ino for path in sorted(self.world.state.rglob("*")) if path.is_file()}

    def found(self, content: bytes) -> list[str]:
        return [name for name, canary in self.canaries.items() if any(form in content.lower() for form in forms(canary))]

    def plant(self, name: str, value: str) -> None:
        """Put a canary where its source has it."""
        self.canaries[name] = value
        private = {"file": value + "\n", "keyed": json.dumps({"db": {"password": value}, "port": 5432})}
        if name in private:
            path = self.folder / name
            path.write_text(private[name])
            path.chmod(0o600)
        elif name == "command":
            (self.folder / "vault").write_text(f"#!/bin/sh\necho {value}\necho no {value} >&2\n")
            (self.folder / "vault").chmod(0o700)
        elif name in ("age", "agewhole"):
            text = f"db:\n  password: {value}\n" if name == "age" else value
            self.world.write({f"secrets/{name}.age": pyrage.encrypt(text.encode(), [self.recipient()])})
        elif name == "sops":
            self.world.write({"secrets/prod.yaml": self.sops(f"db:\n  password: {value}\n")})

    def recipient(self) -> object:
        text = (self.folder / "id").read_text().split()[-1]
        return pyrage.x25519.Identity.from_str(text).to_public()

    def sops(self, text: str) -> bytes:
        """By the real program, as a person would."""
        plain = self.folder / "plain.yaml"
        plain.write_text(text)
        argv = ["sops", "--encrypt", "--age", str(self.recipient()), str(plain)]
        return subprocess.run(argv, env={**os.environ, **self.env}, check=True, capture_output=True).stdout


def forms(canary: str) -> Iterator[bytes]:
    """As it is, and as programs hand things on; in small letters."""
    data = canary.encode()
    yield data.lower()
    yield data[::-1].lower()
    yield data.hex().encode()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).lower()
        yield whole[-(-before * 8 // 6) :][: len(data) * 8 // 6 - 1]


def canary(name: str) -> str:
    return f"{PREFIX}{name}-{os.urandom(9).hex()}"


def layers(planted: Planted) -> dict[str, str]:
    folder = planted.folder
    return {
        "desired/defaults.yaml": f"""\
versions: {{app: "1.0", tool: "1.0"}}
components: {{app: {{install: none}}, tool: {{install: none}}}}
vars:
  level: INFO
  where: {folder}
  pw: !secret {{file: "{folder}/{{{{ 'file' }}}}"}}
  keyed: !secret {{file: {folder}/keyed, key: db.password}}
  nest: {{deep: {{inner: !secret {{env: CANARY_ENV}}}}, listed: [plain, !secret {{command: {folder}/vault}}]}}
  aged: !secret {{age: secrets/age.age, key: db.password}}
  whole: !secret {{age: secrets/agewhole.age}}
  sopsed: !secret {{sops: secrets/prod.yaml, key: db.password}}
  literal: !secret "{planted.canaries["literal"]}"
  dsn: "pg://{{{{ pw }}}}@{{{{ nest.deep.inner | urlencode }}}}/{{{{ aged | upper }}}}"
files:
  app.conf: {{template: app.conf.j2, path: "{{{{ paths.config }}}}/app.conf"}}
  reader.conf: {{template: reader.conf.j2, path: "{{{{ paths.config }}}}/reader.conf"}}
""",
        "desired/environments/dev.yaml": USER.format(command=SLEEP, more="") + OTHERS,
        "templates/reader.conf.j2": READER,
    }


USER = """\
services:
  user:
    component: app
    command: {command}
    env:
      DIRECT: !secret {{file: "{{{{ where }}}}/file"}}
      DSN: "{{{{ dsn }}}}"
      DEFAULTED: "{{{{ literal | default('x') | reverse }}}}"
      LISTED: "{{{{ nest.listed | join(',') }}}}"
      SOPSED: "{{{{ sopsed | replace('-', '_') }}}}"
    on_start: |
      env
      false
    health: {{exec: {{command: "env; env >&2; test -n \\"$DSN\\""}}, settle: 0s}}
    supervisor: {{startsecs: 0}}
{more}"""
OTHERS = f"""\
  reader: {{component: app, command: {SLEEP}, files: [reader.conf], supervisor: {{startsecs: 0}}}}
  plain: {{component: tool, command: {SLEEP}, files: [app.conf], supervisor: {{startsecs: 0}}}}
"""
READER = """\
{% set copy = keyed %}
{{ copy }} {{ nest | tojson }} {{ whole | urlencode }} {{ literal | upper }} {{ pw | list | join }}
"""
MAY_HOLD = ("config/env/user.env", "config/reader.conf", "run/on_start/user.failed", "logs/user.log")
TELLING = (
    ["plan"], ["plan", "--json"], ["status"], ["status", "--json"], ["doctor"], ["doctor", "--json"],
    ["explain", "user"], ["explain", "user", "--json"], ["explain", "reader", "--environment", "dev"],
    ["logs", "plain"], ["logs", "supervisord"], ["diff", "HEAD~1..HEAD"], ["diff", "HEAD~1..HEAD", "--json"],
    ["schedule", "status"],
)  # fmt: skip


@pytest.fixture
def planted(world: World) -> Iterator[Planted]:
    folder = world.folder / "x"
    folder.mkdir(0o700)
    (folder / "id").write_text(f"# made by a test\n{pyrage.x25519.Identity.generate()}\n")
    (folder / "id").chmod(0o600)
    made = Planted(world, folder, {})
    for name in SOURCES:
        made.plant(name, canary(name))
    config = f"repo: {world.url}\nsite: {world.site}\nstate_dir: {world.state}\nage_identity: {folder}/id\n"
    (world.home / "agent.yaml").write_text(config)
    world.commit(layers(made))
    world.commit(subject="second")
    with Sampler(*(form.decode() for one in made.canaries.values() for form in forms(one))) as sampler:
        yield made
    assert sampler.rounds
    assert sampler.seen == set(), "an argument of a process"


def nowhere_else(planted: Planted) -> None:
    """Nothing but what is meant to has one, and nobody else can read that."""
    world = planted.world
    for path, content in everything_below(world.folder):
        inside = path.relative_to(world.folder)
        if inside.parts[0] == "x" or inside.parts[0] == "repo":
            continue  # where they come from; the literal one stands in git
        if inside.parts[0] == "r" and str(Path(*inside.parts[1:])) in MAY_HOLD:
            assert path.stat().st_mode & 0o077 == 0 or "logs" in inside.parts, inside
            continue
        assert not planted.found(content), inside
    for mirror in (world.state / "mirrors").glob("*.git"):
        argv = ["git", f"--git-dir={mirror}", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
        content = subprocess.run(argv, check=True, capture_output=True).stdout
        assert set(planted.found(content)) <= {"literal"}


def holds(planted: Planted, *names: str) -> None:
    """The test would find nothing where nothing is: these have come where they are needed."""
    rendered = b"".join((planted.world.root / inside).read_bytes() for inside in MAY_HOLD[:2])
    assert set(names) <= set(planted.found(rendered.replace(b"_", b"-")))


def test_all_sources_and_places(planted: Planted) -> None:
    saved = str(planted.world.folder / "plan.json")
    assert planted.run("plan", "--out", saved).code == 2
    planted.run("apply", saved, "--json")
    holds(planted, *SOURCES)
    for words in TELLING:
        assert planted.run(*words).code in (0, 1, 2), words
        assert planted.run(*words, RECONCILE_DEBUG="1").code in (0, 1, 2), words
    assert planted.world.run("validate", "repo", "--json", env=planted.env, where=False).code == 0
    nowhere_else(planted)
    planted.once(1)  # the finding of on_start stands
    nowhere_else(planted)
