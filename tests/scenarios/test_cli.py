"""The command line as people and cron use it: words, exit statuses, terminals, pipes, silence."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.scenarios.world import SLEEP, World, a_world, in_terminal  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

TOOL = {"two": f"component: tool, command: {SLEEP}"}


@pytest.fixture
def up(world: World) -> World:
    """Two services that run."""
    world.commit(world.services("one", "two", **TOOL))
    world.once()
    return world


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# ---------------------------------------------------------------- exit statuses


def test_what_cannot_be_seen_is_told(up: World) -> None:
    """A folder stands where a file of a service belongs: nobody knows what it would start with."""
    pids = up.pids()
    env = up.root / "config/env/one.env"
    env.unlink()
    env.mkdir()
    for words in (["--once"], ["plan"]):
        done = up.run(*words)
        assert (done.code, f"{env} cannot be read" in done.out) == (1, True), done.said
    assert up.pids() == pids
    up.commit(up.versions("1.1", "1.1"))
    for _ in range(2):
        assert "cannot be read" in up.once(code=1).out
    now = up.pids()
    assert (now["one"], now["two"] == pids["two"]) == (pids["one"], False), "it was restarted on unknown ground"
    env.rmdir()
    up.once()
    assert up.pids()["one"] != pids["one"]
    up.idle()


def test_every_exit_status(world: World) -> None:
    """The table of the contract, one after the other on one host."""
    assert world.run("plan").code == 1  # a branch without a commit: the repo cannot be read
    world.commit(world.services("one", "two", **TOOL))
    assert world.run("plan").code == 2
    assert not world.root.exists()
    assert world.run("status").code == 1
    assert [world.run("--once").code for _ in range(2)] == [0, 0]
    assert [world.run(word).code for word in ("plan", "status", "apply")] == [0, 0, 0]
    assert world.run("diff", "HEAD..HEAD").code == 0
    world.commit(world.versions("1.1"))
    assert world.run("diff", "HEAD~1..HEAD").code == 2
    assert world.run("plan").code == 2
    saved = str(world.folder / "plan")
    assert world.run("plan", "--out", saved).code == 2
    assert world.run("apply", saved).code == 0
    assert world.run("apply", saved).code == 2  # stale
    world.commit(world.services("one", "two", one="component: app, command: no-such-program"))
    assert [world.run("--once").code for _ in range(2)] == [1, 1]
    world.commit({"desired/environments/dev.yaml": "what: 1\n"})
    assert [world.run(*words).code for words in (["plan"], ["--once"], ["validate", "repo"])] == [3, 3, 3]
    assert world.run("diff", "HEAD~1..HEAD").code == 3
    names = [f"s{number}" for number in range(8)]
    world.commit(world.services(*names))
    world.once()
    world.commit(world.services("s0"))
    done = world.once(code=2)  # more removals than are allowed
    assert "s7" in done.out
    assert sorted(world.pids()) == ["", *names]
    assert world.run("--version").code == 0


# ---------------------------------------------------------------- help


CANARY = f"""\
services:
  queue: {{component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}}}
  web: {{component: app, command: {SLEEP}, replicas: 2, strategy: {{canary: true}}, after: [queue]}}
"""
WORDS = ["plan", "apply", "diff", "status", "logs", "validate", "explain", "schema", "demo"]


@pytest.mark.parametrize("words", [[], *([word] for word in WORDS)])
def test_help(words: list[str], world: World) -> None:
    done = world.run(*words, "--help", where=False)
    assert (done.code, done.err) == (0, "")
    assert "--config" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    if not words:
        assert all(word in done.out for word in [*WORDS, "--once", "--interval", "75"])


def test_every_command_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [word for word in WORDS if f"| `reconcile {word}" not in readme] == []


# ---------------------------------------------------------------- cron


def test_cron_stays_silent(up: World) -> None:
    """The environment of cron, no terminal, nothing to do: not a byte."""
    argv = up.argv("--once")
    env = {"HOME": up.env["HOME"], "LOGNAME": "svc", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    for _ in range(3):
        done = subprocess.run(argv, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    up.commit(up.versions("1.1"))
    done = subprocess.run(argv, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"1.0 -> 1.1" in done.stdout
    assert all(json.loads(line)["level"] for line in done.stderr.splitlines())


def test_a_pass_of_cron_starts_what_a_reboot_ended(up: World) -> None:
    up.end()
    argv = up.argv("--once")
    done = subprocess.run(argv, env={"HOME": up.env["HOME"], "PATH": "/usr/bin:/bin"}, capture_output=True, check=False)
    assert done.returncode == 0, done
    assert sorted(up.pids()) == ["", "one", "two"]


# ---------------------------------------------------------------- terminals and pipes

LONG = ("htcondor-pool-manager", "jaws-central-rpc-server", "performance-metrics-collector", "transfer-daemon")


@pytest.fixture
def wide(world: World) -> World:
    """Services with names as people give them, and a plan for each of them."""
    keys = f"component: app, command: {SLEEP}, files: [app.conf], group: jaws"
    world.commit(world.services(*LONG, **dict.fromkeys(LONG, keys)))
    world.once()
    layer = world.services(*LONG[1:], **dict.fromkeys(LONG, keys + ", env: {A_RATHER_LONG_NAME: " + "v" * 60 + "}"))
    world.commit(layer | world.versions("2.12.103"), "Bump the app to 2.12.103 and give it a long variable")
    world.supervisorctl("stop", LONG[2])
    return world


def test_eighty_columns(wide: World) -> None:
    for words in (["plan"], ["status"], ["--once"], ["--once"], ["status"]):
        done = in_terminal(wide.argv(*words), wide.env | {"TERM": "xterm"})
        assert done.code in (0, 1, 2), done.said
        assert "\x1b[" in done.out
        assert done.out.strip()
        for line in plain(done.out).splitlines():
            single = len(line.split()) <= 2  # a path or an address is not cut in two
            logged = re.match(r"\d\d:\d\d:\d\dZ ", line)
            assert len(line) <= 80 or single or logged, line


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_none_are_wanted(env: dict[str, str], wide: World) -> None:
    for words in (["plan"], ["status"], ["--once"]):
        done = in_terminal(wide.argv(*words), wide.env | {"TERM": "xterm"} | env)
        assert "\x1b" not in done.out, done.said
    assert "\x1b" not in wide.run("plan").out


def test_a_terminal_is_told_that_there_is_nothing_to_do(up: World) -> None:
    done = in_terminal(up.argv("--once"), up.env | {"TERM": "xterm"})
    assert (done.code, "Nothing to do" in done.out) == (0, True)


def test_a_reader_that_goes_away(up: World) -> None:
    """`reconcile schema | head -1`, and a pipe that nobody reads at all."""
    for words in (["schema"], ["status"], ["explain", "one"], ["plan", "--json"]):
        process = up.start(*words)
        assert process.stdout
        process.stdout.close()
        process.wait(30)
        assert process.stderr
        with process.stderr as errors:
            said = errors.read()
        assert (process.returncode, said) == (0, ""), (words, said)


def test_a_full_disk_for_the_answer(up: World) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = up.start("schema", stdout=full)
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Traceback" not in said


# ---------------------------------------------------------------- the agent's file


def test_where_the_agents_file_is_found(up: World) -> None:
    text = f"repo: {up.repo}\nsite: {up.site}\nenvironments: [dev]\nstate_dir: {up.state}\n"
    places = {
        "named": up.folder / "any.yaml",
        "environment": up.folder / "env.yaml",
        "xdg": up.folder / "xdg/reconcile/agent.yaml",
        "home": up.home / ".config/reconcile/agent.yaml",
    }
    for path in places.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    done = up.run("status", where=False)
    assert (done.code, "--repo" in done.err, "--config" in done.err) == (3, True, True)
    for name, path in places.items():
        path.write_text(text)
        words = ["--config", str(path)] if name == "named" else []
        env = {"environment": {"RECONCILE_CONFIG": str(path)}, "xdg": {"XDG_CONFIG_HOME": str(up.folder / "xdg")}}
        assert up.run("status", *words, env=env.get(name), where=False).code == 0, name
        path.unlink()
        assert up.run("status", *words, env=env.get(name), where=False).code == 3, name


def test_options_go_before_the_file_and_stand_anywhere(up: World) -> None:
    path = up.folder / "agent.yaml"
    path.write_text(f"repo: /nowhere\nsite: nobody\nstate_dir: {up.state}\n")
    given = ["--config", str(path), "--repo", str(up.repo), "--site", up.site]
    for words in ([*given, "plan", "--json"], ["--json", "plan", *given], [*given[:2], "plan", "--json", *given[2:]]):
        done = up.run(*words, where=False)
        assert done.code == 0, done.said
        assert done.json()["site"] == up.site
    assert up.run(*given, "--site", "other", "plan", "--site", up.site, where=False).code == 0


def test_the_agents_file_is_checked_as_a_whole(up: World) -> None:
    path = up.folder / "agent.yaml"
    path.write_text("repoo: x\nsite: [a]\ninterval: soon\nstate_dir: x\n")
    done = up.run("--once", "--config", str(path), where=False)
    assert done.code == 3
    for place in ("agent.yaml:1:1: ", "agent.yaml:2:"):
        assert place in done.err
    assert "`repo`" in done.err, "the nearest known key"


def test_the_loop_refuses_invalid_options_too(up: World) -> None:
    done = up.run("--interval", "soon")
    assert (done.code, "soon" in done.err) == (3, True)


def test_validate_warns_and_is_content(world: World) -> None:
    """Of a canary beside what it comes after. The plan of a bump says it too."""
    (world.repo / "desired/environments/dev.yaml").write_text(CANARY)
    done = world.run("validate", "repo")
    assert done.code == 0, done.said
    told = " ".join(done.out.split())
    assert "desired/environments/dev.yaml:3:79: warning: `canary` of web counts for nothing when component app" in told
    assert told.endswith("valid: 1 site, 1 deployment; 1 warning")
    (warning,) = world.run("validate", "repo", "--json").json()["warnings"]
    assert (warning["line"], warning["column"]) == (3, 79)
    world.commit()
    world.once()
    world.commit(world.versions("2.0"))
    plan = world.run("plan")
    assert "warning: the canary of web counts for nothing here: queue, which" in " ".join(plan.out.split())


# ---------------------------------------------------------------- JSON


def test_json_is_one_object_and_nothing_else(up: World) -> None:
    up.commit(up.versions("1.1"))
    for words in (["plan"], ["--once"], ["status"], ["explain", "one"], ["validate", "repo"], ["diff", "HEAD~1..HEAD"]):
        done = up.run(*words, "--json")
        assert isinstance(done.json(), dict)
    up.commit({"desired/environments/dev.yaml": "}{"})
    for words in (["plan"], ["--once"], ["validate", "repo"]):
        done = up.run(*words, "--json")
        assert (done.code, bool(done.json()["problems"])) == (3, True)
        assert {"file", "line", "column", "message"} <= done.json()["problems"][0].keys()
