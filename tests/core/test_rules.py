"""Each rule of the diff by a case of its own: what is told, and what is to happen to the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from reconciler.core.change import Act, Change, DaemonAct, Kind
from reconciler.core.desired import Compiled
from reconciler.core.diff import diff
from reconciler.core.inventory import Inventory
from reconciler.core.observed import FileState, Observed, Process, State, Unit
from reconciler.core.problem import Gap
from reconciler.core.simulated import as_applied, nothing
from tests.core.host import FOREIGN
from tests.core.world import Svc, build, world

NAME = ("supervisor", "web")
SHIM, UNIT, ENV, CONF = "/r/bin/web", "/r/config/supervisor/web", "/r/env/web", "/r/config/site.conf"
DAEMON = "/r/config/supervisord.conf"


class Scene(NamedTuple):
    """One service, `web`, as it was applied, and what then became of it. Its process began at 1.0."""

    compiled: Compiled
    observed: Observed
    inventory: Inventory

    def change(self) -> Change:
        (change,) = diff(*self.inputs, self.compiled.fields).changes
        return change

    @property
    def inputs(self) -> tuple[Any, Observed, Inventory]:
        return self.compiled.deployment, self.observed, self.inventory

    def see(self, **parts: Any) -> Scene:
        return self._replace(observed=self.observed._replace(**parts))

    def unit(self, state: State, **parts: Any) -> Scene:
        """Its unit is down."""
        unit = Unit(*NAME, state, 0, 1.0)._replace(**parts)
        return self.see(units={**self.observed.units, NAME: unit}, processes={})

    def mark(self, **parts: Any) -> Scene:
        process = self.observed.processes[2]
        assert process.mark
        return self.see(processes={2: process._replace(mark=process.mark._replace(**parts))})

    def file(self, path: str, digest: str = "edited", mode: int = 0, changed: float = 0.0) -> Scene:
        before = self.observed.files[path]
        state = FileState(before.digest if mode else digest, mode or before.mode, changed)
        return self.see(files={**self.observed.files, path: state})

    def gap(self, scope: str, subject: str) -> Scene:
        return self.see(gaps=(*self.observed.gaps, Gap(scope, subject, "no answer")))

    def forgotten(self) -> Scene:
        return self._replace(inventory=Inventory())

    def pushed(self, **parts: Any) -> Scene:
        return self._replace(compiled=build(DESIRED.with_service("web", **parts)))


DESIRED = world(Svc("web", files=("site.conf",)), files={"site.conf": "x"})


def scene() -> Scene:
    compiled = build(DESIRED)
    return Scene(compiled, *as_applied(compiled))


def bumped(scene: Scene) -> Scene:
    return scene._replace(compiled=build(DESIRED._replace(versions={"app": "2"})))


def unseen(scene: Scene) -> Scene:
    host = nothing()
    files = {file.path: FileState("") for file in scene.compiled.deployment.files}
    return Scene(scene.compiled, host.observed._replace(files=files), host.inventory)


def hidden(scene: Scene) -> Scene:
    """Its process hides its environment, and began before its shim was written last."""
    return scene.see(processes={2: Process(2, 1.0, None)}).file(SHIM, mode=0o700, changed=5.0)


BUMP = "version 1 -> 2 (desired/environments/dev.yaml:2)"
FOREIGN_NAME = "its name is taken by a supervisor unit that is not ours (set `name:` to another one): web"
STOPPED = "was stopped by hand"

CASES: Mapping[str, tuple[Callable[[Scene], Scene], Kind, Act, tuple[str, ...]]] = {
    "nothing differs": (lambda s: s, Kind.KEEP, Act.NONE, ()),
    "new on a new host": (unseen, Kind.CREATE, Act.START, ("new",)),
    "new": (
        lambda s: s.see(units={}, processes={}).forgotten(),
        Kind.CREATE,
        Act.CREATE,
        ("new",),
    ),
    # blind
    "launcher unseen": (
        lambda s: bumped(s).gap("launcher", "supervisor"),
        Kind.BLOCKED,
        Act.NONE,
        ("cannot be seen: no answer",),
    ),
    # foreign
    "another owner": (lambda s: s.mark(deployment="site/prod"), Kind.BLOCKED, Act.NONE, (FOREIGN_NAME,)),
    "nobody's": (
        lambda s: s.see(processes={2: Process(2, 1.0, FOREIGN)}).forgotten(),
        Kind.BLOCKED,
        Act.NONE,
        (FOREIGN_NAME,),
    ),
    "inherits the mark of our daemon": (
        lambda s: s.mark(service="", pid=1).forgotten(),
        Kind.BLOCKED,
        Act.NONE,
        (FOREIGN_NAME,),
    ),
    "down, and nothing says that it is ours": (
        lambda s: s.unit(State.STOPPED).forgotten(),
        Kind.BLOCKED,
        Act.NONE,
        (FOREIGN_NAME,),
    ),
    "down, and a file of ours names it": (
        lambda s: s.unit(State.STOPPED).see(claimed={NAME: UNIT}).forgotten(),
        Kind.RESTART,
        Act.RECREATE,
        (STOPPED,),
    ),
    # install unknown
    "install unseen": (
        lambda s: bumped(s).gap("install", "app-2"),
        Kind.BLOCKED,
        Act.NONE,
        ("cannot tell whether app-2 is in place: no answer",),
    ),
    "install unseen of what runs": (lambda s: s.gap("install", "app-1"), Kind.KEEP, Act.NONE, ()),
    # file unknown
    "a bump, and a file that cannot be read": (
        lambda s: bumped(s).gap("file", SHIM),
        Kind.BLOCKED,
        Act.NONE,
        ("no answer",),
    ),
    # the daemon
    "daemon down": (
        lambda s: s.see(daemons={}, units={}, processes={}),
        Kind.RESTART,
        Act.START,
        ("supervisor was not running",),
    ),
    "daemon down, and a bump": (
        lambda s: bumped(s).see(daemons={}, units={}, processes={}),
        Kind.UPDATE,
        Act.START,
        ("supervisor was not running", BUMP),
    ),
    # absent
    "unloaded": (
        lambda s: s.see(units={}, processes={}),
        Kind.RESTART,
        Act.CREATE,
        ("is gone from supervisor",),
    ),
    # unreadable
    "hides what it runs": (
        hidden,
        Kind.KEEP,
        Act.NONE,
        (),  # the inventory knows this very process
    ),
    "hides what it runs, and nobody remembers": (
        lambda s: hidden(s).see(claimed={NAME: UNIT}).forgotten(),
        Kind.BLOCKED,
        Act.NONE,
        ("cannot tell what pid 2 runs: its environment cannot be read",),
    ),
    "began after its shim was written": (
        lambda s: s.see(processes={2: Process(2, 1.0, None)}, claimed={NAME: UNIT}).forgotten(),
        Kind.KEEP,
        Act.NONE,
        (),
    ),
    "unmarked": (
        lambda s: s.see(processes={2: Process(2, 1.0, FOREIGN)}, now=100.0),
        Kind.RESTART,
        Act.RECREATE,
        ("runs without our mark: it was not started by its shim",),
    ),
    "unmarked, and only just begun": (
        lambda s: s.see(processes={2: Process(2, 99.0, FOREIGN)}, now=100.0, claimed={NAME: UNIT}),
        Kind.KEEP,
        Act.NONE,
        (),
    ),
    "still in its start script": (
        lambda s: s.see(units={NAME: Unit(*NAME, State.STARTING, 2, 1.0)}).mark(spec=""),
        Kind.KEEP,
        Act.NONE,
        (),
    ),
    # other spec, other launch
    "a bump": (bumped, Kind.UPDATE, Act.RESTART, (BUMP,)),
    "env": (
        lambda s: s.pushed(env="fast"),
        Kind.UPDATE,
        Act.RESTART,
        ("env.MODE '' -> 'fast' (desired/defaults.yaml:3)",),
    ),
    "an option of its launcher": (
        lambda s: s.pushed(option="slow"),
        Kind.UPDATE,
        Act.RECREATE,
        ("supervisor.option '' -> 'slow' (desired/defaults.yaml:3)",),
    ),
    "an option and env": (
        lambda s: s.pushed(option="slow", env="fast"),
        Kind.UPDATE,
        Act.RECREATE,
        (
            "env.MODE '' -> 'fast' (desired/defaults.yaml:3)",
            "supervisor.option '' -> 'slow' (desired/defaults.yaml:3)",
        ),
    ),
    "rendered, never restarted": (
        lambda s: s.mark(spec="older"),
        Kind.UPDATE,
        Act.RESTART,
        ("runs an older specification than its files say",),
    ),
    # decided before
    "a pass was ended before its restart": (
        lambda s: s._replace(inventory=s.inventory._replace(pending={"web": (2, 1.0)})),
        Kind.RESTART,
        Act.RECREATE,
        ("an earlier pass was ended before it restarted this",),
    ),
    # files that were read
    "a file edited before it began": (
        lambda s: s.file(CONF, changed=0.5),
        Kind.RESTART,
        Act.RESTART,
        ("site.conf was edited by hand",),
    ),
    "a description edited before it began": (
        lambda s: s.file(UNIT, changed=0.5),
        Kind.RESTART,
        Act.RECREATE,
        ("web was edited by hand",),
    ),
    # stopping, down
    "being stopped": (
        lambda s: s.unit(State.STOPPING),
        Kind.RESTART,
        Act.RESTART,
        ("is being stopped by hand",),
    ),
    "stopped": (lambda s: s.unit(State.STOPPED), Kind.RESTART, Act.START, (STOPPED,)),
    "never started": (lambda s: s.unit(State.STOPPED, since=0.0), Kind.RESTART, Act.START, ("was never started",)),
    "exited": (
        lambda s: s.unit(State.EXITED, detail="exit status 3"),
        Kind.RESTART,
        Act.START,
        ("has exited (exit status 3)",),
    ),
    "fatal": (
        lambda s: s.unit(State.FATAL),
        Kind.RESTART,
        Act.START,
        ("is FATAL, its launcher gave up",),
    ),
    "down with another description": (
        lambda s: s.unit(State.STOPPED).pushed(option="slow"),
        Kind.UPDATE,
        Act.RECREATE,
        (STOPPED, "supervisor.option '' -> 'slow' (desired/defaults.yaml:3)"),
    ),
    "down with an edited description": (
        lambda s: s.unit(State.STOPPED).file(UNIT, changed=9.0),
        Kind.RESTART,
        Act.RECREATE,
        (STOPPED,),
    ),
    "down, and a bump": (
        lambda s: bumped(s.unit(State.FATAL)),
        Kind.UPDATE,
        Act.START,
        ("is FATAL, its launcher gave up", BUMP),
    ),
    "in backoff": (lambda s: s.unit(State.BACKOFF), Kind.KEEP, Act.NONE, ()),
    "in backoff with what git no longer wants": (
        lambda s: s.unit(State.BACKOFF).file(SHIM, changed=9.0),
        Kind.RESTART,
        Act.RESTART,
        ("is in BACKOFF",),
    ),
    # beside
    "a file edited since": (
        lambda s: s.file(CONF, changed=9.0),
        Kind.UPDATE,
        Act.NONE,
        ("site.conf was edited by hand",),
    ),
    "a file deleted": (lambda s: s.file(CONF, "", changed=9.0), Kind.UPDATE, Act.NONE, ("site.conf was deleted",)),
    "another mode": (
        lambda s: s.file(CONF, mode=0o666, changed=0.5),
        Kind.UPDATE,
        Act.NONE,
        ("site.conf has mode 0666, not 0640",),
    ),
    "its install is gone": (
        lambda s: s.see(installs={"app-1": False}),
        Kind.UPDATE,
        Act.NONE,
        ("app-1 is gone: it is built again",),
    ),
    "runs twice": (
        lambda s: s.see(processes={**s.observed.processes, 7: s.observed.processes[2]._replace(pid=7)}),
        Kind.UPDATE,
        Act.NONE,
        ("pid 7 of it runs outside of supervisor",),
    ),
    "a file that cannot be read": (
        lambda s: s.see(files={p: f for p, f in s.observed.files.items() if p != CONF}).gap("file", CONF),
        Kind.KEEP,
        Act.NONE,
        (),
    ),
}


@pytest.mark.parametrize(("happens", "kind", "act", "reasons"), list(CASES.values()), ids=list(CASES))
def test_rule(happens: Callable[[Scene], Scene], kind: Kind, act: Act, reasons: tuple[str, ...]) -> None:
    change = happens(scene()).change()
    assert (change.kind, change.act, change.reasons) == (kind, act, reasons)


def test_a_change_tells_both_versions_and_what_restarts() -> None:
    change = bumped(scene()).change()
    assert (change.version, change.wanted, change.restarts) == ("1", "2", ("web",))


# ---------------------------------------------------------------- daemons


@pytest.mark.parametrize(
    ("happens", "act"),
    [
        (lambda s: s, DaemonAct.NONE),
        (lambda s: s.see(daemons={}), DaemonAct.START),
        (lambda s: s.see(daemons={}).gap("launcher", "supervisor"), DaemonAct.NONE),
        (lambda s: s._replace(compiled=build(DESIRED._replace(daemon="other"))), DaemonAct.RESTART),
        (lambda s: s.see(daemons={"supervisor": s.observed.daemons["supervisor"]._replace(spec="")}), DaemonAct.NONE),
        (lambda s: s.file(DAEMON, changed=-5.0), DaemonAct.RESTART),  # read as it was edited
        (lambda s: s.file(DAEMON, changed=5.0), DaemonAct.NONE),  # edited since
    ],
    ids=["as wanted", "down", "unseen", "other settings", "unreadable", "read an edited file", "file edited since"],
)
def test_daemon(happens: Callable[[Scene], Scene], act: DaemonAct) -> None:
    seen = happens(scene())
    (daemon,) = diff(*seen.inputs).daemons
    assert daemon.act is act


def test_a_daemon_that_restarts_takes_everything_with_it() -> None:
    desired = world("a", "b")
    observed, inventory = as_applied(build(desired))
    unit = Unit("supervisor", "theirs", State.RUNNING, 9, 1.0)
    observed = observed._replace(units={**observed.units, ("supervisor", "theirs"): unit})
    changes = diff(build(desired._replace(daemon="other")).deployment, observed, inventory).changes
    assert {change.restarts for change in changes} == {("a", "b", "theirs")}
