"""`reconcile logs` of services that systemd and Apptainer keep: what a service prints is what a person reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.beds import a_journal, a_users_world  # noqa: F401
from tests.backends.images import image
from tests.scenarios.test_logs import following
from tests.scenarios.world import World, until

pytestmark = [pytest.mark.scenario, pytest.mark.git]

# $1: where it finds what it is to say. It says which version it is when it begins. The shell itself prints: of a
# line whose process is gone by then, journald cannot tell the unit (systemd#2913).
_PROGRAM = """\
#!/bin/sh
echo "version $RECONCILE_VERSION begins"
while :; do
    if [ -e "$1/say" ]; then while read -r line; do echo "$line"; done <"$1/say"; rm "$1/say"; fi
    sleep 0.05
done
"""
_DEFAULTS = """\
components:
  app: {{install: none}}
  box:
    install: apptainer-sif
    image: "box-{{{{ version }}}}.sif"
    source: "{folder}/box-{{{{ version }}}}.sif"
    container: {{configdir: "{folder}/a", mode: instance, mounts: {{said: "src={words},dst={words}"}}}}
"""


class Speaker:
    """A service that prints what it is told to. Its name is its own: all managers of an account share one journal."""

    more = ""  # further keys of it

    def __init__(self, world: World, launcher: str, *, instance: bool) -> None:
        self.world, self.launcher, self.instance = world, launcher, instance
        self.name = f"w{world.folder.name}"
        self.words = world.account.folder(world.folder / "words")
        program = world.folder / "speaker"
        program.write_text(_PROGRAM)
        program.chmod(0o755)
        self.program = "/bin/speaker" if instance else str(program)
        if launcher == "systemd":
            world.boot()
        world.write({"desired/defaults.yaml": _DEFAULTS.format(folder=world.folder, words=self.words)})
        self.bring("1.0")

    def bring(self, version: str) -> None:
        """Apply a commit with this version, and wait until it says so."""
        self.commit(version)
        self.world.once()
        until(lambda: f"version {version} begins" in self.read())

    def commit(self, version: str) -> None:
        if self.instance:
            image(self.world.folder, version, "box", {"bin/speaker": _PROGRAM})
        keys = f"component: {'box' if self.instance else 'app'}, launcher: {self.launcher}, "
        keys += f"{self.launcher}: {{start_seconds: 0}}, command: '{self.program} {self.words}'{self.more}"
        versions = f'versions: {{app: "{version}", box: "{version}"}}\n'
        self.world.commit({"desired/environments/dev.yaml": f"{versions}services: {{{self.name}: {{{keys}}}}}\n"})

    def say(self, text: str) -> None:
        """Returns when it has been printed."""
        aside = self.words / "aside"
        aside.write_text(text)
        self.world.account.own(aside)
        aside.rename(self.words / "say")
        until(lambda: not (self.words / "say").exists())

    def read(self, *words: str) -> str:
        done = self.world.run("logs", self.name, *words)
        assert done.code in (0, 1), done.said
        return done.out

    def pid(self) -> int:
        return self.world.pids()[self.name]


@pytest.mark.systemd
def test_a_unit(users_world: World, journal: None) -> None:
    web = Speaker(users_world, "systemd", instance=False)
    web.say("".join(f"line {number}\n" for number in range(5)))
    until(lambda: "line 4" in web.read())
    last = [line.rpartition(": ")[2] for line in web.read("-n", "2").splitlines()]
    assert last[-2:] == ["line 3", "line 4"]
    assert "line 2" not in last
    with following(users_world, web.name, "-n", "1") as follower:
        follower.until("line 4\n")
        web.say("news\n")
        follower.until("news\n")
        before = web.pid()
        web.bring("2.0")
        follower.until("version 2.0 begins\n")
        assert web.pid() != before
        web.say("more of it\n")
        follower.until("more of it\n")
        assert "line 3" not in follower.out
        assert follower.end()[0] == 130
    assert users_world.pids().keys() == {web.name}
    users_world.idle()


@pytest.mark.apptainer
@pytest.mark.parametrize("launcher", ["apptainer", pytest.param("systemd", marks=pytest.mark.systemd)])
def test_an_instance(launcher: str, users_world: World, journal: None) -> None:
    """Apptainer writes its two outputs to files."""
    web = Speaker(users_world, launcher, instance=True)
    web.say("".join(f"line {number}\n" for number in range(5)))
    until(lambda: "line 4" in web.read())
    shown = web.read("-n", "2")
    assert "line 3\nline 4\n" in shown
    assert "line 2" not in shown
    with following(users_world, web.name, "-n", "1") as follower:
        follower.until("line 4\n")
        web.say("news\n")
        follower.until("news\n")
        web.bring("2.0")
        follower.until("version 2.0 begins\n")
        web.say("more of it\n")
        follower.until("more of it\n")
        assert follower.end()[0] == 130
    users_world.idle()


@pytest.mark.systemd
@pytest.mark.apptainer
def test_why_an_instance_did_not_start(users_world: World, journal: None) -> None:
    """What Apptainer said of it is in the journal, and is shown beside the service's own output."""
    web = Speaker(users_world, "systemd", instance=True)
    layer = Path(users_world.repo / "desired/environments/dev.yaml").read_text()
    broken = layer.replace("component: box", 'component: box, container: {options: [--bind, "/not-there:/x"]}')
    broken = broken.replace("start_seconds: 0", "start_seconds: 0, start_limit_burst: 1")
    users_world.commit({"desired/environments/dev.yaml": broken})
    done = users_world.run("--once")
    assert done.code == 1, done.said
    assert "/not-there" in done.out.partition("did not start")[2]
    assert "FATAL" in web.read("-n", "all")
