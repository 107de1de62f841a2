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
        small = content.lower()
        return [name for name, canary in self.canaries.items() if any(form in small for form in forms(canary))]

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


def quiet(planted: Planted) -> None:
    """Without the finding, so that passes can be idle."""
    world = planted.world
    layer = layers(planted)["desired/environments/dev.yaml"].replace("      env\n      false\n", "      env\n")
    world.commit({"desired/environments/dev.yaml": layer})


def users(before: dict[str, int], after: dict[str, int]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in after if after[name] != before[name]}


def test_a_new_value_restarts_its_users_at_the_next_pass(planted: Planted) -> None:
    """And nobody else; a pass without a new one writes nothing. Then the state directory is lost."""
    world = planted.world
    quiet(planted)
    planted.once()
    planted.idle()
    pids = world.pids()
    for name, restarts in (
        ("file", {"user", "reader"}), ("keyed", {"reader"}), ("env", {"user", "reader"}),
        ("command", {"user", "reader"}), ("age", {"user"}), ("agewhole", {"reader"}), ("sops", {"user"}),
    ):  # fmt: skip
        old = planted.canaries[name]
        planted.plant(name, canary(name))
        planted.canaries["old"] = old
        if name in ("age", "agewhole", "sops"):
            world.commit()
        elif name == "command":
            planted.idle()  # it was asked a moment ago, and is again when something is to be rendered
            (world.root / "config/env/user.env").unlink()
        told = planted.run("plan")
        assert (told.code, "changed (secret)" in told.out or "reader.conf changes" in told.out) == (2, True), told.said
        planted.once()
        after = world.pids()
        assert users(pids, after) == restarts, name
        pids = after
        holds(planted, name)
        nowhere_else(planted)
        planted.idle()
    planted.plant("command", canary("command"))
    os.utime(world.state / world.site / "dev/secrets.json", (1, 1))  # more than 15 minutes later
    planted.once()
    after = world.pids()
    assert users(pids, after) == {"user", "reader"}
    pids = after
    shutil.rmtree(world.state)
    planted.once()
    assert users(pids, world.pids()) == set(), "what digests are keyed with stands beside what runs too"
    planted.idle()


def without_pyrage(planted: Planted) -> dict[str, str]:
    """A module of that name that fails with what it was given, as a library may."""
    folder = planted.folder / "broken"
    folder.mkdir()
    text = "class _Keys:\n    @staticmethod\n    def from_str(text):\n        return text\n"
    text += "class x25519:\n    Identity = _Keys\ndef decrypt(content, keys):\n"
    text += f"    raise BaseException({planted.canaries['age']!r}, keys)\n"
    (folder / "pyrage.py").write_text(text)
    return {"PYTHONPATH": f"{folder}:{planted.world.env['PYTHONPATH']}"}


def test_what_cannot_be_had_blocks_those_that_need_it(planted: Planted) -> None:
    """They go on running, it is told where the reference stands and how to mend it, and all else is done."""
    world, folder = planted.world, planted.folder
    quiet(planted)
    planted.once()
    before = world.pids()
    (folder / "file").chmod(0o644)
    (folder / "vault").write_text(f"#!/bin/sh\necho {planted.canaries['command']} | tee /dev/stderr\nexit 3\n")
    os.utime(world.state / world.site / "dev/secrets.json", (1, 1))
    world.commit({"templates/app.conf.j2": "new\n"})  # a change that needs none of them
    done = planted.once(1)
    assert users(before, world.pids()) == {"plain"}, done.said
    assert "desired/defaults.yaml:6:7: the secret of file" in done.out
    for words in ("mode 0644", "chmod 600", "the command ended with exit status 3"):
        assert words in " ".join(done.out.split()), done.said
    told = planted.once(1, "--json").json()["deployments"][0]
    assert {change["service"]: change["kind"] for change in told["changes"]} == {
        "plain": "keep", "reader": "blocked", "user": "blocked",
    }  # fmt: skip
    assert "chmod 600" in planted.run("doctor").out
    nowhere_else(planted)
    for name in ("file", "command"):
        planted.plant(name, planted.canaries[name])
    planted.once()
    assert users(before, world.pids()) == {"plain"}, "the same values restart nothing"
    planted.idle()


def test_each_way_in_which_one_cannot_be_had(planted: Planted) -> None:
    world, folder = planted.world, planted.folder
    identity = (folder / "id").read_text()
    said: dict[str, str] = {}

    def tell(what: str, **more: str) -> None:
        said[what] = " ".join(planted.run("plan", **more).out.split())

    (folder / "file").unlink()
    (folder / "keyed").write_text(f"- {planted.canaries['keyed']}\n")
    tell("missing", CANARY_ENV="")
    (folder / "file").write_bytes(b"\xff" + planted.canaries["file"].encode())
    (folder / "keyed").write_text(f"db: {planted.canaries['keyed']}\n")
    (folder / "file").chmod(0o600)
    (folder / "id").write_text(str(pyrage.x25519.Identity.generate()))
    tell("other key")
    (folder / "id").write_text(identity)
    tell("no sops", PATH="/usr/bin:/bin")
    tell("a broken library", **without_pyrage(planted))
    (folder / "vault").write_text(f"#!/bin/sh\nprintf 'a\\0{planted.canaries['command']}'\n")
    (folder / "keyed").write_text(f"db: {{password: {planted.canaries['keyed']}: x}}\n")
    tell("nothing usable")
    for what, words in (
        ("missing", "No such file or directory"), ("missing", "is not a mapping in YAML or JSON"),
        ("missing", "of env CANARY_ENV cannot be had: it is empty"), ("other key", "is not encrypted for a key of"),
        ("other key", "it is not text"), ("other key", "`db.password` it has nothing"),
        ("no sops", "could not be started"), ("other key", "sops ended with exit status"),
        ("a broken library", "is not encrypted for a key of"),
        ("nothing usable", "control character U+0000"), ("nothing usable", "is not a mapping in YAML or JSON"),
    ):  # fmt: skip
        assert words in said[what], (what, said[what])
    assert not world.root.exists()
    nowhere_else(planted)


BROKEN = {
    "filter": ("templates/reader.conf.j2", "{{ pw | round }}", 3),
    "undefined beside": ("templates/reader.conf.j2", "{{ pw }} {{ nothing_such }}", 3),
    "syntax": ("desired/sites/{site}.dev.yaml", "vars: {{pw: !secret {{file: /x}}: y}}", 3),
    "two sources": ("desired/sites/{site}.dev.yaml", "vars: {{pw: !secret {{file: /x, env: X}}}}", 3),
    "in a command": ("desired/sites/{site}.dev.yaml", "services: {{plain: {{command: 'x {{{{ pw }}}}'}}}}", 3),
    # valid wherever it is only compiled, and not with what the secret turns out to be
    "unfit value": ("templates/reader.conf.j2", "{{ keyed[9999] if keyed[1] == '4' }}", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_its_use(name: str, planted: Planted) -> None:
    path, text, code = BROKEN[name]
    path = path.format(site=planted.world.site)
    planted.world.commit({path: text.format() if path.endswith(".yaml") else text})
    for words in (["--once"], ["--once", "--json"], ["plan"]):
        done = planted.run(*words, RECONCILE_DEBUG="1")
        assert done.code == code, done.said
        assert path in " ".join(done.said.split()), done.said
    nowhere_else(planted)
    if code == 1:
        assert set(planted.world.pids()) == {"", "plain", "user"}, "all that does not need it goes on"


def test_what_programs_print_of_it_is_masked(planted: Planted) -> None:
    """A prologue that shows what it was not given, a service that dies with its variables on its lips."""
    world, folder = planted.world, planted.folder
    says = f"cat {folder}/file; base64 {folder}/file >&2"
    text = USER.format(command="sh -c 'env; exit 1'", more="") + OTHERS
    text = text.replace("startsecs: 0", "startsecs: 1, startretries: 0", 1)
    world.commit({"desired/environments/dev.yaml": text})
    planted.once(1)
    done = planted.once(1, "--json")
    assert "user" in [step["service"] for one in done.json()["deployments"] for step in one["steps"]]
    text = text.replace("plain: {component: tool,", f"plain: {{component: tool, prologue: '{says}; exit 3',")
    world.commit({"desired/environments/dev.yaml": text})
    done = planted.once(1)
    assert "****" in done.out, done.said
    planted.once(1, "--json")
    journal = (world.state / world.site / "dev/journal.jsonl").read_text()
    assert "****" in journal
    for words in TELLING[:6]:
        planted.run(*words)
    nowhere_else(planted)


@pytest.mark.skipif(STRACE is None, reason="no strace")
def test_every_byte_that_is_written_or_sent(planted: Planted) -> None:
    """What the processes of a pass write, and to what. A pipe may hold one that a program was asked for, or that is
    answered by it; a file may that is closed to others and is the wanted one."""
    world = planted.world
    quiet(planted)
    planted.once()  # supervisord and its services are not traced, they are no part of a pass
    for name in SOURCES[:-1]:
        planted.plant(name, canary(name))
    os.utime(world.state / world.site / "dev/secrets.json", (1, 1))
    world.commit()
    trace = world.folder.parent / f"{world.folder.name}.trace"
    seen = set()
    for words in (["--once"], ["--once", "--json"], ["status"], ["doctor"], ["plan", "--json"]):
        strace = [STRACE or "", "-f", "-qq", "-y", "-s", "1048576", "-e", TRACED, "-o", str(trace)]
        argv = [*strace, world.python, "-m", "reconciler", *words, "--config", str(world.home / "agent.yaml")]
        env = {**world.env, **planted.env}
        done = subprocess.run(argv, cwd=world.folder, env=env, capture_output=True, timeout=200, check=False)
        assert done.returncode in (0, 2), done.stderr
        assert not planted.found(done.stdout + done.stderr)
        main = ""
        for line in trace.read_bytes().splitlines():
            pid, _, call = line.decode(errors="replace").partition(" ")
            main = main or pid
            if planted.found(line):
                where = re.match(r"\s*(\w+)\((\d+<[^>]*>)?", call)
                assert where, call[:200]
                seen.add(allowed(world, where[1], (where[2] or "").partition("<")[2].rstrip(">"), is_main=pid == main))
    trace.unlink()
    assert {"user.env", "reader.conf", "a pipe"} <= seen, "the trace is of what happens"


def allowed(world: World, call: str, to: str, *, is_main: bool) -> str:
    """Fails where it is not."""
    for inside in MAY_HOLD[:2]:
        folder, name = (world.root / inside).parent, (world.root / inside).name
        if re.fullmatch(rf"{re.escape(str(folder))}/\.?{re.escape(name)}.*", to):
            return name
    assert (call, to.partition(":")[0], is_main) == ("write", "pipe", False), (call, to)
    return "a pipe"
