"""`account` and `host` on a real supervisord: a pass in the wrong place takes no step, and agents share a repo."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from tests.backends.beds import a_users_world
from tests.scenarios.test_windows import marks, running
from tests.scenarios.world import World, a_world

__all__ = ["a_users_world", "a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

ME = pwd.getpwuid(os.geteuid()).pw_name
HOST = os.uname().nodename.partition(".")[0]


def layer(world: World, text: str) -> dict[str, str | bytes | None]:
    return {f"desired/sites/{world.site}.dev.yaml": text}


@pytest.mark.parametrize("wrong", ["account: somebody", "host: twf1.example.org"])
def test_in_the_wrong_place_nothing_is_done_and_the_right_one_is_told(world: World, wrong: str) -> None:
    running(world)
    pids, files = world.pids(), world.files()
    world.commit(world.versions("2.0", tool="2.0") | layer(world, wrong))
    world.supervisorctl("stop", "web")
    for words in (["--once"], ["plan"], ["status"]):
        done = world.run(*words)
        assert done.code == 3, done.said
        assert "as somebody" in done.out or "on twf1.example.org" in done.out
        assert f"and this is {ME} on {HOST}: nothing is done" in done.out
    del pids["web"]
    assert (world.pids(), world.files()) == (pids, files)
    data = world.run("--once", "--json").json()
    assert (data["exit_code"], data["deployments"]) == (3, [])
    assert data["elsewhere"][0]["environment"] == "dev"
    world.commit(layer(world, f"account: [other, {ME}]\nhost: '{HOST[:1]}*'"))
    world.once()
    assert marks(world) == {"web": "2.0", "job": "2.0"}


def test_services_of_another_account_are_left_alone_and_are_no_difference(world: World) -> None:
    world.commit(world.services("web", "job") | layer(world, "services: {web: {account: jtm}}"))
    world.once()
    assert set(world.pids()) == {"", "job"}
    assert not (world.root / "bin/web").exists()
    world.idle()
    assert "elsewhere, as jtm: web" in world.run("status").out
    (found,) = world.run("plan", "--json").json()["deployments"]
    assert found["elsewhere"] == [{"service": "web", "where": "as jtm"}]


def test_what_runs_here_and_comes_to_belong_elsewhere_goes_on_and_is_told(world: World) -> None:
    running(world)
    pids, files = world.pids(), world.files()
    world.commit(world.versions("2.0", tool="2.0") | layer(world, "services: {web: {account: jtm}}"))
    world.once()
    assert world.pids()["web"] == pids["web"]
    assert marks(world) == {"web": "1.0", "job": "2.0"}
    assert {name: files[name] for name in files if "web" in name or "app.conf" in name}.items() <= world.files().items()
    assert "web runs here as pid" in world.run("plan").out


def test_two_agents_share_a_repo_each_with_its_part(world: World) -> None:
    """Two hosts of one account, as far as this machine can be two: the agents have roots and memories of their own."""
    site = f"desired/sites/{world.site}.yaml"
    root = f'environments: [dev, prod]\npaths: {{root: "{world.root}-{{{{ environment }}}}"}}\n'
    both = world.services("web")["desired/environments/dev.yaml"]
    world.commit(
        {site: root, "desired/environments/dev.yaml": both, "desired/environments/prod.yaml": both}
        | {f"desired/sites/{world.site}.prod.yaml": "host: elsewhere01"}
    )
    data = world.once("--json").json()
    assert [one["environment"] for one in data["deployments"]] == ["dev"]
    assert data["elsewhere"] == [{"environment": "prod", "where": "on elsewhere01"}]
    world.idle()
    assert not (world.folder / "r-prod").exists()
    world.once("--environment", "prod", code=3)


def test_two_accounts_share_a_repo_each_with_a_tree_of_its_own(users_world: World, short_folder: Path) -> None:
    """As the two supervisors of a site where JAWS and Cromwell ran under an account each."""
    if os.geteuid():
        pytest.skip("needs root, to be two accounts")
    jaws, other = users_world, World(short_folder / "other", fresh_repo=False)
    other.home.mkdir(parents=True)
    other.site, other.url = jaws.site, jaws.url
    theirs = {jaws.account.name: str(jaws.root), ME: str(other.root)}
    site = f"environments: [dev]\nvars: {{roots: {json.dumps(theirs)}}}\npaths: {{root: '{{{{ roots[account] }}}}'}}\n"
    services = f"web: {{account: {jaws.account.name}}}, cromwell: {{account: {ME}, files: [], component: tool}}"
    try:
        jaws.commit(jaws.services("web", "cromwell") | {f"desired/sites/{jaws.site}.yaml": site})
        jaws.commit(layer(jaws, f"services: {{{services}}}\n"))
        jaws.once()
        other.once()
        assert (set(jaws.pids()), set(other.pids())) == ({"", "web"}, {"", "cromwell"})
        assert {os.stat(f"/proc/{one.pid}").st_uid for one in jaws.live()} == {jaws.account.uid}
        assert not (jaws.root / "bin/cromwell").exists()
        assert not (other.root / "config/app.conf").exists(), "only the other account's service reads it"
        before = jaws.pids(), other.pids()
        jaws.commit(layer(jaws, f'versions: {{tool: "2.0"}}\nservices: {{{services}}}\n'))
        jaws.idle()
        other.once()
        other.idle()
        assert jaws.pids() == before[0]
        assert other.pids()["cromwell"] != before[1]["cromwell"]
    finally:
        other.end()
