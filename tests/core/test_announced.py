"""The diff of a merge request and the plan on the site agree."""

from __future__ import annotations

import re
from random import Random

import pytest

from reconciler.agent.compare import announced
from reconciler.core.change import Kind
from reconciler.core.plan import Action, Plan
from tests.core.generate import COMPONENTS, FILES, LAUNCHERS, NAMES, VERSIONS, WIDE, Commit, tidy
from tests.core.test_convergence import arrived
from tests.core.world import Svc, World, build

_CHANGES = 50
_PID = re.compile(r"\b(pid[ -]|daemon-)\d+")
# What others run of it is no repo's to know, so nothing is handed over to them here.
_WHATS = (
    *("version", "file", "daemon", "root", "add", "env", "option", "toggle", "unit", "launcher", "launcher"),
    *("after", "files", "remove", "rename"),
)


def some_world(random: Random) -> World:
    services = tuple(
        Svc(name, random.choice(COMPONENTS), random.choice(LAUNCHERS), files=FILES[: random.randrange(3)])
        for name in NAMES[: random.randrange(2, 7)]
    )
    return tidy(World(services, {}, dict.fromkeys(FILES, "0"), policy=WIDE))


def some_commit(random: Random) -> Commit:
    return Commit(random.choice(_WHATS), random.randrange(8), random.choice(VERSIONS))


def without_pids(text: str) -> str:
    """The announcement makes them up, and does not tell them."""
    return _PID.sub("", text).replace("a process", "").replace("earlier root, ", "earlier root")


def changes_of(plan: Plan) -> list[object]:
    return [
        (c.service, c.kind, c.act, c.version, c.wanted, c.restarts, c.renamed_from, c.held) for c in plan.diff.changes
    ]


def steps_of(plan: Plan) -> list[str]:
    """Sorted: what is stopped by its pid is so in the order of those."""
    return sorted(
        without_pids(f"{s.id} {s.action} {s.service} {s.target} {sorted(map(without_pids, s.needs))}")
        for s in plan.steps
    )


def reasons_of(plan: Plan) -> dict[str, set[str]]:
    return {change.service: set(map(without_pids, change.reasons)) for change in plan.diff.changes}


@pytest.mark.parametrize("seed", range(8))
def test_what_is_announced_is_what_is_planned_over_fifty_changes(seed: int) -> None:
    random = Random(seed)
    desired = some_world(random)
    agent, before = arrived(desired)
    told, done = set(), set()
    for _ in range(_CHANGES):
        commit = some_commit(random)
        desired = commit.to(desired)
        after = build(desired)
        # Builds of earlier versions may still lie on a host; whether they do is no repo's to know.
        wanted = {install.id for install in before.deployment.installs}
        agent.host.installs = {name: build_ for name, build_ in agent.host.installs.items() if name in wanted}
        said, planned = announced((before, after)).plan, agent.plan(after)
        assert changes_of(said) == changes_of(planned), commit
        assert steps_of(said) == steps_of(planned), commit
        # A host remembers also what an earlier commit changed without any need of a restart.
        assert all(reasons <= reasons_of(planned)[name] for name, reasons in reasons_of(said).items()), commit
        assert steps_of(agent.run(after)) == steps_of(said)
        assert {change.kind for change in agent.plan(after).diff.changes} <= {Kind.KEEP}
        told |= {change.kind for change in said.diff.changes}
        done |= {step.action for step in said.steps}
        before = after
    assert {Kind.CREATE, Kind.UPDATE, Kind.REMOVE} <= told, "else this would hold of nothing"
    assert {Action.RENDER, Action.RESTART, Action.RELOAD, Action.REMOVE} <= done
