"""Manual sync on a real supervisord: what git says anew waits for a person, and exactly what was approved is done."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from tests.backends.signers import Signer, ssh_signer
from tests.scenarios.test_windows import OPEN, SHUT, denied, marks, policy, running
from tests.scenarios.world import Done, World, a_world, until

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

MANUAL = "policy: {sync: manual}\n"
DRIFT = "policy: {self_heal: false}\n"


def manual(world: World, text: str = MANUAL) -> World:
    running(world)
    world.commit(policy(world, text))
    world.idle()
    return world


def waits(world: World) -> str:
    """The whole id of the plan that waits; a pass changes nothing for it, and a second one writes nothing."""
    pids, files = world.pids(), world.files()
    found = deployment(world.once("--json", code=2))["approval"]
    assert found["approved"] is None
    state = snapshot(world)
    done = world.once(code=2)
    assert f"waits for approval: reconcile approve {found['plan'][:8]}" in done.out
    assert (world.pids(), world.files()) == (pids, files)
    assert snapshot(world) == state
    return str(found["plan"])


def snapshot(world: World) -> dict[str, tuple[int, int]]:
    """All that is remembered, but for when the remote last answered, and that a report was printed."""
    passing = ("source.json", "printed")
    found = {str(path): path.stat() for path in world.state.rglob("*") if path.is_file() and path.name not in passing}
    return {path: (info.st_size, info.st_mtime_ns) for path, info in found.items() if not path.endswith("lock")}


def deployment(done: Done) -> dict[str, Any]:
    (found,) = done.json()["deployments"]
    assert isinstance(found, dict)
    return found


def approve(world: World, *words: str, code: int = 0) -> Done:
    done = world.run("approve", *words)
    assert done.code == code, done.said
    return done


def test_a_bump_waits_is_approved_and_carried_out_once(world: World) -> None:
    manual(world)
    pids = world.pids()
    assert approve(world).out == "nothing waits for approval\n"
    world.commit(world.versions("2.0"))
    plan = waits(world)
    assert world.run("plan").code == 2
    assert world.run("status").code == 2
    listed = approve(world).out
    assert f": plan {plan} waits for approval" in listed
    assert "~ web 1.0 -> 2.0" in listed
    world.supervisorctl("stop", "job")
    done = deployment(world.once("--json", code=2))  # drift is mended meanwhile, and that is another plan of others
    assert [step["id"] for step in done["steps"] if step["action"] == "start"] == ["start:job"]
    assert marks(world) == {"web": "1.0", "job": "1.0"}
    assert waits(world) == plan

    said = approve(world, plan[:8], "--reason", "tested in staging").out
    assert "is approved by " in said
    assert "tested in staging" in said
    assert approve(world, plan[:8]).code == 0  # said twice, it is the same
    world.once()
    assert marks(world) == {"web": "2.0", "job": "1.0"}
    assert world.pids()["web"] != pids["web"]
    world.idle()
    assert "it was carried out at" in approve(world, plan[:8], code=2).out
    world.commit(world.versions("1.0"))
    assert waits(world) != plan


def test_what_was_approved_is_stale_when_the_host_changes(world: World) -> None:
    manual(world)
    world.commit(world.versions("2.0"))
    first = waits(world)
    approve(world, first)
    old = world.pids()["web"]
    os.kill(old, signal.SIGKILL)
    new = until(lambda: next((pid for name, pid in world.pids().items() if name == "web" and pid != old), None))
    done = world.once(code=2)
    flat = " ".join(done.out.split())
    assert f"the approval of {first[:8]} by " in flat
    assert f"does not count any more: web runs as pid {new}, and was pid {old} then" in flat, done.said
    assert marks(world)["web"] == "1.0"
    shown = " ".join(approve(world, first, code=2).out.split())
    assert "~ web 1.0 -> 2.0" in shown
    assert f"since then: web runs as pid {new}" in shown
    told = world.run("approve", "--show", first, "--json")
    since = [f"web runs as pid {new}, and was pid {old} then"]
    assert (told.code, told.json()["stale"], told.json()["since"]) == (2, True, since)
    second = waits(world)
    assert second != first
    approve(world, second)
    world.once()
    assert marks(world)["web"] == "2.0"
    world.idle()


def test_what_was_approved_is_stale_when_git_changes(world: World) -> None:
    manual(world)
    world.commit(world.versions("2.0"))
    first = waits(world)
    approve(world, first)
    world.commit(world.versions("3.0"))
    assert "git wants something else of it than commit" in " ".join(world.once(code=2).out.split())
    assert marks(world)["web"] == "1.0"
    approve(world, first, code=2)
    approve(world, "0123456789", code=2)
    assert approve(world, "web", code=3).err.startswith("reconcile: ID: `web` is no id of a plan")


def test_a_killed_pass_is_finished_without_asking_again(world: World) -> None:
    """It ends when one service is restarted and the other one is down; that one's start is among what was approved."""
    manual(world)
    web = "component: app, command: sleep 86399, files: [app.conf], after: [job]"
    plain = "component: tool, command: sleep 86398"
    world.commit(world.versions("2.0", tool="2.0") | world.services("web", "job", web=web, job=plain))
    approve(world, waits(world))
    pids = world.pids()
    killed(world, "restart:")
    assert marks(world) == {"job": "2.0"}  # one is restarted, the other one stopped
    rest = deployment(world.run("plan", "--json"))["approval"]
    assert rest["rest_of"]
    assert rest["approved"]["account"]
    world.once()
    assert marks(world) == {"web": "2.0", "job": "2.0"}
    assert all(world.pids()[name] != pids[name] for name in ("web", "job"))
    world.idle()
    assert approve(world).out == "nothing waits for approval\n"


def killed(world: World, prefix: str) -> None:
    """A pass that is killed when the first step whose id begins so has ended; the others of them wait for it."""
    code = f"""
import os, signal
from reconciler.agent.config import Agent
from reconciler.agent.run import Pass
from reconciler.report.log import Log
class Killer(Log):
    def ended(self, step, result):
        if step.id.startswith({prefix!r}):
            os.kill(os.getpid(), signal.SIGKILL)
Pass(Agent({world.url!r}, {world.site!r}, state_dir={str(world.state)!r}), Killer()).run()
"""
    assert world.run_python(code).code == -signal.SIGKILL


def test_what_fails_is_tried_again_until_git_changes(world: World) -> None:
    """The rest of what was approved is not asked for again; what git says instead is."""
    manual(world)
    broken = "component: app, command: '/bin/false', supervisor: {startsecs: 1, startretries: 0}"
    text = world.services("web", "job", job="component: tool, command: sleep 86398")["desired/environments/dev.yaml"]
    bad = text.replace("component: app, command: sleep 86399, files: [app.conf], supervisor: {startsecs: 0}", broken)
    assert bad != text
    world.commit({"desired/environments/dev.yaml": bad})
    approve(world, waits(world))
    for _ in range(2):
        done = deployment(world.once("--json", code=1))
        assert any(step["status"] == "failed" for step in done["steps"])
    world.commit({"desired/environments/dev.yaml": text} | world.versions("3.0"))
    second = deployment(world.once("--json", code=1))["approval"]  # it is down, and does not start as it was
    assert second["approved"] is None
    approve(world, second["plan"])
    world.once()
    world.idle()


def test_one_service_waits_and_the_others_do_not(world: World) -> None:
    running(world)
    keys = "component: tool, command: sleep 86398, sync: manual"
    world.commit(world.services("web", "job", job=keys))
    world.idle()
    world.commit(world.versions("2.0", tool="2.0"))
    world.once(code=2)
    told = "1 waits for approval: `reconcile approve` lets exactly this plan through."
    assert told in " ".join(world.run("plan").out.split())
    assert marks(world) == {"web": "2.0", "job": "1.0"}
    approve(world, waits(world))
    world.once()
    assert marks(world) == {"web": "2.0", "job": "2.0"}
    # it was to be asked before its end, and still is when git has it no more
    world.commit(world.services("web"))
    plan = waits(world)
    assert "job" in marks(world)
    approve(world, plan)
    world.once()
    assert marks(world) == {"web": "2.0"}
    world.idle()


def test_drift_waits_where_it_is_not_to_be_mended(world: World) -> None:
    manual(world, DRIFT)
    world.commit(world.versions("2.0"))
    world.once()
    assert marks(world) == {"web": "2.0", "job": "1.0"}  # what a commit brings does not wait
    world.supervisorctl("stop", "job")
    plan = waits(world)
    assert set(world.pids()) == {"", "web"}
    approve(world, plan)
    world.once()
    assert set(world.pids()) == {"", "web", "job"}
    world.idle()
    world.supervisorctl("stop", "job")  # the same once more is approved once more
    assert waits(world) != plan
    world.supervisorctl("start", "job")
    world.idle()
    (world.root / "config/app.conf").write_text("by hand\n")
    plan = waits(world)
    world.commit(world.versions("3.0"))  # what it brings for the same service is done, hand-edited file and all
    world.once()
    assert "app = 3.0" in (world.root / "config/app.conf").read_text()
    world.idle()


def test_what_waits_for_a_window_can_be_approved_before(world: World) -> None:
    running(world)
    shut, opened = (denied(when).replace("policy: {", "policy: {sync: manual, ") for when in (SHUT, OPEN))
    world.commit(world.versions("2.0") | policy(world, shut))
    done = deployment(world.once("--json", code=2))
    (change,) = [one for one in done["changes"] if one["kind"] != "keep"]
    assert change["held_by"] == "window"
    plan = done["approval"]["plan"]
    assert change["reasons"][-1] == f"waits for approval: reconcile approve {plan[:8]}"
    approve(world, plan)
    assert "waits for approval" not in world.once(code=2).out
    assert marks(world)["web"] == "1.0"
    world.commit(policy(world, opened))
    world.once()
    assert marks(world)["web"] == "2.0"
    world.idle()


def test_a_lost_state_directory_asks_again(world: World) -> None:
    manual(world)
    world.commit(world.versions("2.0"))
    approve(world, waits(world))
    shutil.rmtree(world.state)
    plan = waits(world)
    (next(world.state.rglob("plans/*.json"))).write_bytes(b"damaged")
    approve(world, plan)
    world.once()
    assert marks(world)["web"] == "2.0"


# ---------------------------------------------------------------- in git


def test_git_approves(world: World) -> None:
    """The commit that says so is another one than that of the plan, and wants the same."""
    manual(world)
    world.commit(world.versions("2.0"))
    plan = waits(world)
    path = f"approvals/{world.site}.dev.yaml"
    world.commit({path: f'{"0" * 30}ff: "of another time"\n'})
    assert waits(world) == plan
    world.commit({path: f'{plan}: "tested in staging"\n'})
    done = deployment(world.once("--json"))
    assert done["approval"]["approved"]["place"] == f"{path}:1"
    assert marks(world)["web"] == "2.0"
    world.idle()
    world.commit(world.versions("1.0"))
    assert waits(world) != plan
    world.commit({path: f"{plan[:8]}: short\n"})
    assert f"{path}:1:1: `{plan[:8]}` is not the whole id of a plan" in " ".join(world.once(code=3).out.split())


class Trusting:
    """A host that knows whose tags count."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ann, self.eve = ssh_signer(world.folder, "ann"), ssh_signer(world.folder, "eve")
        signers = world.folder / "signers"
        signers.write_text(self.ann.public)
        self.config = world.folder / "agent.yaml"
        where = f"repo: {world.url}\nsite: {world.site}\nstate_dir: {world.state}\n"
        self.config.write_text(f"{where}verify: {{ssh: {signers}}}\n")

    def commit(self, files: Mapping[str, str | bytes | None]) -> None:
        self.world.write(files)
        self.world.git("add", "--all")
        self.world.git(*self.ann.options, "commit", "-q", "-S", "-m", "change")

    def tag(self, name: str, signer: Signer | None) -> None:
        options = signer.options if signer else ()
        self.world.git(*options, "tag", "-f", "-s" if signer else "-a", "-m", "x", name)

    def once(self, code: int = 0) -> str:
        done = self.world.run("--once", "--config", str(self.config), where=False)
        assert done.code == code, done.said
        return " ".join(done.out.split())


def test_a_signed_tag_approves(world: World) -> None:
    trusting = Trusting(world)
    trusting.commit({**world.services("web", "job"), **policy(world, MANUAL)})
    done = world.run("approve", "--config", str(trusting.config), "--json", where=False)
    first = done.json()["waiting"][0]["plan"]  # before any pass
    name = f"approve/{world.site}/dev/{first}"
    for signer, why in ((None, "the tag is not signed"), (trusting.eve, "it is signed with a key that is not known")):
        trusting.tag(name, signer)
        assert f"tag {name} does not count: {why}" in trusting.once(2)
    trusting.tag("release", trusting.ann)
    world.git("update-ref", f"refs/tags/{name}", world.git("rev-parse", "refs/tags/release"))
    assert f"tag {name} does not count: it was signed under another name" in trusting.once(2)
    assert world.live() == []
    trusting.tag(name, trusting.ann)
    trusting.once()
    assert marks(world) == {"web": "1.0", "job": "1.0"}
    assert trusting.once() == ""
