"""`health` and `verify`: what is asked of real services, and what a pass, `status` and a report say of it."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.scenarios.world import SLEEP, Done, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

SERVER = """\
import http.server, os, sys, pathlib
folder = pathlib.Path(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(folder / "asked", "a") as log:
            print(self.path, file=log)
        body = (folder / "answer").read_bytes()
        self.send_response(int((folder / "status").read_text()))
        self.send_header("X-Version", os.environ["RECONCILE_VERSION"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
QUICK = "start_period: 20s, settle: 0s, interval: 0s, timeout: 3s"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """A service that answers as the files of its folder say."""

    def __init__(self, world: World) -> None:
        self.folder, self.port = world.folder, free_port()
        (self.folder / "server.py").write_text(SERVER)
        self.answers("fine", 200)
        self.command = f"{sys.executable} {self.folder}/server.py {self.port} {self.folder}"

    def answers(self, text: str, status: int) -> None:
        (self.folder / "answer").write_text(text)
        (self.folder / "status").write_text(str(status))

    @property
    def asked(self) -> int:
        path = self.folder / "asked"
        return len(path.read_text().split()) if path.exists() else 0


def layer(health: str, *, command: str = SLEEP, more: str = "", others: str = "") -> dict[str, str]:
    keys = f"component: app, command: {json.dumps(command)}, supervisor: {{startsecs: 0}}{more}"
    text = f"services:\n  web: {{{keys}, health: {{{health}}}}}\n{others}"
    return {"desired/environments/dev.yaml": text}


def health_of(done: Done, service: str = "web") -> dict[str, Any]:
    (deployment,) = done.json()["deployments"]
    services = {one["service"]: one for one in deployment["services"]}
    return dict(services[service])


def told(done: Done) -> str:
    return " ".join(done.out.split())


def test_a_release_is_healthy_when_it_answers_and_a_second_pass_is_idle(world: World) -> None:
    server = Server(world)
    http = f"http: {{port: {server.port}, path: /health, body: fine, version_header: X-Version}}"
    world.commit(layer(f"{http}, tcp: {{port: {server.port}}}, {QUICK}", command=server.command))
    world.once()
    seen = health_of(world.run("status", "--json"))
    assert (seen["health"], seen["healthy"], seen["health_message"]) == ("healthy", True, "")
    world.idle()
    assert world.run("--once").out == ""
    pid = world.pids()["web"]
    world.commit(world.versions("2.0"))
    world.once()
    assert world.pids()["web"] != pid
    assert "healthy" in world.run("status").out


def test_a_version_that_does_not_become_healthy_is_told(world: World) -> None:
    """And the next commit that mends it is tried at once."""
    server = Server(world)
    server.answers("no database", 503)
    health = f"http: {{port: {server.port}}}, start_period: 1s, settle: 0s, interval: 0s"
    world.commit(layer(health, command=server.command, others=f"  other: {{component: app, command: {SLEEP}}}\n"))
    done = world.once(code=1)
    assert "degraded: web: http: status 503: no database" in told(done)
    before = world.pids()
    done = world.once("--json", code=1)
    (deployment,) = done.json()["deployments"]
    assert (deployment["steps"], deployment["converged"]) == ([], False)
    assert deployment["health"]["web"]["health"] == "degraded"
    assert world.pids() == before
    seen = world.run("status", "--json")
    assert (seen.code, health_of(seen)["healthy"], health_of(seen, "other")["health"]) == (1, False, "healthy")
    assert "degraded: http: status 503: no database" in told(world.run("status"))
    server.answers("fine", 200)
    world.once()
    world.idle()


def test_what_it_starts_is_waited_for(world: World) -> None:
    """Within its start period it may answer badly; the report comes when it answers well."""
    ready = world.folder / "ready"
    command = f"sh -c 'sleep 2; touch {ready}; exec {SLEEP}'"
    world.commit(layer(f"exec: {{command: 'test -e {ready}'}}, start_period: 60s, settle: 1s", command=command))
    done = world.once("--json")
    assert ready.exists()
    assert done.json()["deployments"][0]["health"]["web"] == {"health": "healthy", "health_message": ""}


def test_while_it_is_on_its_way_a_pass_exits_with_2(world: World) -> None:
    good = world.folder / "good"
    good.touch()
    world.commit(layer(f"exec: {{command: 'test -e {good}'}}, start_period: 600s, settle: 0s, interval: 0s"))
    world.once()
    good.unlink()
    world.supervisorctl("restart", "web")
    until(lambda: world.pids().get("web"))
    done = world.once(code=2)
    assert "progressing: web: not yet: exec: exit status 1" in told(done)
    assert world.run("status", "--json").code == 2
    good.touch()
    world.once()


def test_what_was_healthy_may_fail_fewer_times_than_retries(world: World) -> None:
    server = Server(world)
    world.commit(layer(f"http: {{port: {server.port}}}, retries: 2, {QUICK}", command=server.command))
    world.once()
    server.answers("", 500)
    first = world.run("status", "--json")
    assert (first.code, health_of(first)["health_message"]) == (0, "http: status 500 (1 of 2 in a row)")
    second = world.run("status", "--json")
    assert (second.code, health_of(second)["health"]) == (1, "degraded")


def test_it_is_not_asked_more_often_than_its_interval(world: World) -> None:
    server = Server(world)
    health = f"http: {{port: {server.port}}}, interval: 1h, settle: 0s"
    world.commit(layer(health, command=server.command))
    world.once()
    asked = server.asked
    for _ in range(3):
        world.idle()
        assert health_of(world.run("status", "--json"))["health"] == "healthy"
    assert server.asked == asked
    world.commit(layer(health + ", timeout: 4s", command=server.command))
    world.idle()
    assert server.asked == asked + 1, "another question is asked at once"
    world.supervisorctl("restart", "web")
    until(lambda: world.pids().get("web"))
    until(lambda: world.run("--once").code == 0 or None)
    assert server.asked > asked + 1, "another process has said nothing yet"


def test_an_idle_pass_writes_no_file(world: World) -> None:
    server = Server(world)
    world.commit(layer(f"http: {{port: {server.port}}}, {QUICK}", command=server.command))
    world.once()
    world.idle()

    def written() -> dict[Path, tuple[int, bytes]]:
        paths = [path for path in (world.state / world.site).rglob("*") if path.is_file() and path.name != "lock"]
        return {path: (path.stat().st_ino, path.read_bytes()) for path in paths}

    before = written()
    assert any("health" in path.parts for path in before)
    world.idle()
    assert written() == before


def test_a_heartbeat_that_stops(world: World) -> None:
    """The process goes on, and does nothing any more."""
    beat = world.folder / "beat"
    command = f"sh -c 'touch {beat}; exec {SLEEP}'"
    world.commit(layer(f"heartbeat: {{file: {beat}, within: 60s}}, retries: 1, {QUICK}", command=command))
    world.once()
    os.utime(beat, (0, beat.stat().st_mtime - 3600))
    done = world.once(code=1)
    assert f"degraded: web: heartbeat: {beat} is 36" in told(done)
    beat.touch()
    world.once()


def test_a_log_counts_since_the_start(world: World) -> None:
    """The very line of the run before is there still, and rotated away in the end."""
    flag = world.folder / "flag"
    command = f"sh -c 'cat {flag}; exec {SLEEP}'"
    flag.write_text("FATAL: no space\n")
    health = "log: {must: '^ready', must_not: '^FATAL'}, start_period: 2s, settle: 0s, interval: 0s"
    world.commit(layer(health, command=command))
    assert "degraded: web: log: says `^FATAL`: FATAL: no space" in told(world.once(code=1))
    flag.write_text("ready\n")
    world.supervisorctl("restart", "web")
    until(lambda: world.pids().get("web"))
    until(lambda: world.run("--once").code == 0 or None)
    log = world.root / "logs/web.log"
    assert "FATAL" in log.read_text()
    log.rename(log.with_name("web.log.1"))
    log.touch()
    world.once()


def test_what_never_answers_holds_no_pass(world: World) -> None:
    """A port that takes connections and says nothing; a command that does not let itself be ended."""
    port = free_port()
    deaf = world.folder / "deaf.py"
    deaf.write_text(f"import socket, time\ntaken = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(86399)\n")
    probes = f"http: {{port: {port}}}, exec: {{command: \"trap '' TERM; while :; do sleep 0.1; done\"}}"
    world.commit(layer(f"{probes}, start_period: 1s, settle: 0s, timeout: 1s", command=f"{sys.executable} {deaf}"))
    world.once(code=1)
    began = monotonic()
    done = world.once(code=1)
    assert monotonic() - began < 20
    assert "http: no answer in 1 s; exec: took longer than 1 s and was ended" in told(done)


def test_what_a_service_with_a_secret_says_is_not_told(world: World) -> None:
    """Neither in a report, nor in what is remembered. It gets its variables nevertheless."""
    secret = "hunter2-canary"
    health = "exec: {command: 'echo \"$DB_PASSWORD\"; exit 4'}, start_period: 0s"
    more = f", env: {{DB_PASSWORD: {secret}}}, verify: {{pool: {{command: 'echo \"$DB_PASSWORD\"', equals: 20}}}}"
    world.commit(layer(health, more=more))
    outputs = [world.once(code=1), world.run("--once", "--json"), world.run("status"), world.run("status", "--json")]
    assert "degraded: web: exec: exit status 4" in told(outputs[0])
    assert "finding: web: pool: is not `20`" in told(world.once(code=1))
    assert not any(secret in done.out + done.err for done in outputs)
    kept = [path for path in world.state.rglob("*.json") if "mirrors" not in path.parts]
    assert not any(secret in path.read_text() for path in kept)


def test_a_setting_elsewhere_is_told_until_it_is_right(world: World) -> None:
    setting = world.folder / "setting"
    setting.write_text("100\n")
    verify = f"verify: {{pool: {{command: 'cat {setting}', equals: 20, interval: 1h}}}}\n"
    world.commit(layer("exec: {command: 'true'}, settle: 0s", others=verify))
    done = world.once(code=1)
    assert f"finding: {world.site}/dev: pool: is not `20`: 100" in told(done)
    pids = world.pids()
    (finding,) = world.run("status", "--json").json()["deployments"][0]["findings"]
    assert (finding["check"], finding["since"] > 0) == ("verify", True)
    again = world.run("--once", "--json").json()["deployments"][0]
    assert (again["findings"], again["steps"]) == ([finding], [])
    setting.write_text("20\n")
    world.once()
    world.idle()
    assert world.pids() == pids
    setting.write_text("30\n")
    world.idle()  # its answer stands for an hour


def test_watching_in_another_way_restarts_nothing(world: World) -> None:
    world.commit(world.services("web"))
    world.once()
    pids = world.pids()
    health = "health: {exec: {command: 'true'}, settle: 0s}"
    world.commit(world.services("web", web=f"component: app, command: {SLEEP}, files: [app.conf], {health}"))
    world.once()
    assert world.pids() == pids
    world.commit(world.versions("2.0"))
    assert "health" not in world.run("plan").out


def test_without_health_nothing_of_it_is_loaded(world: World) -> None:
    world.commit(world.services("web"))
    world.once()
    argv = world.argv("--once")[3:]
    code = f"import sys; from reconciler.cli.main import main; main({argv!r}); print(*sys.modules)"
    done = world.run_python(code)
    assert "reconciler.agent.run" in done.out.split(), done.said
    assert not {"reconciler.core.health", "reconciler.agent.rollout.health", "threading"} & set(done.out.split())
    assert not (world.state / world.site / "dev/health").exists()


def test_what_ends_after_it_was_started_is_told(world: World) -> None:
    """Its launcher took it for started; nothing is waited for in vain."""
    command = "sh -c 'sleep 1; exit 3'"
    more = ""
    world.commit(layer("exec: {command: 'false'}, start_period: 120s", command=command, more=more))
    began = monotonic()
    done = world.once(code=1)
    assert monotonic() - began < 60
    assert "degraded: web: exited" in told(done)


def test_an_environment_that_leaves_takes_what_is_remembered_with_it(world: World) -> None:
    world.commit(layer("exec: {command: 'true'}, settle: 0s"))
    world.once()
    kept = world.state / world.site / "dev/health"
    assert [path.name for path in kept.iterdir()] == ["web.json"]
    site = f'environments: [prod]\npaths: {{root: "{world.root}-{{{{ environment }}}}"}}\n'
    world.commit({"desired/environments/prod.yaml": "", f"desired/sites/{world.site}.yaml": site})
    world.once()
    assert list(kept.iterdir()) == []


@pytest.mark.systemd
def test_under_systemd(users_world: World) -> None:
    world = users_world
    world.boot()
    good = world.folder / "good"
    keys = f"component: app, launcher: systemd, command: {SLEEP}, env: {{WORD: two words}}"
    health = f'exec: {{command: \'test "$WORD" = "two words" && test -e {good}\'}}, start_period: 0s, settle: 0s'
    world.commit({"desired/environments/dev.yaml": f"services:\n  web: {{{keys}, health: {{{health}}}}}\n"})
    assert "degraded: web: exec: exit status 1" in told(world.once(code=1))
    good.touch()
    until(lambda: world.run("--once").code == 0 or None, 60)
    world.idle()
