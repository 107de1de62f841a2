"""As cron starts it: four variables, no session. The manager is found where systemd puts it, lingering is asked for.

The command gets a view of the host of its own, in which the test's manager is at /run/user/UID, and accounts
can linger: so nothing on the host itself is changed.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.launchers.test_moves import up
from tests.launchers.witness import Witnessed
from tests.scenarios.world import Done, World

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.git,
    pytest.mark.systemd,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can mount"),
]

# $1: the account, $2: its number, $3: its group, $4: the manager's runtime folder, $5: whether it lingers
_VIEW = """
set -e
mount -t tmpfs none /run/user
mkdir "/run/user/$2"
mount --bind "$4" "/run/user/$2"
mount -t tmpfs none /var/lib/systemd
mkdir /var/lib/systemd/linger
[ "$5" = no ] || touch "/var/lib/systemd/linger/$1"
user=$2 group=$3
shift 5
exec setpriv --reuid="$user" --regid="$group" --clear-groups -- env -i "$@"
"""


def cron(world: World, *words: str, lingers: bool = True, **more: str) -> Done:
    """The command in cron's environment, and nothing else of it but `more`."""
    assert world.manager
    account = world.account
    view = [account.name, str(account.uid), str(account.gid), str(world.manager.runtime), "yes" if lingers else "no"]
    env = {"HOME": str(world.home), "LOGNAME": account.name, "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", **more}
    variables = [f"{name}={value}" for name, value in env.items()]
    argv = ["unshare", "--mount", "/bin/sh", "-c", _VIEW, "sh", *view, *variables, *world.argv(*words)]
    done = subprocess.run(argv, cwd=world.folder, capture_output=True, text=True, timeout=90, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(name="site")
def a_site(users_world: World) -> Witnessed:
    users_world.boot()
    return Witnessed(users_world)


@pytest.mark.apptainer
@pytest.mark.supervisor
def test_every_launcher_works_from_cron(site: Witnessed) -> None:
    """A session later finds all of it as cron has left it, and cron what a session has."""
    services = {"one": "systemd", "two": "supervisor", "three": "systemd-instance", "four": "apptainer"}
    site.have_image("1.0")
    site.commit("1.0", services)
    assert site.world.manager
    assert cron(site.world, "plan").code == 2
    done = cron(site.world, "--once")
    assert done.code == 0, done.said
    before = up(site, *services)
    assert cron(site.world, "--once") == (0, "", "")
    site.idle()
    assert site.programs() == before
    site.have_image("2.0")
    site.commit("2.0", services)
    assert cron(site.world, "--once").code == 0
    up(site, *services)
    assert {site.lives(name)[-1] for name in services} == {"start 2.0"}
    assert cron(site.world, "status").code == 0
    site.idle()


@pytest.mark.parametrize("given", ["/nowhere", "/run/user/0"])
def test_a_runtime_folder_that_is_not_this_accounts(given: str, site: Witnessed) -> None:
    """As a terminal has that was left open for long, or that `su` was called in."""
    site.commit("1.0", {"one": "systemd"})
    assert cron(site.world, "--once", XDG_RUNTIME_DIR=given).code == 0
    up(site, "one")


def test_an_account_that_does_not_linger_is_warned(site: Witnessed) -> None:
    """In words and as JSON, with the command that helps. It is no failure, and no difference."""
    command = f"loginctl enable-linger {site.world.account.name}"
    site.commit("1.0", {"one": "systemd"})
    plan = cron(site.world, "plan", lingers=False)
    assert (plan.code, command in plan.out) == (2, True)
    assert command not in cron(site.world, "plan").out
    done = cron(site.world, "--once", lingers=False)
    assert (done.code, command in done.out) == (0, True), done.said
    up(site, "one")
    for words, code in ((("plan",), 0), (("status",), 0), (("--once",), 0)):
        shown = cron(site.world, *words, "--json", lingers=False)
        (deployment,) = shown.json()["deployments"]
        assert (shown.code, [command in warning for warning in deployment["warnings"]]) == (code, [True])
        (deployment,) = cron(site.world, *words, "--json").json()["deployments"]
        assert deployment["warnings"] == []
    status = cron(site.world, "status", lingers=False)
    assert (status.code, command in status.out) == (0, True)
    assert cron(site.world, "--once", lingers=False).code == 0


def test_a_site_without_systemd_is_not_warned(site: Witnessed) -> None:
    site.commit("1.0", {"one": "supervisor"})
    done = cron(site.world, "--once", "--json", lingers=False)
    (deployment,) = done.json()["deployments"]
    assert (done.code, deployment["warnings"]) == (0, [])
