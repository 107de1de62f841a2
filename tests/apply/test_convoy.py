"""The convoy on a launcher in memory, whose clock moves only when somebody waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from reconciler.apply.convoy import STOP_PATIENCE, Convoy
from reconciler.core.change import Act, Running, UnitName
from reconciler.core.desired import Service
from reconciler.core.observed import State
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Phase, Plan, Step
from tests.core.host import Agent, Fault, Host, SimBackend
from tests.core.world import STOP, Svc, World, build, world

_VERBS = {Act.REMOVE: Action.REMOVE, Act.LOAD: Action.RELOAD}


class Drive:
    """Steps for the units of a running deployment, sent off as the executor does it."""

    def __init__(self, *services: Svc | str) -> None:
        self.desired = world(*services)
        self.compiled = build(self.desired)
        self.agent = Agent()
        self.agent.run(self.compiled)
        self.host: Host = self.agent.host
        self.host.requests.clear()
        self.before = self.host.pids()
        self.began: list[str] = []
        self.ended: list[str] = []
        self.services = {service.name: service for service in self.compiled.deployment.services}
        self.launchers = {service.name: service.launcher for service in self.compiled.deployment.services}
        self.earlier: dict[str, StepResult] = {}
        self.stop_after: str | None = None  # asked to stop once this step has begun

    def step(self, service: str, act: Act = Act.RESTART, needs: Sequence[str] = ()) -> Step:
        """As the plan has it."""
        unit = UnitName(self.launchers.get(service, "supervisor"), service)
        verb = _VERBS.get(act) or (Action.RESTART if act.stops else Action.START)
        identifier = f"{verb.value}:{service}" if act.starts else f"{verb.value}:{unit.launcher}/{service}"
        phase = Phase.STOP if act is Act.REMOVE else Phase.START
        return Step(identifier, verb, service, service, phase, needs=tuple(needs), act=act, unit=unit)

    def __call__(self, *steps: Step | str, **more: Any) -> dict[str, StepResult]:
        made = [self.step(step) if isinstance(step, str) else step for step in steps]
        convoy = Convoy(
            made,
            self.services,
            {one.launcher: SimBackend(self.host, one) for one in self.compiled.deployment.managers},
            self.earlier,
            clock=self.host,
            asked_to_stop=lambda: self.stop_after is not None and self.stop_after in (*self.began, ""),
            told=lambda result: self.ended.append(result.id),
            begins=lambda step: self.began.append(step.id),
            **more,
        )
        results = {result.id: result for result in convoy.drive()}
        assert set(results) == {step.id for step in made}
        assert sorted(self.ended) == sorted(results)
        return results

    def sent(self, *verbs: str) -> list[tuple[str, ...]]:
        return [(verb, *units) for verb, units in self.host.requests if verb in verbs]

    def state(self, service: str) -> State:
        loaded = self.host.find(service)
        return loaded.state if loaded else State.ABSENT

    def renewed(self) -> set[str]:
        return {name for name, pid in self.host.pids().items() if self.before.get(name) != pid}


def statuses(results: dict[str, StepResult]) -> dict[str, str]:
    return {step: result.status.value for step, result in results.items()}


# ---------------------------------------------------------------- order


def test_stops_in_reverse_and_starts_in_order() -> None:
    drive = Drive("a", Svc("b", after=("a",)), Svc("c", after=("b",)))
    results = drive("a", "b", "c")
    assert statuses(results) == {"restart:a": "done", "restart:b": "done", "restart:c": "done"}
    assert drive.sent("stop", "start") == [
        ("stop", "c"),
        ("stop", "b"),
        ("stop", "a"),
        ("start", "a"),
        ("start", "b"),
        ("start", "c"),
    ]
    assert drive.renewed() == {"a", "b", "c"}


def test_the_next_starts_only_when_the_one_before_it_is_up() -> None:
    drive = Drive("a", Svc("b", after=("a",)))
    drive("a", "b")
    started = {name: drive.host.main()[name].started for name in ("a", "b")}
    assert started["b"] - started["a"] >= 1.0  # what a must stay up to count as started


def test_independent_units_go_side_by_side() -> None:
    names = [f"s{n}" for n in range(8)]
    drive = Drive(*names)
    began = drive.host.now()
    results = drive(*names)
    assert statuses(results) == {f"restart:{name}": "done" for name in names}
    assert drive.sent("stop") == [("stop", *names)]
    assert drive.sent("start") == [("start", *names)]
    assert drive.host.now() - began < 2.5  # one stop of 0.5 s and one start of 1 s, not eight


def test_what_has_no_step_is_neither_waited_for_nor_touched() -> None:
    drive = Drive("a", Svc("b", after=("a",)))
    assert statuses(drive("b")) == {"restart:b": "done"}
    assert drive.renewed() == {"b"}


def test_a_new_unit_waits_for_the_removal_that_it_needs() -> None:
    drive = Drive("old", "new")
    drive(drive.step("new", needs=("remove:supervisor/old",)), drive.step("old", Act.REMOVE))
    assert [units for verb, *units in drive.sent("remove", "start")] == [["old"], ["new"]]


# ---------------------------------------------------------------- the acts


@pytest.mark.parametrize(
    ("act", "state", "verbs"),
    [
        (Act.START, State.STOPPED, ["start"]),
        (Act.RESTART, State.RUNNING, ["stop", "start"]),
        (Act.RESTART, State.EXITED, ["stop", "start"]),
        (Act.CREATE, State.ABSENT, ["add", "start"]),
        (Act.RECREATE, State.RUNNING, ["stop", "remove", "add", "start"]),
        (Act.RECREATE, State.STOPPED, ["stop", "remove", "add", "start"]),
        (Act.REMOVE, State.RUNNING, ["stop", "remove"]),
        (Act.REMOVE, State.STOPPED, ["stop", "remove"]),
    ],
    ids=lambda value: value.value if isinstance(value, Act | State) else "",
)
def test_an_act_is_these_requests(act: Act, state: State, verbs: list[str]) -> None:
    drive = Drive("a")
    loaded = drive.host.find("a")
    assert loaded
    if state is State.ABSENT:
        del drive.host.manager(drive.compiled.deployment.managers[0]).loaded["a"]
    elif state is not State.RUNNING:
        loaded.state, loaded.pid = state, 0
    (result,) = drive(drive.step("a", act)).values()
    assert result.status is Status.DONE
    assert [verb for verb, *_ in drive.sent("add", "remove", "start", "stop")] == verbs
    assert drive.state("a") is (State.ABSENT if act is Act.REMOVE else State.RUNNING)


# ---------------------------------------------------------------- a description taken up anew, and units forgotten


def masked(*names: str) -> Drive:
    """Services of an account's manager, some of them masked, and one that comes after the first."""
    services = [Svc(name, launcher="systemd") for name in names]
    drive = Drive(*services, Svc("late", launcher="systemd", after=(names[0],)))
    drive.host.manager(drive.compiled.deployment.managers[0]).masked |= set(names)
    return drive


def told(drive: Drive) -> set[str]:
    return drive.host.manager(drive.compiled.deployment.managers[0]).masked


def test_what_is_taken_up_anew_goes_on() -> None:
    drive = masked("a", "b")
    results = drive(drive.step("a", Act.LOAD), drive.step("b", Act.LOAD))
    assert statuses(results) == {"reload:systemd/a": "done", "reload:systemd/b": "done"}
    assert drive.sent("add", "remove", "start", "stop") == [("add", "a", "b")]
    assert (drive.renewed(), told(drive)) == (set(), set())
    assert sorted(drive.began) == ["reload:systemd/a", "reload:systemd/b"]


def test_what_comes_after_it_does_not_wait_for_it() -> None:
    drive = masked("a")
    assert statuses(drive(drive.step("a", Act.LOAD), "late")) == {"reload:systemd/a": "done", "restart:late": "done"}
    assert drive.renewed() == {"late"}


def test_one_that_cannot_be_taken_up_fails_and_goes_on() -> None:
    drive = masked("a", "b")
    drive.host.broken["add"] = "no such unit"
    results = drive(drive.step("a", Act.LOAD), "late")
    assert statuses(results) == {"reload:systemd/a": "failed", "restart:late": "done"}
    assert results["reload:systemd/a"].message == "no such unit"
    assert drive.renewed() == {"late"}


def test_it_is_not_taken_up_when_the_descriptions_could_not_be_read() -> None:
    drive = masked("a")
    drive.earlier["reload:systemd"] = StepResult("reload:systemd", Status.FAILED)
    results = drive(drive.step("a", Act.LOAD, needs=("reload:systemd",)))
    assert results["reload:systemd/a"].message == "reload:systemd failed"
    assert (drive.sent("add"), drive.began) == ([], [])


def test_asked_to_stop_takes_nothing_up() -> None:
    drive = masked("a")
    drive.stop_after = ""
    assert statuses(drive(drive.step("a", Act.LOAD))) == {"reload:systemd/a": "skipped"}
    assert told(drive) == {"a"}


def test_all_that_are_down_at_once_are_forgotten_by_one_request() -> None:
    """Each may be a process of its own."""
    drive = Drive("a", "b", "c", Svc("d", launcher="systemd"))
    acts = {"a": Act.REMOVE, "b": Act.RECREATE, "c": Act.RESTART, "d": Act.REMOVE}
    results = drive(*(drive.step(name, act) for name, act in acts.items()))
    assert {result.status for result in results.values()} == {Status.DONE}
    assert drive.sent("remove", "add") == [("remove", "a", "b"), ("remove", "d"), ("add", "b")]


def test_a_unit_whose_file_is_gone_is_forgotten_too() -> None:
    """It vanishes as it stops, and would leave what starts it with the host."""
    drive = Drive(Svc("a", launcher="systemd"))
    del drive.host.files["/home/units/a"]
    (result,) = drive(drive.step("a", Act.REMOVE)).values()
    assert (result.status, drive.sent("remove")) == (Status.DONE, [("remove", "a")])
    assert drive.host.manager(drive.compiled.deployment.managers[0]).enabled == set()


def test_one_that_cannot_be_forgotten_is_no_matter_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = Drive("a", "b")
    remove = SimBackend._remove

    def refuse(backend: SimBackend, unit: str) -> str:
        return "is needed" if unit == "a" else remove(backend, unit)

    monkeypatch.setattr(SimBackend, "_remove", refuse)
    results = drive(drive.step("a", Act.RECREATE), drive.step("b", Act.RECREATE))
    assert statuses(results) == {"restart:a": "failed", "restart:b": "done"}
    assert drive.sent("remove", "start") == [("remove", "a", "b"), ("start", "b")]


def test_one_that_hangs_does_not_hold_up_the_others() -> None:
    drive = Drive("a", "b")
    drive.host.faults["a"] = Fault.HANGS
    results = drive(drive.step("a", Act.REMOVE), drive.step("b", Act.REMOVE))
    assert statuses(results) == {"remove:supervisor/a": "failed", "remove:supervisor/b": "done"}
    assert drive.sent("remove") == [("remove", "b")]


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.FATAL, "did not start: FATAL"),
        (Fault.EXITED, "did not start: EXITED"),
        (Fault.BACKOFF, "did not start: BACKOFF"),
        (Fault.REFUSED, "a is refused"),
    ],
)
def test_a_failure_blocks_what_comes_after_and_nothing_else(fault: Fault, message: str) -> None:
    drive = Drive("a", Svc("b", after=("a",)), Svc("c", after=("b",)), "d")
    drive.host.faults["a"] = fault
    results = drive("a", "b", "c", "d")
    assert statuses(results) == {
        "restart:a": "failed",
        "restart:b": "blocked",
        "restart:c": "blocked",
        "restart:d": "done",
    }
    assert results["restart:a"].message == message
    assert results["restart:b"].message == "comes after a, which did not start"
    hint = results["restart:a"].hint
    assert hint == ("" if fault is Fault.REFUSED else "see /logs/a.log")
    assert drive.state("d") is State.RUNNING


def test_a_stop_that_hangs_ends_with_its_patience() -> None:
    drive = Drive("a", "b")
    drive.host.faults["a"] = Fault.HANGS
    began = drive.host.now()
    results = drive("a", "b")
    assert statuses(results) == {"restart:a": "failed", "restart:b": "done"}
    assert results["restart:a"].message == f"pid {drive.before['a']} did not stop: stopping"
    assert STOP + STOP_PATIENCE <= drive.host.now() - began <= STOP + STOP_PATIENCE + 1
    assert drive.sent("start") == [("start", "b")]  # no second process beside the one that hangs


def test_what_a_hanging_dependent_needs_goes_on_without_it() -> None:
    drive = Drive("a", Svc("b", after=("a",)))
    drive.host.faults["b"] = Fault.HANGS
    assert statuses(drive("a", "b")) == {"restart:a": "done", "restart:b": "failed"}


@pytest.mark.parametrize("verb", ["stop", "start", "units", "remove", "add"])
def test_a_launcher_that_fails_fails_its_steps(verb: str) -> None:
    drive = Drive("a", "b")
    drive.host.broken[verb] = "supervisord does not answer"
    results = drive(drive.step("a", Act.RECREATE), drive.step("b", Act.RECREATE))
    assert statuses(results) == {"restart:a": "failed", "restart:b": "failed"}
    assert {result.message for result in results.values()} == {"supervisord does not answer"}


def test_what_an_earlier_step_failed_is_not_stopped() -> None:
    drive = Drive("a", "b")
    drive.earlier["render:/r/bin/a"] = StepResult("render:/r/bin/a", Status.FAILED)
    results = drive(drive.step("a", needs=("render:/r/bin/a",)), "b")
    assert statuses(results) == {"restart:a": "blocked", "restart:b": "done"}
    assert results["restart:a"].message == "render:/r/bin/a failed"
    assert drive.renewed() == {"b"}
    assert drive.began == ["restart:b"]


def test_a_start_refused_before_the_convoy_blocks_what_comes_after() -> None:
    drive = Drive("a", Svc("b", after=("a",)))
    drive.earlier["restart:a"] = StepResult("restart:a", Status.FAILED)
    results = drive("b")
    assert results["restart:b"].message == "comes after a, which did not start"
    assert drive.renewed() == set()


# ---------------------------------------------------------------- asked to stop


def test_asked_to_stop_before_anything_begins_skips_everything() -> None:
    drive = Drive("a", "b")
    drive.stop_after = ""
    assert statuses(drive("a", "b")) == {"restart:a": "skipped", "restart:b": "skipped"}
    assert drive.renewed() == set()
    assert drive.sent("stop", "start") == []


@pytest.mark.parametrize("after", ["a", "b", "c"])
def test_asked_to_stop_in_the_middle_leaves_nothing_down(after: str) -> None:
    """What was stopped is started again; what has not been begun keeps its process."""
    drive = Drive("a", Svc("b", after=("a",)), Svc("c", after=("b",)))
    drive.stop_after = f"restart:{after}"
    results = drive("a", "b", "c")
    assert {name: drive.state(name) for name in "abc"} == dict.fromkeys("abc", State.RUNNING)
    done = {step.removeprefix("restart:") for step, result in results.items() if result.status is Status.DONE}
    assert drive.renewed() == done
    assert done == set("abc"["abc".index(after) :])  # c is stopped first
    assert set(drive.began) == {f"restart:{name}" for name in done}


def test_asked_to_stop_leaves_no_removal_half_done() -> None:
    drive = Drive("a", "b")
    drive.stop_after = "remove:supervisor/a"
    results = drive(drive.step("a", Act.REMOVE))
    assert statuses(results) == {"remove:supervisor/a": "done"}
    assert drive.state("a") is State.ABSENT


# ---------------------------------------------------------------- a whole plan


def test_a_bump_asks_the_launcher_as_often_for_eight_units_as_for_two() -> None:
    asked = {}
    for count in (2, 8, 64):
        desired: World = world(*(f"s{n:02}" for n in range(count)))
        agent = Agent()
        agent.run(build(desired))
        agent.host.requests.clear()
        plan: Plan = agent.run(build(desired._replace(versions={"app": "2"})))
        assert len([step for step in plan.steps if step.action is Action.RESTART]) == count
        asked[count] = len([verb for verb, units in agent.host.requests if verb in ("stop", "start")])
    assert asked == {2: 2, 8: 2, 64: 2}


def test_services_are_looked_up_by_name() -> None:
    """A unit that git no longer has has no declared times; it is stopped with the patience of any."""
    drive = Drive("a")
    drive.services = dict[str, Service]()
    drive.host.faults["a"] = Fault.HANGS
    results = drive(drive.step("a", Act.REMOVE))
    assert statuses(results) == {"remove:supervisor/a": "failed"}
    assert drive.state("a") is State.STOPPING


# ---------------------------------------------------------------- batches, drains, what is left behind


def in_turn(drive: Drive) -> list[Step]:
    """`b` begins when `a` has proved healthy."""
    look = Step("check:a:healthy", Action.CHECK, "a", "healthy", Phase.START, needs=("restart:a",))
    look = look._replace(unit=UnitName("supervisor", "a"))
    return [drive.step("a"), look, drive.step("b")._replace(gates=("check:a:healthy",))]


def test_the_next_is_not_even_stopped_before_the_one_before_it_is_healthy() -> None:
    drive = Drive("a", "b")
    asked: list[float] = []

    def proves(steps: Sequence[Step]) -> dict[str, StepResult]:
        asked.append(drive.host.now())
        assert drive.renewed() == {"a"}
        return {step.id: StepResult(step.id, Status.DONE) for step in steps if len(asked) > 2}

    results = drive(*in_turn(drive), proves=proves)
    assert set(statuses(results).values()) == {"done"}
    assert drive.sent("stop") == [("stop", "a"), ("stop", "b")]
    assert asked[1] - asked[0] >= 1.0, "it is not asked all the time"


def test_the_rest_stays_where_one_is_not_healthy_and_so_does_what_comes_after_it() -> None:
    drive = Drive("a", "b", Svc("later", after=("a", "b")))
    failed = {"check:a:healthy": StepResult("check:a:healthy", Status.FAILED, 0.0, "degraded")}
    later = drive.step("later")._replace(gates=("restart:a", "restart:b"))
    results = drive(*in_turn(drive), later, proves=lambda _: failed)
    assert statuses(results) == {
        "restart:a": "done",
        "check:a:healthy": "failed",
        "restart:b": "blocked",
        "restart:later": "blocked",
    }
    assert drive.renewed() == {"a"}


def test_a_look_ends_when_the_pass_is_asked_to_stop() -> None:
    drive = Drive("a", "b")
    drive.stop_after = "check:a:healthy"
    results = drive(*in_turn(drive), proves=lambda _: {})
    assert statuses(results) == {"restart:a": "done", "check:a:healthy": "skipped", "restart:b": "skipped"}


class Draining:
    """Each takes three looks; one of `b` fails."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive
        self.looks: dict[str, int] = {}

    def begin(self, service: str, running: Running | None) -> bool:
        assert self.drive.sent("stop") == []
        self.looks[service] = 0
        return True

    def ended(self, service: str) -> str | None:
        assert self.drive.state(service) is State.RUNNING
        self.looks[service] += 1
        return None if self.looks[service] < 3 else "its drain failed" if service == "b" else ""


def test_a_drain_is_waited_for_and_its_failure_told() -> None:
    drive = Drive("a", "b")
    draining = Draining(drive)
    results = drive("a", "b", drains=draining)
    assert {name: (one.status, one.message) for name, one in results.items()} == {
        "restart:a": (Status.DONE, ""),
        "restart:b": (Status.DONE, "its drain failed"),
    }
    assert draining.looks == {"a": 3, "b": 3}
    assert drive.began == ["restart:a", "restart:b"], "once each"


def test_nothing_starts_while_something_of_the_old_is_left() -> None:
    drive = Drive("a")
    looks: Iterator[set[str]] = iter([set(), set(), {"restart:a"}])

    def left(steps: Sequence[Step]) -> set[str]:
        assert drive.sent("start") == []
        assert [step.id for step in steps] == ["restart:a"]
        return next(looks)

    assert statuses(drive("a", leaves_nothing=left)) == {"restart:a": "done"}
    assert next(looks, None) is None
