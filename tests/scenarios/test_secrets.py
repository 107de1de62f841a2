"""No secret in any output, log, plan, journal, state or process list, whatever goes well and whatever fails."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Self

import pytest

from tests.scenarios.world import SLEEP, Done, World, a_world, everything_below  # noqa: F401
from tests.source.conftest import _http, free_port

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

PREFIX = "c4nary-ofthese"  # every secret of these tests begins with it, and none of others that run meanwhile
NAMES = ("user", "reader", "plain")

VARS = f"""\
versions: {{app: "1.0", tool: "1.0"}}
components: {{app: {{install: none}}, tool: {{install: none}}}}
vars:
  level: INFO
  db_password: {PREFIX}-password
  api_token: "{PREFIX}-token"
  x_secret: '{PREFIX}-secret'
  tsig_key: |
    {PREFIX}-key
  API_KEY: {PREFIX}-capitals
  marked: !secret {PREFIX}-marked
  nest: {{deep: {{password: {PREFIX}-nested}}, listed: [plain, !secret {PREFIX}-listed]}}
  derived: "pre-{{{{ api_token }}}}-post"
  dsn: "pg://app:{{{{ db_password }}}}@db/{{{{ derived | upper }}}}"
files:
  app.conf: {{template: app.conf.j2, path: "{{{{ paths.config }}}}/app.conf"}}
  secret.conf: {{template: secret.conf.j2, path: "{{{{ paths.config }}}}/secret.conf"}}
  shared.conf: {{template: secret.conf.j2, path: "{{{{ paths.config }}}}/shared.conf", mode: "0640"}}
"""
LAYER = f"""\
services:
  user:
    component: app
    command: {SLEEP}
    env:
      DB_PASSWORD: {PREFIX}-literal
      DSN: "{{{{ dsn }}}}"
      HARMLESS_NAME: "{{{{ marked }}}}"
      LISTED: "{{{{ nest.listed | join(',') }}}}"
      LEVEL: "{{{{ level }}}}"
    supervisor: {{startsecs: 0}}
  reader: {{component: app, command: {SLEEP}, files: [secret.conf, shared.conf], supervisor: {{startsecs: 0}}}}
  plain: {{component: tool, command: {SLEEP}, files: [app.conf], supervisor: {{startsecs: 0}}}}
"""
SECRET_TEMPLATE = """\
password = {{ db_password }}
token = {{ api_token | lower }}
key = {{ tsig_key }}
all = {{ nest | tojson }}
dsn = {{ dsn }}
{{ x_secret }} {{ API_KEY }} {{ marked }}
"""
FILES = {
    "desired/defaults.yaml": VARS,
    "desired/environments/dev.yaml": LAYER,
    "templates/secret.conf.j2": SECRET_TEMPLATE,
}


def shows(text: str | bytes) -> list[str]:
    """The secrets in a text."""
    found = text.decode(errors="replace") if isinstance(text, bytes) else text
    return re.findall(rf"(?i){PREFIX}[-\w]*", found)


def silent(done: Done) -> Done:
    """It says none, and fails in no way that it should not."""
    assert shows(done.out + done.err) == []
    assert "Traceback" not in done.out + done.err
    assert "defect" not in done.err, done.said
    return done


class Sampler:
    """Reads the arguments of all processes that have begun since, as fast as it can."""

    def __init__(self, *wanted: str) -> None:
        self.wanted = [word.encode() for word in wanted]
        self.seen: set[str] = set()
        self.rounds = 0
        self._over = Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        older = set(os.listdir("/proc"))
        while not self._over.is_set():
            self.rounds += 1
            names = set(filter(str.isdigit, os.listdir("/proc")))
            older &= names
            for name in names - older:
                with contextlib.suppress(OSError):
                    arguments = Path(f"/proc/{name}/cmdline").read_bytes()
                    if any(word in arguments.lower() for word in self.wanted):
                        self.seen.add(arguments.replace(b"\0", b" ").decode(errors="replace"))
            self._over.wait(0.005)


@pytest.fixture
def sampler() -> Iterator[Sampler]:
    """Fails the test when a secret stood in an argument of any process."""
    with Sampler(PREFIX) as sampler:
        yield sampler
    assert sampler.rounds
    assert sampler.seen == set()


@pytest.fixture
def secretive(world: World, sampler: Sampler) -> World:
    world.commit(FILES)
    return world


def nothing_kept(world: World) -> None:
    """No file of ours shows one, but for the rendered ones that are meant to; those are closed to others."""
    for path, content in everything_below(world.state):
        assert shows(content) == [], path
        assert path.stat().st_mode & 0o077 == 0 or "mirrors" in path.parts, path
    assert world.state.stat().st_mode & 0o077 == 0
    for path, content in everything_below(world.root):
        inside, mode = str(path.relative_to(world.root)), path.stat().st_mode & 0o777
        if inside.startswith("config/env/"):
            assert mode & 0o077 == 0, inside
        elif inside in ("config/secret.conf", "config/shared.conf"):
            assert mode == (0o600 if inside == "config/secret.conf" else 0o640)
        else:
            assert shows(content) == [], inside
    for path in world.folder.glob("*"):
        if path.is_file():
            assert shows(path.read_bytes()) == [], path


def test_all_goes_well(secretive: World) -> None:
    world = secretive
    first = world.git("rev-parse", "HEAD")
    saved = str(world.folder / "plan.json")
    for words in (["plan"], ["plan", "--json"], ["plan", "--out", saved], ["validate", "repo"], ["status"]):
        assert silent(world.run(*words)).code in (0, 1, 2)
    assert silent(world.run("apply", saved, "--json")).code == 0
    assert shows((world.root / "config/env/user.env").read_bytes()), "the secret has to come where it is needed"
    assert len(set(shows((world.root / "config/secret.conf").read_bytes()))) > 6
    nothing_kept(world)
    world.idle()
    world.commit({"desired/defaults.yaml": VARS.replace("-password", "-changed").replace("-marked", "-remarked")})
    for words in (
        ["diff", f"{first}..HEAD"],
        ["diff", f"{first}..HEAD", "--json"],
        ["diff", f"{first}..HEAD", "--patch"],
        *(["diff", f"{first}..HEAD", "-o", form] for form in ("markdown", "html", "junit")),
        ["plan"],
        ["plan", "--json"],
        *(["plan", "-o", form] for form in ("markdown", "html", "junit")),
        ["--once"],
        ["--once", "--json"],
        ["status"],
        ["status", "--json"],
        ["validate", "repo", "--json"],
    ):
        assert silent(world.run(*words)).code in (0, 2)
    for service in NAMES:
        assert silent(world.run("explain", service)).code == 0
        assert silent(world.run("explain", service, "--json")).code == 0
        assert silent(world.run("blame", service)).code == 0
    assert silent(world.run("explain", "user", "env.DSN")).code == 0
    nothing_kept(world)


def test_a_change_of_a_secret_is_told_and_restarts_its_users(secretive: World) -> None:
    world = secretive
    world.once()
    before = world.pids()
    world.commit({"desired/defaults.yaml": VARS.replace(f"{PREFIX}-key", f"{PREFIX}-rekeyed")})
    plan = silent(world.run("plan", "--json")).json()["deployments"][0]
    changes = {change["service"]: change for change in plan["changes"] if change["kind"] != "keep"}
    assert list(changes) == ["reader"]
    assert any("secret.conf" in reason for reason in changes["reader"]["reasons"])
    silent(world.once())
    after = world.pids()
    assert {name for name in after if after[name] != before[name]} == {"reader"}
    world.commit({"desired/defaults.yaml": VARS.replace("-key", "-rekeyed").replace("-marked", "-remarked")})
    told = silent(world.run("plan")).out
    assert "HARMLESS_NAME" in told
    silent(world.once())
    assert {name for name in after if world.pids()[name] != after[name]} == {"reader", "user"}
    world.idle()
    nothing_kept(world)


def test_drift_of_a_secret_file(secretive: World) -> None:
    """Edited by hand, opened to others, deleted: told without its content, and mended."""
    world = secretive
    world.once()
    (world.root / "config/env/user.env").chmod(0o644)
    with (world.root / "config/secret.conf").open("a") as file:
        file.write(f"more = {PREFIX}-by-hand\n")
    (world.root / "config/shared.conf").unlink()
    silent(world.run("plan"))
    silent(world.once("--json"))
    world.idle()
    nothing_kept(world)


# ---------------------------------------------------------------- what is refused

LEAKS = {
    "command": "command: serve {{ db_password }}",
    "command, derived": "command: serve {{ dsn }}",
    "command, marked": f"command: !secret serve {PREFIX}-inline",
    "prologue": "command: serve, prologue: export A={{ marked }}",
    "name": "command: serve, name: 'x-{{ db_password }}'",
    "group": "command: serve, group: '{{ db_password }}'",
    "component": "command: serve, component: '{{ db_password }}'",
    "launcher": "command: serve, launcher: '{{ db_password }}'",
    "after": "command: serve, after: ['{{ db_password }}']",
    "files": "command: serve, files: ['{{ db_password }}']",
    "ports": "command: serve, ports: ['{{ db_password }}']",
    "enabled": "command: serve, enabled: '{{ db_password }}'",
    "stop.grace": "command: serve, stop: {grace: '{{ db_password }}'}",
    "stop.signal": "command: serve, stop: {signal: '{{ db_password }}'}",
    "option": "command: serve, supervisor: {startsecs: '{{ db_password }}'}",
    "option, text": "command: serve, supervisor: {exitcodes: '{{ db_password }}'}",
    "env, list": f"command: serve, env: {{A_KEY: [{PREFIX}-list]}}",
    "env, NUL": 'command: serve, env: {A_KEY: "{{ db_password }}\\0"}',
    "env, filter": "command: serve, env: {A: '{{ db_password | nope }}'}",
    "env, attribute": "command: serve, env: {A: '{{ db_password.nothing }}'}",
    "env, key of a mapping": "command: serve, env: {A: '{{ {}[db_password] }}'}",
    "env, item": "command: serve, env: {A: '{{ [1][db_password] }}'}",
    "env, sum": "command: serve, env: {A: '{{ db_password + 1 }}'}",
    "env, number": "command: serve, env: {A: '{{ (db_password | list)[99] }}'}",
    "env, called": "command: serve, env: {A: '{{ db_password() }}'}",
    "env, formatted": "command: serve, env: {A: '{{ db_password.format(1, x=2) % 3 }}'}",
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_secret_where_it_would_show_is_refused_and_not_shown(name: str, world: World) -> None:
    keys = LEAKS[name]
    component = "" if "component:" in keys else "component: app, "
    world.commit(FILES | {"desired/environments/dev.yaml": f"services:\n  bad: {{{component}{keys}}}\n"})
    for words in (["--once"], ["validate", "repo", "--json"]):
        done = silent(world.run(*words))
        assert done.code == 3, done.said
    assert not world.root.exists()
    nothing_kept(world)


LAYERS = {
    "mode of a file": 'files: {secret.conf: {mode: "0644"}}',
    "mode of a file, for a folder's others": 'files: {secret.conf: {mode: "0601"}}',
    "path of a file": "files: {secret.conf: {path: '{{ paths.config }}/{{ db_password }}'}}",
    "template of a file": "files: {secret.conf: {template: '{{ db_password }}'}}",
    "root": "paths: {root: '/srv/{{ db_password }}'}",
    "logs": "paths: {logs: '/srv/{{ db_password }}'}",
    "requirement": "components: {app: {install: venv, requirement: 'https://{{ db_password }}@h/x.whl'}}",
    "requirement, broken": f"components: {{app: {{install: venv, requirement: '--what https://u:{PREFIX}-u@h/x.whl'}}}}",
    "python": "components: {app: {install: venv, requirement: x, python: '{{ db_password }}'}}",
    "version": "versions: {app: '{{ db_password }}'}",
    "cycle": "vars: {a_password: '{{ b_password }}', b_password: '{{ a_password }}', level: '{{ a_password }}'}",
    "twice": f"vars: {{db_password: {PREFIX}-a, db_password: {PREFIX}-b}}",
    "policy": "policy: {max_removals: '{{ db_password }}'}",
    "daemon's port": "supervisor: {port: '{{ db_password }}', username: u, password: x}",
    "daemon's password alone": f"supervisor: {{port: 4711, password: {PREFIX}-inet}}",
    "not YAML": f"vars:\n  db_password: {PREFIX}-a: {PREFIX}-b\n",
    "not YAML, quote": f'vars:\n  db_password: "{PREFIX}-open\n',
    "not YAML, tab": f"vars:\n  db_password:\n\t{PREFIX}-tab\n",
    "tag": f"vars: {{db_password: !secrets {PREFIX}-tag}}",
    "control character": f"vars: {{db_password: {PREFIX}\x07}}",
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_would_show_one(name: str, world: World) -> None:
    world.commit(FILES | {f"desired/sites/{world.site}.dev.yaml": LAYERS[name] + "\n"})
    for words in (["--once"], ["validate", "repo", "--json"]):
        done = silent(world.run(*words))
        assert done.code == 3, done.said
    assert not world.root.exists()


TEMPLATES = {
    "attribute": "{{ db_password.nothing }}",
    "item": "{{ {}[db_password] }}",
    "include": "{% include db_password %}",
    "import": "{% import marked as x %}",
    "extends": "{% extends api_token %}",
    "filter": "{{ db_password | dictsort }}",
    "sum": "{{ 1 + db_password }}",
    "loop": "{% for x in db_password %}{{ x.y }}{% endfor %}",
    "test": "{{ db_password is divisibleby(3) }}",
    "format": "{{ '%d' % db_password }}",
    "map": "{{ [db_password] | map(attribute='x.y') | list | first | upper + 1 }}",
    "syntax": "{{ db_password ",
    "round": "{{ db_password | round }}",
    "sort": "{{ [1, db_password] | sort }}",
    "raise": "{{ {'a': 1}[db_password ~ 'x'].b }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_fails_on_one(name: str, world: World) -> None:
    world.commit(FILES | {"templates/secret.conf.j2": f"first\n{TEMPLATES[name]}\n"})
    for words in (["--once"], ["validate", "repo", "--json"]):
        done = silent(world.run(*words))
        assert done.code == 3, done.said
        assert "templates/secret.conf.j2" in done.out + done.err
    assert not world.root.exists()


# ---------------------------------------------------------------- what fails while it is carried out


def test_a_program_that_does_not_start(secretive: World) -> None:
    world = secretive
    world.once()
    broken = LAYER.replace(SLEEP, "/bin/false", 1).replace("startsecs: 0", "startsecs: 1", 1)
    world.commit({"desired/environments/dev.yaml": broken})
    silent(world.once("--json", code=1))
    silent(world.once(code=1))
    silent(world.run("status"))
    world.commit({"desired/environments/dev.yaml": LAYER.replace(SLEEP, "no-such-program --x", 1)})
    silent(world.once(code=1))
    nothing_kept(world)


def test_a_file_that_cannot_be_written(secretive: World) -> None:
    world = secretive
    world.once()
    env = world.root / "config/env/user.env"
    env.unlink()
    env.mkdir()
    silent(world.once(code=1))
    silent(world.once("--json", code=1))
    nothing_kept(world)


def test_an_index_with_a_password_that_cannot_be_reached(secretive: World) -> None:
    world = secretive
    first = world.git("rev-parse", "HEAD")
    url = f"http://svc:{PREFIX}-index@127.0.0.1:{free_port()}/simple"
    text = f'components: {{app: {{install: venv, requirement: "-i {url} hello=={{{{ version }}}}"}}}}\n'
    layer = f"desired/sites/{world.site}.dev.yaml"
    world.commit({layer: text})
    for words, code in (
        (["plan"], 2),
        (["--once"], 1),
        (["--once", "--json"], 1),
        (["explain", "user"], 0),
        (["explain", "user", "--json"], 0),
        (["diff", f"{first}..HEAD"], 2),
        (["status"], 1),
    ):
        done = silent(world.run(*words))
        assert done.code == code, done.said
    nothing_kept(world)
    world.commit({layer: text.replace("-index", "-another")})
    told = silent(world.run("diff", "HEAD~1..HEAD"))
    assert (told.code, "requirement" in told.out) == (2, True), told.said


def test_a_repo_that_refuses_its_password(world: World, sampler: Sampler) -> None:
    """It stands in the agent's file; and so when nobody answers."""
    world.commit(FILES)
    config = world.folder / "home/agent.yaml"
    with _http(world.folder) as port:
        for address in (port, free_port()):
            url = f"http://ann:{PREFIX}-repo@127.0.0.1:{address}/repo/.git"
            config.write_text(f"repo: {url}\nsite: {world.site}\nstate_dir: {world.state}\n")
            for words in (["--once"], ["plan", "--json"], ["explain", "user"], ["diff", "a..b"]):
                done = silent(world.run(*words, "--config", str(config), where=False))
                assert done.code == 1, done.said
    assert not world.root.exists()
    nothing_kept(world)


def test_a_repo_that_takes_its_password(world: World) -> None:
    world.commit(FILES)
    config = world.folder / "home/agent.yaml"
    with _http(world.folder) as port, Sampler(f"word@127.0.0.1:{port}") as sampler:
        url = f"http://ann:pa%3Ass%40word@127.0.0.1:{port}/repo/.git"
        config.write_text(f"repo: {url}\nsite: {world.site}\nstate_dir: {world.state}\n")
        for words in (["--once"], ["--once", "--json"], ["plan"], ["status"]):
            done = world.run(*words, "--config", str(config), where=False)
            assert done.code == 0, done.said
            assert not re.search("pa%3Ass|pa:ss", done.said)
    assert sampler.seen == set()
    for path, content in everything_below(world.state):
        assert not re.search(b"pa%3Ass|pa:ss", content), path


def test_a_secret_that_cannot_be_had_is_told_once_in_a_report(world: World) -> None:
    """Whatever waits for it: its place, why, and how to mend it stand in a line of their own."""
    made = f"component: app, command: {SLEEP}, env: {{A: !secret {{env: NOWHERE}}}}, supervisor: {{startsecs: 0}}"
    plain = made.replace("!secret {env: NOWHERE}", "x")
    world.commit({"desired/environments/dev.yaml": f"services:\n  one: {{{plain}}}\n  two: {{{plain}}}\n"})
    world.once()
    world.commit({"desired/environments/dev.yaml": f"services:\n  one: &one {{{made}}}\n  two: *one\n"})
    for words in (["plan"], ["--once"], ["status"]):
        told = " ".join(world.run(*words).out.split())
        assert told.count("there is no variable NOWHERE") == 1, told
        assert told.count("? desired/environments/dev.yaml:2:") == 1
        assert told.count("the secret of env NOWHERE cannot be had") == 3
