"""`health` by what a service prints, where no file of ours holds that: systemd's journal, the files of Apptainer."""

from __future__ import annotations

import pytest

from tests.backends.beds import a_journal, a_users_world  # noqa: F401
from tests.launchers.test_logs import Speaker
from tests.scenarios.test_health import health_of, told
from tests.scenarios.world import World, until

pytestmark = [pytest.mark.scenario, pytest.mark.git]

HEALTH = (
    ", health: {log: {must: '^version .* begins', must_not: '^FATAL'}, start_period: 15s, settle: 0s, interval: 0s, "
    "retries: 1}"
)


class Watched(Speaker):
    """One whose health is what it says."""

    more = HEALTH

    def health(self) -> tuple[str, str]:
        found = health_of(self.world.run("status", "--json"), self.name)
        return found["health"], found["health_message"]

    def fails(self) -> None:
        """What it prints, the next pass sees; nothing is restarted for it."""
        pid = self.pid()
        self.say("all is well\n")
        assert self.health() == ("healthy", "")
        self.say("FATAL: no space\n")
        until(lambda: "FATAL" in self.read())
        done = self.world.once(code=1)
        assert f"degraded: {self.name}: log: says `^FATAL`: FATAL: no space" in told(done)
        assert self.health() == ("degraded", "log: says `^FATAL`: FATAL: no space")
        assert self.pid() == pid


@pytest.mark.systemd
def test_a_unit(users_world: World, journal: None) -> None:
    """Of the journal counts what it has printed since its start."""
    web = Watched(users_world, "systemd", instance=False)
    assert web.health() == ("healthy", "")
    users_world.idle()
    web.fails()
    web.bring("2.0")  # the pass waits until it is healthy
    assert "FATAL" in web.read()
    assert web.health() == ("healthy", "")
    users_world.idle()


@pytest.mark.systemd
def test_a_unit_that_does_not_say_it(users_world: World, journal: None) -> None:
    """It is waited for, and told; the line of the run before is not taken for it."""
    web = Watched(users_world, "systemd", instance=False)
    web.more = HEALTH.replace("version .* begins", "version 3.0 begins").replace("15s", "2s")
    web.commit("2.0")
    done = users_world.once(code=1)
    assert f"rolled-back: {web.name}: 2.0 of" in told(done)
    assert "log: does not say `^version 3.0 begins`" in told(done)
    web.commit("3.0")
    users_world.once()
    assert web.health() == ("healthy", "")


@pytest.mark.apptainer
@pytest.mark.parametrize("launcher", ["apptainer", pytest.param("systemd", marks=pytest.mark.systemd)])
def test_an_instance(launcher: str, users_world: World, journal: None) -> None:
    """Its two outputs are files of Apptainer's, to which each start adds: only what comes after it counts."""
    web = Watched(users_world, launcher, instance=True)
    assert web.health() == ("healthy", "")
    users_world.idle()
    web.fails()
    web.bring("2.0")
    assert "FATAL" in web.read("-n", "all")
    assert web.health() == ("healthy", "")
    users_world.idle()
