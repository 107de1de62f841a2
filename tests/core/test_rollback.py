"""What is wanted while specifications that failed are held back: what goes back with what, and to which commit."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.core import rollback
from reconciler.core.desired import Ask, Compiled, Deployment, File, Probe, ReplicaSet, Watch
from reconciler.core.digest import digest_of
from reconciler.core.observed import Verdict, Word
from reconciler.core.overlay import overlay_compiled
from reconciler.core.rollback import Held, Record, Spec, Stage, State
from tests.core.generate import after_push, pushes, worlds
from tests.core.host import Agent
from tests.core.test_convergence import examples, waiting, wrong
from tests.core.world import Svc, World, build, world

OLD, NEW = "a" * 40, "c" * 40
SPEC = Spec("before", "before", "", "0", OLD, 0.5)


def compiled(desired: World, commit: str) -> Compiled:
    """Every service of it is to prove healthy."""
    made = build(desired)
    names = dict.fromkeys((service.name for service in made.deployment.services), True)
    return made._replace(deployment=made.deployment._replace(commit=commit, rollbacks=names))


def proved(deployment: Deployment, since: float = 1.0) -> dict[str, Record]:
    return {name: Record(proved=spec) for name, spec in rollback.specs(deployment, since).items()}


def with_failed(state: State, wanted: Deployment, names: Collection[str]) -> State:
    """As a pass leaves it that has tried these, and seen them fail."""
    specs = rollback.specs(wanted, 2.0)
    bad = {name: Verdict(Word.DEGRADED, "bad") for name in names}
    return rollback.judged(rollback.begun(state, specs, names), specs, bad, {}, 3.0)


def hold_back(wanted: Deployment, state: State, former: rollback.Former) -> Held:
    return rollback.hold_back(wanted, rollback.specs(wanted, 4.0), state, former)


def stages(wanted: Deployment, held: Held, state: State) -> dict[str, rollback.Rollout]:
    return rollback.told(wanted, rollback.specs(wanted, 5.0), held, state)


class Situation(NamedTuple):
    before: Compiled
    wanted: Compiled
    state: State

    @property
    def held(self) -> Held:
        commits = {OLD: self.before.deployment}
        return hold_back(self.wanted.deployment, self.state, commits.get)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    first = draw(worlds())
    before, wanted = compiled(first, OLD), compiled(after_push(first, draw(pushes)), NEW)
    names = [service.name for service in wanted.deployment.services]
    failed = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
    return Situation(before, wanted, with_failed(proved(before.deployment), wanted.deployment, failed))


def daemons_of(deployment: Deployment, launcher: str) -> tuple[object, ...]:
    """The daemon, and what it is started from."""
    (manager,) = (one for one in deployment.managers if one.launcher == launcher)
    conf = dict(manager.address).get("conf")
    return manager, *(file for file in deployment.files if file.path == conf)


def files_of(deployment: Deployment, service: str) -> set[File]:
    return {file._replace(services=()) for file in deployment.files if service in file.services}


@examples(400)
@given(situations())
def test_what_is_held_back_is_wholly_what_it_was_and_all_else_is_what_git_wants(situation: Situation) -> None:
    wanted, before, held = situation.wanted.deployment, situation.before.deployment, situation.held
    failed = rollback.failing(situation.state, rollback.specs(wanted, 0.0)).keys()
    event(f"held back: {len(held.names)}, stuck: {len(held.stuck)}")
    assert failed <= held.names | held.stuck.keys()
    assert not held.names & held.stuck.keys()
    now = {service.name: service for service in held.deployment.services}
    assert now.keys() == {service.name for service in wanted.services}
    for one in wanted.services:
        source = before if one.name in held.names else wanted
        (was,) = (service for service in source.services if service.name == one.name)
        assert now[one.name] == was._replace(after=one.after)
        assert files_of(held.deployment, one.name) == files_of(source, one.name)
        installs = {install for install in source.installs if install.id == was.install}
        assert {install for install in held.deployment.installs if install.id == was.install} == installs
    paths = [file.path for file in held.deployment.files]
    assert len(paths) == len(set(paths))
    assert all(now.keys() >= set(file.services) for file in held.deployment.files)
    back = frozenset[str]().union(*(unit.daemons for unit in held.overlays))
    for launcher in {service.launcher for service in wanted.services}:
        source = before if launcher in back else wanted
        assert daemons_of(held.deployment, launcher) == daemons_of(source, launcher)
        mine = {service.name for service in wanted.services if service.launcher == launcher}
        assert launcher not in back or mine <= held.names
    full = situation.wanted
    for unit in held.overlays:
        full = overlay_compiled(full, situation.before, unit.names, unit.daemons)
    assert full.deployment == held.deployment
    assert set(full.contents) == set(paths)


@examples(150)
@given(situations())
def test_a_pass_goes_back_and_the_next_one_does_nothing(situation: Situation) -> None:
    agent = Agent()
    agent.run(situation.before)
    agent.run(situation.wanted)
    full, held = situation.wanted, situation.held
    for unit in held.overlays:
        full = overlay_compiled(full, situation.before, unit.names, unit.daemons)
    left = waiting(agent.run(full))
    assert sorted(wrong(agent.host, full, left)) == []
    if not left:
        assert agent.plan(full).steps == ()


# ---------------------------------------------------------------- one by one


def test_nothing_failed_changes_nothing() -> None:
    one = compiled(world("a", "b"), NEW)
    assert hold_back(one.deployment, {}, lambda _: None) == Held(one.deployment)


@pytest.mark.parametrize(
    ("change", "stuck"),
    [
        ({"root": "/elsewhere"}, "it was below /elsewhere then"),
        ({"commit": "b" * 40}, "cannot be had any more"),
    ],
)
def test_what_cannot_be_gone_back_to(change: dict[str, str], stuck: str) -> None:
    before = compiled(world("a"), OLD).deployment
    wanted = compiled(world("a", versions={"app": "2"}), NEW).deployment
    state = with_failed(proved(before), wanted, ["a"])
    commits = {str(change.get("commit", OLD)): before._replace(**change)}  # type: ignore[arg-type]
    held = hold_back(wanted, state, commits.get)
    assert (held.deployment, held.overlays) == (wanted, ())
    assert stuck in held.stuck["a"]
    told = stages(wanted, held, state)["a"]
    assert (told.stage, told.since, told.stuck) == (Stage.FAILED, 3.0, f"it cannot go back: {held.stuck['a']}")


def test_what_a_secret_or_the_host_has_changed_since_is_gone_back_to_as_it_is_now() -> None:
    """So it would run had that which failed never come. What failed itself is no way back, whatever made it so."""
    before = compiled(world("a"), OLD).deployment
    wanted = compiled(world("a", versions={"app": "2"}), NEW).deployment
    state = proved(compiled(world(Svc("a", env="other")), OLD).deployment)
    held = hold_back(wanted, with_failed(state, wanted, ["a"]), {OLD: before}.get)
    assert held.overlays == (rollback.Overlay(OLD, frozenset("a")),)
    held = hold_back(before, with_failed(state, before, ["a"]), {OLD: before}.get)
    assert "a is not what was healthy" in held.stuck["a"]


def test_what_is_to_the_letter_as_it_was_is_preferred() -> None:
    """Of two commits the older one, where only that still gives what was healthy."""
    services = (Svc("a", component="plain", files=("site.conf",)), Svc("b", files=("site.conf",)))
    first = compiled(world(*services, files={"site.conf": "1"}), OLD).deployment
    wanted = compiled(world(*services, files={"site.conf": "2"}, versions={"app": "3"}), NEW).deployment
    other = Svc("b", files=("site.conf",), env="other")
    middle = compiled(world(services[0], other, files={"site.conf": "1"}, versions={"app": "2"}), "b" * 40).deployment
    today = compiled(world(*services, files={"site.conf": "1"}, versions={"app": "2"}), "b" * 40).deployment
    state = with_failed({**proved(first), "b": proved(middle, 2.0)["b"]}, wanted, ["a"])
    held = hold_back(wanted, state, {OLD: first, "b" * 40: today}.get)
    assert held.overlays == (rollback.Overlay("b" * 40, frozenset("ab")),), "`b` at the other commit is another version"
    state = with_failed(proved(first), wanted, ["a"])
    held = hold_back(wanted, state, {OLD: first, "b" * 40: today}.get)
    assert held.overlays == (rollback.Overlay(OLD, frozenset("ab")),)


def test_a_new_service_that_shares_what_changed_keeps_it_from_going_back() -> None:
    one, new = Svc("a", files=("site.conf",)), Svc("new", files=("site.conf",))
    before = compiled(world(one, files={"site.conf": "1"}), OLD).deployment
    wanted = compiled(world(one, new, files={"site.conf": "2"}), NEW).deployment
    held = hold_back(wanted, with_failed(proved(before), wanted, ["a"]), {OLD: before}.get)
    assert "new, which shares what changed, was not there" in held.stuck["a"]


def test_those_that_go_back_beside_it_go_to_the_last_commit_at_which_both_were_healthy() -> None:
    """`b` was bumped since `a` was last healthy anew, and keeps that."""
    services = (Svc("a", component="plain", files=("site.conf",)), Svc("b", files=("site.conf",)))
    first = compiled(world(*services, files={"site.conf": "1"}), OLD).deployment
    middle = compiled(world(*services, files={"site.conf": "1"}, versions={"app": "2"}), "b" * 40).deployment
    wanted = compiled(world(*services, files={"site.conf": "2"}, versions={"app": "2"}), NEW).deployment
    state = {**proved(first), "b": proved(middle, 2.0)["b"]}
    held = hold_back(wanted, with_failed(state, wanted, ["a"]), {OLD: first, "b" * 40: middle}.get)
    assert held.overlays == (rollback.Overlay("b" * 40, frozenset("ab")),)
    assert {service.name: service.version for service in held.deployment.services} == {"a": "1", "b": "2"}
    told = stages(wanted, held, with_failed(state, wanted, ["a"]))
    assert (told["b"].stage, told["b"].beside, told["a"].beside) == (Stage.ROLLED_BACK, "a", "")


def test_a_daemon_goes_back_with_all_that_it_runs() -> None:
    """Where that cannot be, what is another one itself goes back without it, and nothing else does."""
    before = compiled(world("a", "b", Svc("c", launcher="systemd"), daemon="1"), OLD).deployment
    wanted = compiled(world("a", "b", Svc("c", launcher="systemd"), daemon="2"), NEW).deployment
    state = with_failed(proved(before), wanted, ["a"])
    held = hold_back(wanted, state, {OLD: before}.get)
    assert held.overlays == (rollback.Overlay(OLD, frozenset("ab"), frozenset({"supervisor"})),)
    assert rollback.failing(state, rollback.specs(wanted, 5.0)).keys() == {"a"}
    more = compiled(world("a", "b", "new", daemon="2"), NEW).deployment
    held = hold_back(more, with_failed(proved(before), more, ["a"]), {OLD: before}.get)
    assert "new, which shares what changed, was not there" in held.stuck["a"]
    bumped = compiled(world("a", "b", Svc("new", component="plain"), daemon="2", versions={"app": "2"}), NEW).deployment
    held = hold_back(bumped, with_failed(proved(before), bumped, ["a"]), {OLD: before}.get)
    assert held.overlays == (rollback.Overlay(OLD, frozenset("a")),)


def test_replicas_go_back_together_and_those_that_are_new_are_not_there_again() -> None:
    before = compiled(world("a-1", "a-2"), OLD).deployment
    wanted = compiled(world("a-1", "a-2", "a-3", versions={"app": "2"}), NEW).deployment
    one = ReplicaSet("a", ("a-1", "a-2", "a-3"), canary=True, max_unavailable=1)
    wanted = wanted._replace(sets=(one,))
    held = hold_back(wanted, with_failed(proved(before), wanted, ["a-1"]), {OLD: before}.get)
    assert [service.name for service in held.deployment.services] == ["a-1", "a-2"]
    assert held.deployment.sets == (one._replace(canary=False, proved=True),)


# ---------------------------------------------------------------- what is remembered


def spec(identity: str, commit: str = NEW) -> Spec:
    return Spec(identity, identity, "l", "1", commit, 1.0)


GOOD, BAD, SO_SO = Verdict(Word.HEALTHY), Verdict(Word.DEGRADED, "bad"), Verdict(Word.PROGRESSING)
UNCLEAR = (Verdict(Word.UNKNOWN), Verdict(Word.MISSING), Verdict(Word.SUSPENDED), SO_SO)


def judged(record: Record, verdict: Verdict, wanted: str = "new") -> Record:
    return rollback.judged({"a": record}, {"a": spec(wanted)}, {"a": verdict}, {}, 9.0)["a"]


def test_only_what_was_tried_and_is_degraded_has_failed() -> None:
    tried = Record(proved=spec("old"), tried=spec("new"))
    assert judged(tried, BAD) == Record(spec("old"), None, spec("new")._replace(since=9.0, why="bad"))
    assert judged(tried, GOOD) == Record(proved=spec("new")._replace(since=9.0))
    assert judged(tried, Verdict(Word.HEALTHY, "1 of 3 in a row")) == tried, "an answer that was bad proves nothing"
    assert all(judged(tried, verdict) == tried for verdict in UNCLEAR)
    assert judged(Record(proved=spec("old")), BAD) == Record(proved=spec("old")), "nobody has tried it yet"
    assert judged(Record(tried=spec("new")), BAD) == Record(tried=spec("new")), "there is nothing to go back to"
    assert judged(Record(proved=spec("new")), BAD) == Record(proved=spec("new")), "it was healthy before"


def test_another_specification_is_tried_and_forgets_what_failed() -> None:
    failed = Record(proved=spec("old"), failed=spec("new"))
    assert rollback.failing({"a": failed}, {"a": spec("new")}) == {"a": spec("new")}
    assert rollback.failing({"a": failed}, {"a": spec("newer")}) == {}
    assert judged(failed, SO_SO, "newer") == Record(proved=spec("old"))
    assert judged(failed, GOOD, "old") == Record(proved=spec("old"))
    begun = rollback.begun({"a": failed}, {"a": spec("newer")}, ["a", "gone"])
    assert begun == {"a": Record(spec("old"), spec("newer"), spec("new"))}
    assert rollback.judged({"gone": failed}, {}, {}, {}, 9.0) == {}


def test_one_proves_healthy_with_those_that_it_shares_with() -> None:
    """Else it would go back, with another one, to what it was not yet."""
    wanted = {name: spec("new") for name in "ab"}
    state = {name: Record(proved=spec("old"), tried=spec("new")) for name in "ab"}
    both = {name: frozenset("ab") for name in "ab"}
    assert rollback.judged(state, wanted, {"a": GOOD, "b": SO_SO}, both, 9.0) == state
    after = rollback.judged(state, wanted, {"a": GOOD, "b": GOOD}, both, 9.0)
    assert all(record.proved and record.proved.identity == "new" for record in after.values())
    assert rollback.judged(state, wanted, {"a": GOOD}, {"a": frozenset("a")}, 9.0)["a"].tried is None


def _as_noted_before(spec: Spec | None) -> Spec | None:
    return spec._replace(daemon="") if spec is not None else None


def test_what_an_earlier_release_has_noted_stays_noted() -> None:
    """It knew of no daemons: what failed under it is not tried again, and what was healthy stays so."""
    wanted = compiled(world(Svc("a"), Svc("b")), NEW).deployment
    state = with_failed({**proved(wanted), "a": Record(proved=SPEC)}, wanted, ["a"])
    specs = rollback.specs(wanted, 6.0)
    assert specs["a"].daemon
    before = {name: Record(*map(_as_noted_before, record)) for name, record in state.items()}
    assert rollback.failing(before, specs).keys() == {"a"}
    now = rollback.judged(before, specs, {}, {}, 7.0)
    assert now == {**state, "a": state["a"]._replace(proved=SPEC)}
    managers = tuple(one._replace(spec="another") for one in wanted.managers)
    other = rollback.specs(wanted._replace(managers=managers), 8.0)
    assert rollback.failing(now, other) == {}, "under another daemon it is tried"
    assert rollback.judged(now, other, {}, {}, 9.0)["a"].failed is None


def test_what_no_layer_says_is_no_part_of_what_was_tried() -> None:
    """The digest is that of a release that knew of no `ca`."""
    wanted = compiled(world(Svc("a")), NEW).deployment
    probe = Probe(Ask.HTTP, 5.0, "http://localhost/")
    assert _identity(wanted, probe) != _identity(wanted, probe._replace(ca="/ca.pem"))
    (service,) = wanted.services
    told = str(_watch(probe)).replace(", ca=''", "")
    assert _identity(wanted, probe) == digest_of(
        [service.spec, service.launch, service.launcher, service.unit, told]
    )


def _watch(probe: Probe) -> Watch:
    return Watch("a", (probe,), 1.0, 1.0, 1, 0.0, private=False, env_file="")


def _identity(wanted: Deployment, probe: Probe) -> str:
    return rollback.specs(wanted._replace(watches=(_watch(probe),)), 1.0)["a"].identity
