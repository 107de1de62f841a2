"""What has gone wrong in JAWS, done once more by hand: reconcile mends it, or refuses it and says why.

Each test is named after one of its numbered stories. It shows the harm as it happened, then what a pass
says and does about it, which processes that touches, and that the next pass has nothing left to do.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.install.packages import write_source, write_wheel
from tests.jaws.daemons import DEFAULTS, SITE, STAGING, Jaws
from tests.scenarios.test_secrets import Sampler
from tests.scenarios.world import World, a_world, everything_below, finish, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


@pytest.fixture(name="jaws")
def a_jaws(world: World) -> Jaws:
    return Jaws(world)


# ---------------------------------------------------------------- 4: names that nobody has


def test_04_a_typing_error_in_a_command(jaws: Jaws) -> None:
    jaws.begin()
    program = str(jaws.programs / "jaws-site")
    jaws.edit(f"jaws_site: {program}", "jaws_site: jaws-site--rpc")
    jaws.refuses("check failed: command not found: jaws-site--rpc", "5 steps failed. 0 of 5 updated")
    jaws.edit("jaws_site: jaws-site--rpc", f"jaws_site: {program}--rpc")
    jaws.refuses(f"check failed: {program}--rpc does not exist")
    jaws.edit(f"jaws_site: {program}--rpc", f"jaws_site: {program}")
    jaws.mends()


def test_04_lists_of_names_that_diverged(jaws: Jaws) -> None:
    """A name in one list that another one spells otherwise is an error with its place, before anything happens."""
    jaws.begin()
    jaws.edit("after: [task-log]", "after: [tasklog]")
    said = "desired/defaults.yaml:16:37: unknown service `tasklog` in `after` did you mean `task-log`?"
    jaws.refuses("is not valid, so the site stays at", said, code=3)
    jaws.edit("after: [tasklog]", "after: [task-log]")
    jaws.world.commit({STAGING: "services:\n  rpc-sever: {enabled: false}\n"})
    jaws.refuses("desired/environments/staging.yaml:2:14: service `rpc-sever` has no `command`", code=3)
    jaws.world.commit({STAGING: ""})
    jaws.mends()


_LONG = "{{ jaws_site }} --config {{ files['jaws-site.conf'].path }}".replace("'", "''")


def test_04_a_changed_command_shows_what_changed(jaws: Jaws) -> None:
    """A typing error in the last word is one that can be seen before it is applied."""
    jaws.begin()
    jaws.world.commit({STAGING: f"services: {{rpc-server: {{command: '{_LONG} rpc-sever'}}}}\n"})
    assert "rpc-sever" in jaws.world.run("plan").out


# ---------------------------------------------------------------- 10: two people deployed at once


def test_10_two_people_deployed_at_once(jaws: Jaws) -> None:
    """The second is told who is at work, and leaves everything to him."""
    stubborn = jaws.world.stubborn()
    jaws.edit("command: sleep 86399", f"command: {stubborn}\n    stop: {{grace: 60}}")
    before = jaws.begin()
    jaws.edit('cromwell: "84"', 'cromwell: "85"')
    first = jaws.world.start("--once")
    try:
        until(lambda: "STOPPING" in jaws.world.supervisorctl("status", "cromwell"))
        second = jaws.world.run("--once")
        assert (second.code, second.out) == (75, "")
        assert f"another pass is at work: pid {first.pid} on {os.uname().nodename} since" in second.err
        assert jaws.world.pids() == before
    finally:
        (jaws.world.folder / "go").touch()
        assert finish(first).code == 0
    after = jaws.world.pids()
    assert {name for name in before if after[name] != before[name]} == {"cromwell"}
    jaws.world.idle()


@pytest.mark.parametrize("how", ["pushed over it", "named in the agent's file"])
def test_10_an_old_branch_was_deployed_after_a_newer_one(how: str, jaws: Jaws) -> None:
    old = jaws.world.git("rev-parse", "HEAD")
    new = jaws.edit('site: "2.8.1"', 'site: "2.8.2"')
    before = jaws.begin()
    jaws.world.git("branch", "release-2.8", old)
    branch = ["--branch", "release-2.8"]
    if how == "pushed over it":
        jaws.world.git("reset", "--quiet", "--hard", old)
        branch = []
    for _ in range(2):
        done = jaws.world.once(*branch, code=1)
        said = " ".join(done.out.split())
        assert f"rewound or force-pushed: it is at {old[:12]}, and {new[:12]}, which was accepted before" in said
        assert "--accept-rewind" in said
        assert jaws.world.pids() == before
    assert {service["version"] for service in jaws.status().values()} == {"2.8.2", "84"}
    jaws.world.git("reset", "--quiet", "--hard", new)
    jaws.mends()


# ---------------------------------------------------------------- 11: the old was gone before the new was there


@pytest.fixture
def built(jaws: Jaws) -> Jaws:
    """JAWS Site in a venv of its own, from wheels of a folder."""
    wheels = jaws.world.folder / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "jaws_site", "2.8.1")
    requirement = f"--no-index --find-links {wheels} jaws_site=={{{{ version }}}}"
    jaws.edit("site: {install: none}", f'site: {{install: venv, requirement: "{requirement}"}}')
    jaws.begin()
    return jaws


def test_11_the_new_venv_failed_to_build(built: Jaws) -> None:
    """The old one stays, and what runs from it."""
    old = built.file("venvs/site-2.8.1/bin/jaws_site")
    built.edit('site: "2.8.1"', 'site: "2.8.2"')
    said = "install failed: site-2.8.2 could not be built", "No matching distribution found for jaws_site==2.8.2"
    built.refuses(*said, "check blocked: install:site-2.8.2 failed", "1 step failed. 0 of 5 updated")
    assert subprocess.run([old], capture_output=True, text=True, check=True).stdout == "2.8.1\n"
    write_wheel(built.world.folder / "wheels", "jaws_site", "2.8.2")
    built.mends("install site-2.8.2", restarted=SITE)


_WAITS = """
import time
open({began!r}, "w").close()
while not os.path.exists({go!r}):
    time.sleep(0.02)
"""


def test_11_services_run_while_the_new_venv_is_built(built: Jaws) -> None:
    world, before = built.world, built.world.pids()
    source, began, go = world.folder / "source", world.folder / "began", world.folder / "go"
    write_source(source, "jaws_site", "2.8.2")
    with (source / "backend.py").open("a") as backend:
        backend.write(_WAITS.format(began=str(began), go=str(go)))
    text = (world.repo / DEFAULTS).read_text().replace('site: "2.8.1"', 'site: "2.8.2"')
    line = next(line for line in text.splitlines() if "requirement:" in line)
    world.commit({DEFAULTS: text.replace(line, f'  site: {{install: venv, requirement: "{source}"}}')})
    process = world.start("--once")
    try:
        until(began.exists)
        assert world.pids() == before
        assert {service["version"] for service in built.status().values()} == {"2.8.1", "84"}
    finally:
        go.touch()
        assert finish(process).code == 0
    after = world.pids()
    assert {name for name in after if after[name] != before[name]} == set(SITE)
    world.idle()


# ---------------------------------------------------------------- 12: what the host did not have


def test_12_python_was_missing(jaws: Jaws) -> None:
    jaws.begin()
    jaws.edit("site: {install: none}", "site: {install: venv, requirement: x, python: python3.99}")
    jaws.refuses("python3.99 -m venv", "The interpreter was not found: name it with `python:`", "0 of 5 updated")
    jaws.edit("site: {install: venv, requirement: x, python: python3.99}", "site: {install: none}")
    jaws.mends()


def test_12_module_was_missing(jaws: Jaws) -> None:
    """The program would come with the module."""
    jaws.begin()
    program = str(jaws.programs / "jaws-site")
    jaws.edit(f"jaws_site: {program}", "jaws_site: jaws-site")
    jaws.edit("site: {install: none}", "site: {install: none, prologue: module load python/3.11}")
    said = "check failed: command not found after the prologue: jaws-site", "module: command not found"
    jaws.refuses(*said, "-> prologue: module load python/3.11")
    module = f"module() {{ PATH={jaws.programs}:$PATH; }}; module load python/3.11"
    jaws.edit("prologue: module load python/3.11", f"prologue: '{module}'")
    jaws.mends(restarted=SITE)


def test_12_module_was_missing_and_the_program_was_there(jaws: Jaws) -> None:
    jaws.begin()
    jaws.edit("site: {install: none}", "site: {install: none, prologue: module load python/3.11}")
    jaws.refuses("module: command not found")


@pytest.mark.parametrize("name", ["logs", "run"])
def test_12_a_folder_was_not_writable(name: str, users_world: World) -> None:
    """That of the logs, that of the pid files."""
    jaws = Jaws(users_world)
    jaws.begin()
    folder = jaws.file(name)
    mode = folder.stat().st_mode & 0o777
    folder.chmod(0o555)
    jaws.edit('site: "2.8.1"', 'site: "2.8.2"')
    jaws.refuses(f"check failed: {folder} cannot be written to by this account", f"see `ls -ld {folder}`")
    folder.chmod(mode)
    jaws.mends(restarted=SITE)


_REFUSES = """
import os
def refuse(*_, **__):
    raise PermissionError(1, "Operation not permitted")
os.chown = os.lchown = os.fchown = os.setxattr = refuse
"""


def test_12_chgrp_and_setfacl_fail(jaws: Jaws) -> None:
    """They do on some parallel file systems, as programs and as calls. Nothing here needs them."""
    called = jaws.world.folder / "called"
    for name in ("chgrp", "chown", "setfacl"):
        jaws.program(name, f"#!/bin/sh\necho {name} >>{called}\nexit 1\n")
    (jaws.programs / "sitecustomize.py").write_text(_REFUSES)
    jaws.world.env |= {"PATH": f"{jaws.programs}:{jaws.world.env['PATH']}", "PYTHONPATH": str(jaws.programs)}
    jaws.begin()
    jaws.edit("rpc_port: 5672", "rpc_port: 5673")
    jaws.mends(restarted=SITE)
    assert not called.exists()


# ---------------------------------------------------------------- 13: passwords that others could read

_PASSWORD = "s3same-opens"
_SECRET = """\
vars: {db_password: THIS}
files: {site.env: {template: site.env.j2, path: "{{ paths.config }}/site.env"}}
services: {rpc-server: {files: [jaws-site.conf, site.env], env: {JAWS_DB_PASSWORD: "{{ db_password }}"}}}
""".replace("THIS", _PASSWORD)


def test_13_passwords_were_written_for_all_to_read(jaws: Jaws) -> None:
    """Mended without a restart; and nothing that reconcile says or keeps tells them."""
    world = jaws.world
    world.commit({STAGING: _SECRET, "templates/site.env.j2": "JAWS_DB_PASSWORD={{ db_password }}\n"})
    with Sampler(_PASSWORD) as sampler:
        jaws.begin()
        jaws.age()
        site_env, own_env = jaws.file("config/site.env"), jaws.file("config/env/rpc-server.env")
        for path in (site_env, own_env):
            assert _PASSWORD in path.read_text()
            path.chmod(0o644)
        done = jaws.mends("rpc-server.env has mode 0644, not 0600 (mended; no restart)", "site.env has mode 0644")
        assert [path.stat().st_mode & 0o777 for path in (site_env, own_env)] == [0o600, 0o600]
        said = [done, world.run("status"), world.run("explain", "rpc-server"), world.run("diff", "HEAD~1..HEAD")]
        world.commit({STAGING: _SECRET.replace(_PASSWORD, f"{_PASSWORD}-anew")})
        said += [world.run("plan"), world.run("plan", "--json"), world.run("diff", "HEAD~1..HEAD", "--json")]
        said.append(jaws.mends("JAWS_DB_PASSWORD changed (secret)", restarted=("rpc-server",)))
    assert sampler.rounds
    assert sampler.seen == set()
    assert [one.said for one in said if _PASSWORD in one.said] == []
    for place in (world.state, world.root / "logs", world.root / ".reconcile", world.root / "bin"):
        assert [path for path, content in everything_below(place) if _PASSWORD.encode() in content] == []


def test_13_a_mode_that_would_show_passwords_is_refused(jaws: Jaws) -> None:
    jaws.world.commit({STAGING: _SECRET, "templates/site.env.j2": "JAWS_DB_PASSWORD={{ db_password }}\n"})
    jaws.begin()
    jaws.edit("site.env.j2, path", 'site.env.j2, mode: "0644", path', STAGING)
    jaws.refuses("`site.env` holds a secret, and mode 0644 lets others read it", code=3)


# ---------------------------------------------------------------- 14: one port for two


@pytest.fixture(params=["literal", "by a var"])
def ports(request: pytest.FixtureRequest) -> dict[str, str]:
    """How an environment says which port Cromwell listens on: text of its layer, with the port in its second line."""
    if request.param == "literal":
        return {"layer": "services: {cromwell: {ports: {\n http: 50102}}}\n", "default": ""}
    return {"layer": "vars:\n  cromwell_port: 50102\n", "default": '\n    ports: {http: "{{ cromwell_port }}"}'}


def test_14_two_environments_had_one_port(ports: dict[str, str], jaws: Jaws) -> None:
    """Both places are told, before anything is applied; the environment that runs goes on."""
    jaws.edit("group: jaws-cromwell", f"group: jaws-cromwell{ports['default']}")
    jaws.world.commit({STAGING: ports["layer"]})
    jaws.begin()
    prod, root = "desired/environments/prod.yaml", str(jaws.world.root)
    apart = f"root: \"{root}{{{{ '' if environment == 'staging' else '-prod' }}}}\""
    site = f"environments: [staging, prod]\npaths: {{{apart}}}\n"
    jaws.world.commit({prod: ports["layer"], jaws.layer: site})
    said = "port 50102 is used twice: by `cromwell` in prod and by `cromwell` in staging"
    jaws.refuses(said, f"{STAGING}:2", f"{prod}:2", "is not valid, so the site stays at", code=3)
    validated = jaws.world.run("validate", str(jaws.world.repo), where=False)
    assert (validated.code, said in validated.out) == (3, True)
    assert not Path(f"{root}-prod").exists()
    jaws.world.commit({prod: ports["layer"].replace("50102", "50103")})
    jaws.world.once()
    assert Path(f"{root}-prod").exists()
