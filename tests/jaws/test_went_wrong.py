"""What has gone wrong in JAWS, done once more by hand: reconcile mends it, or refuses it and says why.

Each test is named after one of its numbered stories. It shows the harm as it happened, then what a pass
says and does about it, which processes that touches, and that the next pass has nothing left to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.install.packages import write_source, write_wheel
from tests.jaws.daemons import DEFAULTS, SERVICES, SITE, STAGING, Jaws, alive
from tests.scenarios.test_secrets import Sampler
from tests.scenarios.world import World, a_world, everything_below, finish, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


@pytest.fixture(name="jaws")
def a_jaws(world: World) -> Jaws:
    return Jaws(world)


# ---------------------------------------------------------------- 1: a conf was edited and not applied


def test_01_a_conf_was_edited_and_reread_hid_it(jaws: Jaws) -> None:
    """supervisord then holds the new options and runs the old process; `status` shows nothing of it."""
    pids = jaws.begin()
    jaws.age()
    jaws.replace("config/supervisor/rpc-server.conf", "stopwaitsecs=10", "stopwaitsecs=44")
    assert "rpc-server: changed" in jaws.world.supervisorctl("reread")
    assert f"pid {pids['rpc-server']}, uptime" in jaws.world.supervisorctl("status", "rpc-server")

    jaws.mends("rpc-server.conf was edited by hand (mended; no restart)")
    assert "No config updates" in jaws.world.supervisorctl("reread")


def test_01_a_conf_was_edited_and_nobody_restarted_for_it(jaws: Jaws) -> None:
    """Neither the edit nor the restart that somebody gives one daemon later is left as it is."""
    jaws.begin()
    jaws.age()
    jaws.replace("config/jaws-site.conf", "5672", "9999")
    assert jaws.port("rpc-server") == "5672"
    jaws.mends("jaws-site.conf was edited by hand (mended; no restart)")

    jaws.replace("config/jaws-site.conf", "5672", "9999")
    jaws.world.supervisorctl("restart", "rpc-server")
    assert (jaws.port("rpc-server"), jaws.port("task-log")) == ("9999", "5672")
    jaws.mends("jaws-site.conf was edited by hand", restarted=("rpc-server",))
    assert jaws.port("rpc-server") == "5672"


def test_01_a_conf_that_is_as_git_wants_it_and_that_nobody_has_read(jaws: Jaws) -> None:
    """The files agree with git, and the daemons run with what stood there before: they tell it themselves."""
    jaws.begin()
    jaws.edit("rpc_port: 5672", "rpc_port: 5673")
    jaws.replace("config/jaws-site.conf", "5672", "5673")
    assert {jaws.port(name) for name in SITE} == {"5672"}
    jaws.mends("jaws-site.conf changes (desired/defaults.yaml:7)", restarted=SITE)
    assert {jaws.port(name) for name in SITE} == {"5673"}


# ---------------------------------------------------------------- 2: a conf was renamed


def test_02_a_conf_was_renamed_by_hand(jaws: Jaws) -> None:
    """supervisord would find no program, or the program twice: the second one wins, and nobody is told."""
    jaws.begin()
    jaws.age()
    units = jaws.file("config/supervisor")
    (units / "rpc-server.conf").rename(units / "jaws-rpc-server.conf")
    done = jaws.mends("rpc-server.conf was deleted (mended; no restart)")
    assert "clean ROOT/config/supervisor/jaws-rpc-server.conf" in " ".join(done.out.split())
    assert sorted(path.stem for path in units.iterdir()) == sorted(jaws.units)


@pytest.mark.xfail(strict=True, reason="of two files that name one program, only one is seen")
@pytest.mark.parametrize("name", ["aa.conf", "zz.conf"])
def test_02_a_conf_was_copied_under_another_name(name: str, jaws: Jaws) -> None:
    """Whichever of the two supervisord reads last would win at its next `update`."""
    jaws.begin()
    units = jaws.file("config/supervisor")
    text = (units / "rpc-server.conf").read_text().replace("stopwaitsecs=10", "stopwaitsecs=44")
    for copy in (units / name, units / "mm.conf"):
        copy.write_text(text)
    jaws.mends("clean ROOT/config/supervisor/")
    assert sorted(path.stem for path in units.iterdir()) == sorted(jaws.units)


def test_02_the_folder_of_the_confs_was_renamed(jaws: Jaws) -> None:
    """The old daemon would read the old folder for as long as it lives."""
    old = jaws.begin()[""]
    jaws.edit("paths: {root:", f'paths: {{config: "{jaws.world.root}/configs", root:', jaws.layer)
    jaws.mends("restart supervisor", restarted=("", *SERVICES))
    assert not alive(old)
    words = Path(f"/proc/{jaws.world.pids()['']}/cmdline").read_text().split("\0")
    assert str(jaws.file("configs/supervisord.conf")) in words

    jaws.edit("group: jaws-cromwell", "group: jaws-cromwell\n    stop: {grace: 44}")
    jaws.mends("stop.grace 10 -> 44", restarted=("cromwell",))


@contextmanager
def old_daemon(jaws: Jaws) -> Iterator[int]:
    """A second supervisord, of a conf that was renamed; it has started one of the daemons once more."""
    conf = jaws.file("config/supervisord-jaws.conf")
    text = jaws.file("config/supervisord.conf").read_text()
    conf.write_text(text.replace("supervisor.sock", "old.sock").replace("supervisord.", "old."))
    python, world = [jaws.world.python, "-m"], jaws.world
    daemon = subprocess.Popen([*python, "supervisor.supervisord", "-n", "-c", str(conf)], cwd=world.root, env=world.env)
    try:
        until(jaws.file("run/old.sock").exists)
        ctl = [*python, "supervisor.supervisorctl", "-c", str(conf), "start", "rpc-server"]
        until(lambda: subprocess.run(ctl, env=world.env, capture_output=True, check=False).returncode == 0)
        yield daemon.pid
    finally:
        daemon.terminate()
        daemon.wait(20)


def servers(jaws: Jaws) -> set[int]:
    return {one.pid for one in jaws.world.live() if one.service == "rpc-server"}


def test_02_the_scripts_went_on_driving_the_old_daemon(jaws: Jaws) -> None:
    """It starts again whatever is ended under it, so every pass tells of it until somebody ends it."""
    pids = jaws.begin()
    with old_daemon(jaws):
        for _ in range(2):
            (second,) = until(lambda: servers(jaws) - {pids["rpc-server"]})
            told = jaws.world.run("--once").out
            assert f"pid {second} of it runs outside of supervisor" in told
            assert not alive(second)
    assert jaws.world.pids() == pids
    jaws.world.idle()


@pytest.mark.xfail(strict=True, reason="a pass does not tell who keeps what runs outside of supervisor")
def test_02_the_old_daemon_is_named(jaws: Jaws) -> None:
    jaws.begin()
    with old_daemon(jaws) as pid:
        assert str(pid) in jaws.world.run("plan").out


# ---------------------------------------------------------------- 3: a service was renamed


@pytest.mark.parametrize("lost", ["nothing", "all that was remembered"])
def test_03_a_service_was_renamed(lost: str, jaws: Jaws) -> None:
    jaws.rename("task-log", "task-logger-receive")
    jaws.world.once()
    before = jaws.world.pids()
    jaws.rename("task-logger-receive", "task-log")
    if lost != "nothing":
        shutil.rmtree(jaws.world.state)
        shutil.rmtree(jaws.file(".reconcile"))
    jaws.tells("renamed from task-logger-receive" if lost == "nothing" else "git no longer has it", code=0)
    after = jaws.world.pids()
    assert after.keys() - {""} == set(SERVICES)
    assert {name for name in after if after[name] != before.get(name)} == {"task-log"}
    assert not alive(before["task-logger-receive"])
    assert "task-logger-receive" not in jaws.world.supervisorctl("status")
    left = [] if lost == "nothing" else ["bin/task-logger-receive", "config/env/task-logger-receive.env"]
    assert [name for name in jaws.world.files() if "task-logger-receive" in name] == left
    jaws.world.idle()


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


# ---------------------------------------------------------------- 5: supervisord was dead after a reboot


def test_05_supervisord_was_dead_after_a_reboot(jaws: Jaws) -> None:
    """A pid file of before, whose pid somebody else has by now, and a socket where nobody listens."""
    before = jaws.begin()
    jaws.world.power_cut()
    somebody = subprocess.Popen(["sleep", "86399"])
    try:
        jaws.file("run/supervisord.pid").write_text(f"{somebody.pid}\n")
        os.kill(int(jaws.file("run/supervisord.pid").read_text()), 0)  # `kill -0`, which the old scripts asked
        assert jaws.file("run/supervisor.sock").is_socket()
        assert "refused connection" in jaws.world.supervisorctl("status")
        assert {service["state"] for service in jaws.status().values()} == {"absent"}

        jaws.tells("! rpc-server 2.8.1 supervisor was not running", "6 restarted", code=0)
        after = jaws.world.pids()
        assert (after.keys(), set(after.values()) & set(before.values())) == (before.keys(), set())
        assert somebody.poll() is None
        assert jaws.file("run/supervisord.pid").read_text().strip() == str(after[""])
        jaws.world.idle()
    finally:
        somebody.kill()
        somebody.wait()


# ---------------------------------------------------------------- 6: a failed start was hidden


def test_06_a_start_that_failed_is_no_success(jaws: Jaws) -> None:
    """Told with the last lines of its log on every pass, by status too, until a commit mends it."""
    jaws.begin()
    wrong = "services: {rpc-server: {command: '{{ jaws_site }} --config x rpc-sever', supervisor: {startsecs: 1}}}\n"
    jaws.world.commit({STAGING: wrong})
    log = jaws.file("logs/rpc-server.log")
    said = ("did not start: FATAL", "Error: No such command 'rpc-sever'.", f"-> see {log}", "1 step failed. 0 of 1")
    jaws.mends(*said, restarted=("rpc-server",), code=1)
    jaws.mends("is FATAL, its launcher gave up", *said, code=1)
    assert log.read_text().count("No such command") == 2, "it was not tried again"
    assert jaws.status()["rpc-server"]["healthy"] is False
    assert jaws.world.run("status").code == 1
    jaws.world.commit({STAGING: ""})
    jaws.mends("1 restarted, 5 unchanged")
    assert jaws.status()["rpc-server"]["healthy"] is True


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


@pytest.mark.xfail(strict=True, reason="the preflight does not try the prologue of a program that it has found")
def test_12_module_was_missing_and_the_program_was_there(jaws: Jaws) -> None:
    jaws.begin()
    jaws.edit("site: {install: none}", "site: {install: none, prologue: module load python/3.11}")
    jaws.refuses("module: command not found")


def test_12_the_log_folder_was_not_writable(users_world: World) -> None:
    jaws = Jaws(users_world)
    jaws.begin()
    logs = jaws.file("logs")
    logs.chmod(0o555)
    jaws.edit('site: "2.8.1"', 'site: "2.8.2"')
    jaws.refuses(f"check failed: {logs} cannot be written to by this account", f"see `ls -ld {logs}`")
    logs.chmod(0o750)
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


def test_14_two_environments_had_one_port(jaws: Jaws) -> None:
    """Both places are told, before anything is applied; the environment that runs goes on."""
    jaws.edit("group: jaws-cromwell", 'group: jaws-cromwell\n    ports: {http: "{{ cromwell_port }}"}')
    jaws.world.commit({STAGING: "vars:\n  cromwell_port: 50102\n"})
    jaws.begin()
    prod = "desired/environments/prod.yaml"
    jaws.edit("environments: [staging]", "environments: [staging, prod]", jaws.layer)
    root = str(jaws.world.root)
    jaws.edit(f'root: "{root}"', f"root: \"{root}{{{{ '' if environment == 'staging' else '-prod' }}}}\"", jaws.layer)
    jaws.world.commit({prod: "vars:\n  cromwell_port: 50102\n"})
    said = "port 50102 is used twice: by `cromwell` in prod and by `cromwell` in staging"
    jaws.refuses(said, "is not valid, so the site stays at", code=3)
    validated = jaws.world.run("validate", str(jaws.world.repo), where=False)
    assert (validated.code, said in validated.out) == (3, True)
    assert not Path(f"{root}-prod").exists()
