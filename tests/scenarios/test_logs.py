"""`reconcile logs`, as an operator uses it: of services that run, crash, restart, rotate and are gone."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.backends.images import image
from tests.scenarios.world import World, a_world, in_terminal, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

SPEAKER = """\
#!/bin/sh
echo "speaker $$ begins"
while :; do
    if [ -e "$1/say" ]; then cat "$1/say"; rm "$1/say"; fi
    sleep 0.02
done
"""


class Speaker:
    """A service that writes what it is told to."""

    def __init__(self, world: World, name: str = "web") -> None:
        self.world, self.name = world, name
        self.folder = world.folder / name
        self.log = world.root / f"logs/{name}.log"
        self.folder.mkdir()
        program = world.folder / "speaker"
        program.write_text(SPEAKER)
        program.chmod(0o755)
        self.keys = f"component: app, command: {program} {self.folder}"

    def say(self, text: str) -> None:
        """Returns when it is in the log."""
        aside = self.folder / "aside"
        aside.write_text(text)
        aside.rename(self.folder / "say")
        until(lambda: not (self.folder / "say").exists())


@pytest.fixture
def web(world: World) -> Speaker:
    """A service that runs, and has written ten lines after its first."""
    speaker = Speaker(world)
    world.commit(world.services("web", web=speaker.keys))
    world.once()
    speaker.say("".join(f"line {number}\n" for number in range(10)))
    until(lambda: "line 9" in speaker.log.read_text())
    return speaker


class Following:
    """A `logs --follow` that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out = ""

    def until(self, text: str, seconds: float = 20.0) -> str:
        """Wait until it has printed this; all that it has printed."""
        assert self.process.stdout
        end = monotonic() + seconds
        while text not in self.out:
            assert monotonic() < end, f"it never printed {text!r}: {self.out}"
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                chunk = os.read(self.process.stdout.fileno(), 65536)
                assert chunk, f"it ended: {self.out}"
                self.out += chunk.decode(errors="replace")
        return self.out

    def until_said(self) -> None:
        """Wait until there is something on standard error."""
        assert self.process.stderr
        assert select.select([self.process.stderr], [], [], 20)[0]

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Its exit status and what it said on standard error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        self.out += out
        return self.process.returncode, err


@contextmanager
def following(world: World, *words: str) -> Iterator[Following]:
    process = world.start("logs", "--follow", *words)
    try:
        yield Following(process)
    finally:
        process.kill()
        process.communicate(timeout=20)


# ---------------------------------------------------------------- what there is


def test_the_last_lines(web: Speaker) -> None:
    whole = web.log.read_text()
    assert web.world.run("logs", "web") == (0, whole, "")
    assert web.world.run("logs", "web", "-n", "2").out == "line 8\nline 9\n"
    assert web.world.run("logs", "-n2", "web").out == "line 8\nline 9\n"
    assert web.world.run("logs", "web", "--lines", "0") == (0, "", "")
    web.say("".join(f"more {number}\n" for number in range(200)))
    until(lambda: "more 199" in web.log.read_text())
    assert web.world.run("logs", "web").out.splitlines() == [f"more {number}" for number in range(100, 200)]
    assert web.world.run("logs", "web", "-n", "all").out == web.log.read_text()


def test_the_very_bytes(web: Speaker) -> None:
    """No text, no end of line, and a terminal's control sequences: all as the service wrote it."""
    web.log.write_bytes(b"\xff\xfe \x1b[31mred\x1b[0m\r\n\0 without an end")
    done = subprocess.run(web.world.argv("logs", "web"), env=web.world.env, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, web.log.read_bytes())
    lines = web.world.run("logs", "web", "--json").out.splitlines()
    said = [json.loads(line) for line in lines]
    assert [one["line"] for one in said] == ["\\xff\\xfe \x1b[31mred\x1b[0m\r", "\0 without an end"]
    assert said[0] | {"line": ""} == {"environment": "dev", "service": "web", "source": str(web.log), "line": ""}


def test_lines_from_before_the_rotation(web: Speaker) -> None:
    """What led to a crash may have been rotated away just now."""
    web.log.with_name("web.log.2").write_text("a\nb\n")
    web.log.with_name("web.log.1").write_text("c\nd\n")
    web.log.write_text("e\n")
    assert [web.world.run("logs", "web", "-n", number).out.split() for number in ("1", "2", "4", "9", "all")] == [
        ["e"], ["d", "e"], ["b", "c", "d", "e"], ["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "e"],
    ]  # fmt: skip


def test_neither_remote_nor_lock_is_needed(world: World) -> None:
    """The repo is out of reach, and a pass is in the middle of a restart."""
    stubborn = f"component: app, command: {world.stubborn()}, stop: {{grace: 60}}"
    world.commit(world.services("one", one=stubborn))
    world.once()
    log = world.root / "logs/one.log"
    log.write_text("before\n")
    world.commit(world.versions("1.1"))
    busy = world.start("--once")
    try:
        until(lambda: "STOPPING" in world.supervisorctl("status"))
        world.repo.rename(world.folder / "away")
        done = world.run("logs", "one")
        assert (done.code, done.out.partition("\n")[0], done.err) == (0, "before", "")
        (world.folder / "away").rename(world.repo)
    finally:
        (world.folder / "go").touch()
        busy.communicate(timeout=60)


def test_it_leaves_everything_as_it_is(web: Speaker) -> None:
    before = {path: path.stat().st_mtime_ns for path in web.world.folder.rglob("*") if path != web.log}
    web.world.run("logs", "web")
    web.world.run("logs", "nobody")
    assert {path: path.stat().st_mtime_ns for path in before} == before


# ---------------------------------------------------------------- what there is not


def test_a_service_that_nobody_knows(web: Speaker) -> None:
    done = web.world.run("logs", "wep")
    assert (done.code, done.out) == (3, "")
    assert "no service wep here" in done.err
    assert "did you mean `web`?" in done.err
    done = web.world.run("logs", "something-else")
    assert (done.code, "known: web" in done.err) == (3, True), done.said
    done = web.world.run("logs", "web", "--environment", "prod")
    assert (done.code, "has no environment prod" in done.err, "known: dev" in done.err) == (3, True, True), done.said
    assert web.world.run("logs", "../logs/web").code == 3


@pytest.mark.parametrize("words", [["logs"], ["logs", "web", "-n", "few"], ["logs", "web", "-n", "-1"]])
def test_words_that_are_not_valid(words: list[str], world: World) -> None:
    done = world.run(*words)
    assert (done.code, "see: reconcile logs --help" in done.err) == (3, True), done.said


def test_before_the_first_pass(world: World) -> None:
    world.commit(world.services("web"))
    done = world.run("logs", "web")
    assert (done.code, "no pass has run" in done.err, "--once" in done.err) == (3, True, True), done.said


def test_a_log_that_is_not_there_yet(web: Speaker) -> None:
    """Git wants a service, and it could not be started: it has written nothing."""
    world = web.world
    world.commit(world.services("web", "late", web=web.keys, late="component: app, command: no-such-program"))
    world.once(code=1)
    log = world.root / "logs/late.log"
    done = world.run("logs", "late")
    assert (done.code, done.out, done.err) == (1, "", f"reconcile: {log} is not there yet\n")
    with following(world, "late") as follower:
        follower.until_said()
        log.write_text("here\n")
        assert follower.until("here\n") == "here\n"
        assert follower.end() == (130, f"reconcile: {log} is not there yet; waiting for it\n")


def test_an_empty_log(web: Speaker) -> None:
    web.log.write_bytes(b"")
    assert web.world.run("logs", "web") == (0, "", f"reconcile: {web.log}: nothing was written yet\n")


def test_a_log_that_cannot_be_read(web: Speaker) -> None:
    """As a folder in its place: even root cannot read that."""
    web.log.unlink()
    web.log.mkdir()
    for words in ([], ["--follow"]):
        done = web.world.run("logs", "web", *words)
        assert (done.code, done.out) == (1, "")
        assert done.err == f"reconcile: {web.log} cannot be read: Is a directory\n"


def test_a_service_that_git_no_longer_has(web: Speaker) -> None:
    """Why it was taken out is asked the morning after."""
    world = web.world
    held = world.services("other", other="component: app, command: sleep 86399")
    world.commit({name: text + "policy: {max_removals: 0}\n" for name, text in held.items()})
    world.once(code=2)
    assert world.run("logs", "web", "-n1").out == "line 9\n", "it still runs"
    world.commit(held)
    world.once()
    assert sorted(world.pids()) == ["", "other"]
    assert world.run("logs", "web", "-n1").out == "line 9\n"
    web.log.unlink()
    assert world.run("logs", "web").code == 3


def test_the_daemons_own_log(web: Speaker) -> None:
    assert "spawned: 'web'" in web.world.run("logs", "supervisord").out


def test_a_lost_state_directory(web: Speaker) -> None:
    """A damaged inventory has its copy; where that is damaged too, git tells the place. All lost: it says so."""
    state = web.world.state / web.world.site
    (state / "dev/inventory.json").write_text("{")
    done = web.world.run("logs", "web", "-n1")
    assert (done.code, done.out, done.err) == (0, "line 9\n", "")
    (web.world.root / ".reconcile/inventory.json").write_text("{")
    done = web.world.run("logs", "web", "-n1")
    assert (done.code, done.out, "is damaged" in done.err) == (0, "line 9\n", True), done.said
    for name in ("dev/inventory.json", "dev/compiled.json", "source.json"):
        (state / name).unlink()
    done = web.world.run("logs", "web", "-n1")  # the mirror still has the commit
    assert (done.code, done.out) == (0, "line 9\n"), done.said


# ---------------------------------------------------------------- following


def test_following_a_service(web: Speaker) -> None:
    with following(web.world, "web", "-n", "1") as follower:
        assert follower.until("line 9\n") == "line 9\n"
        web.say("half a ")
        follower.until("half a ")
        web.say("line\n")
        follower.until("half a line\n")
        assert follower.end() == (130, "")
        assert follower.out == "line 9\nhalf a line\n"


def test_following_through_a_restart(web: Speaker) -> None:
    world = web.world
    with following(world, "web", "-n", "0") as follower:
        before = world.pids()["web"]
        world.commit(world.services("web", web=web.keys + ", env: {A: b}"))
        world.once()
        after = world.pids()["web"]
        assert before != after
        follower.until(f"speaker {after} begins\n")
        os.kill(after, signal.SIGKILL)
        again = until(lambda: (pid := world.pids().get("web")) != after and pid)
        follower.until(f"speaker {again} begins\n")


def test_following_through_rotation(world: World) -> None:
    """supervisord's own, at 4 KB: each line comes once, and in order."""
    speaker = Speaker(world)
    layer = world.services("web", web=speaker.keys)
    world.commit(
        {
            name: text.replace("startsecs: 0", "startsecs: 0, stdout_logfile_maxbytes: 4KB")
            for name, text in layer.items()
        }
    )
    world.once()
    with following(world, "web", "-n", "0") as follower:
        until(lambda: _descriptors(follower.process.pid, speaker.log))
        for part in range(12):
            speaker.say("".join(f"{part}-{number:03} {'x' * 20}\n" for number in range(60)))
        follower.until("11-059")
        assert re.findall(r"(\d+)-(\d+) ", follower.out) == [(f"{p}", f"{n:03}") for p in range(12) for n in range(60)]
    assert speaker.log.with_name("web.log.3").exists()


def _descriptors(pid: int, path: Path) -> list[str]:
    """Of a process, those that hold this file."""
    folder = Path(f"/proc/{pid}/fd")
    return [name for name in os.listdir(folder) if os.path.realpath(folder / name) == str(path)]


def test_following_a_file_that_is_emptied_or_replaced(web: Speaker) -> None:
    with following(web.world, "web", "-n", "0") as follower:
        until(lambda: _descriptors(follower.process.pid, web.log))
        web.world.supervisorctl("clear", "web")
        web.say("cleared\n")
        follower.until("cleared\n")
        os.truncate(web.log, 0)
        web.say("new\n")
        follower.until("new\n")
        aside = web.log.with_name("aside")
        aside.write_text("another file\n")
        aside.rename(web.log)
        follower.until("another file\n")
        assert len(_descriptors(follower.process.pid, web.log)) == 1
        assert follower.end() == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_how_following_ends(number: signal.Signals, web: Speaker) -> None:
    with following(web.world, "web") as follower:
        follower.until("line 9\n")
        assert follower.end(number) == (128 + number, "")


def test_a_reader_that_goes_away(web: Speaker) -> None:
    """`| head`: at once, even where nothing more is written."""
    for words in (["web", "-n", "all"], ["web", "--follow"], ["web", "--follow", "--json"]):
        process = web.world.start("logs", *words)
        assert process.stdout
        assert process.stderr
        os.read(process.stdout.fileno(), 5)
        process.stdout.close()
        process.wait(20)
        with process.stderr as errors:
            assert (process.returncode, errors.read()) == (0, ""), words


def test_following_costs_next_to_nothing(web: Speaker) -> None:
    with following(web.world, "web") as follower:
        follower.until("line 9\n")
        before, began = _ticks(follower.process.pid), monotonic()
        until(lambda: monotonic() - began > 2)
        assert _ticks(follower.process.pid) - before <= 4, "40 ms of two seconds"


def _ticks(pid: int) -> int:
    """Of processor time, 10 ms each."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# ---------------------------------------------------------------- several environments


@pytest.fixture
def two(world: World) -> World:
    """The service in two environments, with a line in each."""
    keys = "component: app, command: sleep 86399"
    layers = world.services("web", web=keys)
    layers["desired/environments/prod.yaml"] = layers["desired/environments/dev.yaml"]
    site = f'environments: [dev, prod]\npaths: {{root: "{world.root}/{{{{ environment }}}}"}}\n'
    world.commit(layers | {f"desired/sites/{world.site}.yaml": site})
    world.once()
    for name in ("dev", "prod"):
        (world.root / name / "logs/web.log").write_text(f"of {name}\n")
    return world


def test_each_environment_has_a_heading(two: World) -> None:
    dev, prod = (two.root / name / "logs/web.log" for name in ("dev", "prod"))
    shown = f"==> dev: {dev} <==\nof dev\n\n==> prod: {prod} <==\nof prod\n"
    assert two.run("logs", "web") == (0, shown, "")
    assert two.run("logs", "web", "--environment", "prod") == (0, "of prod\n", "")
    said = [json.loads(line) for line in two.run("logs", "web", "--json").out.splitlines()]
    assert [(one["environment"], one["line"]) for one in said] == [("dev", "of dev"), ("prod", "of prod")]
    dev.write_text("without an end")
    assert two.run("logs", "web").out == shown.replace("of dev", "without an end")


def test_each_line_has_its_environment(two: World) -> None:
    with following(two, "web") as follower:
        follower.until("prod | of prod\n")
        with (two.root / "dev/logs/web.log").open("a") as log:
            log.write("half a ")
            log.flush()
            log.write("line\nthe end")
        follower.until("dev  | half a line\n")
        assert follower.end() == (130, "")
        assert follower.out == "dev  | of dev\nprod | of prod\ndev  | half a line\ndev  | the end\n"


def test_one_of_two_cannot_be_read(two: World) -> None:
    dev = two.root / "dev/logs/web.log"
    dev.unlink()
    done = two.run("logs", "web")
    assert (done.code, done.err) == (1, f"reconcile: {dev} is not there yet\n")
    assert done.out == f"==> prod: {two.root}/prod/logs/web.log <==\nof prod\n"


def test_a_terminal(two: World) -> None:
    """Headings stand out there, and nowhere else; the log itself is left as it is."""
    done = in_terminal(two.argv("logs", "web"), two.env | {"TERM": "xterm"})
    assert (done.code, "\x1b[" in done.out, "\nof dev\n" in done.out) == (0, True, True)
    done = in_terminal(two.argv("logs", "web", "--environment", "dev"), two.env | {"TERM": "xterm"})
    assert done == (0, "of dev\n", "")


# ---------------------------------------------------------------- Apptainer


def printing(words: str) -> dict[str, str]:
    """A layer with an instance whose service prints and stays."""
    command = f"sh -c '{words}; exec sleep 86399'"
    keys = f'launcher: apptainer, component: app, command: "{command}", apptainer: {{start_seconds: 0}}'
    return {"desired/environments/dev.yaml": f"services:\n  web: {{{keys}}}\n"}


@pytest.mark.apptainer
def test_an_instance(users_world: World) -> None:
    """Its two outputs under headings; following goes on through a restart, which empties both."""
    world = users_world
    image(world.folder, "1.0")
    component = f"install: apptainer-sif, image: app.sif, source: {world.folder}/app-1.0.sif"
    configdir = f"{world.folder}/a"
    component = f"  app: {{{component}, container: {{configdir: {configdir}}}}}\n"
    world.write({"desired/defaults.yaml": 'versions: {app: "1.0"}\ncomponents:\n' + component})
    world.commit(printing("echo out; echo err >&2"))
    world.once()
    done = world.run("logs", "web")
    assert done.code == 0, done.said
    headings = re.findall(r"^==> .*/web-dev\.(\w+) <==\n(?=out|err)", done.out, re.MULTILINE)
    assert headings == ["out", "err"]
    with following(world, "web") as follower:
        follower.until("out\n")
        world.commit(printing("echo begins anew"))
        world.once()
        follower.until("\nbegins anew\n")
        assert follower.end() == (130, "")
