"""Generated worlds, what a commit does to them, and what happens to a host behind the back of the passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from reconciler.core.desired import Compiled, Deployment, Policy
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import Mark, State
from reconciler.core.problem import Gap
from tests.core.host import DEPLOYMENT, FOREIGN, Host
from tests.core.managers import Keeping, Loaded, SimManager
from tests.core.world import Svc, World

NAMES = tuple("abcdefgh")
COMPONENTS = ("app", "db", "plain", "image")
LAUNCHERS = ("supervisor", "second", "systemd", "apptainer")
FILES = ("site.conf", "log.conf")
VERSIONS = ("1", "2", "3")
WIDE = Policy(1000, 100)  # removals are not what is looked at

_subsets = st.lists(st.sampled_from(NAMES), unique=True, max_size=2).map(tuple)


@st.composite
def services(draw: st.DrawFn, name: str) -> Svc:
    after = tuple(sorted(other for other in draw(_subsets) if other < name))
    return Svc(
        name,
        component=draw(st.sampled_from(COMPONENTS)),
        launcher=draw(st.sampled_from((*LAUNCHERS, "supervisor", "systemd"))),
        files=tuple(draw(st.lists(st.sampled_from(FILES), unique=True, max_size=2))),
        after=after,
        enabled=draw(st.sampled_from((True, True, True, True, False))),
        managed=draw(st.sampled_from((True, True, True, True, True, False))),
    )


@st.composite
def worlds(draw: st.DrawFn, policy: Policy = WIDE) -> World:
    names = sorted(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6)))
    return tidy(World(tuple(draw(services(name)) for name in names), {}, dict.fromkeys(FILES, "0"), policy=policy))


def tidy(world: World) -> World:
    """What validation asks for: `after` names services that exist, and names come once."""
    names = {svc.name for svc in world.services}
    kept = {svc.name: svc._replace(after=tuple(n for n in svc.after if n in names)) for svc in world.services}
    return world._replace(services=tuple(kept[name] for name in sorted(kept)))


# ---------------------------------------------------------------- commits


class Commit(NamedTuple):
    """One edit of the desired state, by the number of the service that it concerns."""

    what: str
    which: int
    value: str

    def to(self, world: World) -> World:
        if self.what == "version":
            component = COMPONENTS[self.which % len(COMPONENTS)]
            return world._replace(versions={**world.versions, component: self.value})
        if self.what == "file":
            return world._replace(files={**world.files, FILES[self.which % len(FILES)]: self.value})
        if self.what == "daemon":
            return world._replace(daemon=self.value)
        if self.what == "root":
            return world._replace(root=f"/r{self.value}")
        if self.what == "add":
            name = NAMES[self.which % len(NAMES)]
            return tidy(world._replace(services=(*world.services, Svc(name, env=self.value))))
        if not world.services:
            return world
        svc = world.services[self.which % len(world.services)]
        return tidy(self._on(world, svc))

    def _on(self, world: World, svc: Svc) -> World:
        if self.what == "remove":
            return world.without(svc.name)
        if self.what == "rename":
            new = svc.name[0] + self.value
            others = tuple(
                s._replace(after=tuple(new if n == svc.name else n for n in s.after)) for s in world.services
            )
            renamed = tuple(s._replace(name=new) if s.name == svc.name else s for s in others if s.name != new)
            return world._replace(services=renamed)
        changes: Mapping[str, Mapping[str, object]] = {
            "env": {"env": self.value},
            "option": {"option": self.value},
            "toggle": {"enabled": not svc.enabled},
            "hand over": {"managed": not svc.managed},
            "unit": {"unit": f"{svc.name}-{self.value}"},
            "launcher": {"launcher": LAUNCHERS[(self.which + int(self.value)) % len(LAUNCHERS)]},
            "after": {"after": tuple(n for n in NAMES[: int(self.value)] if n < svc.name)},
            "files": {"files": FILES[: int(self.value) % 3]},
        }
        return world.with_service(svc.name, **changes[self.what])


_ON_SERVICES = (
    *("env", "option", "toggle", "hand over", "unit", "launcher", "launcher", "after", "files", "remove", "rename"),
)
_whats = st.sampled_from(("version", "version", "file", "daemon", "root", "add", *_ON_SERVICES))
commits = st.builds(Commit, _whats, st.integers(0, 7), st.sampled_from(VERSIONS))
pushes = st.lists(commits, max_size=3).map(tuple)


def after_push(world: World, push: Sequence[Commit]) -> World:
    for commit in push:
        world = commit.to(world)
    return world


# ---------------------------------------------------------------- drift


class Drift(NamedTuple):
    """Something that happens on the host and that no pass did."""

    what: str
    which: int

    def befall(self, host: Host, compiled: Compiled) -> None:
        host.sleep(10.0)
        _DRIFTS[self.what](host, compiled, self.which)
        host.sleep(10.0)


def _pick(host: Host, which: int) -> tuple[SimManager, Loaded] | None:
    ours = sorted(((m, u) for m, u in host.all_loaded() if not u.foreign and m.answers), key=lambda pair: pair[1].unit)
    return ours[which % len(ours)] if ours else None


def _down(state: State) -> Callable[[Host, Compiled, int], None]:
    def befall(host: Host, compiled: Compiled, which: int) -> None:
        if picked := _pick(host, which):
            loaded = picked[1]
            host.processes.pop(loaded.pid, None)
            loaded.pid, loaded.state, loaded.since, loaded.next = 0, state, host.clock, None

    return befall


def _unload(host: Host, compiled: Compiled, which: int) -> None:
    _down(State.STOPPED)(host, compiled, which)
    if picked := _pick(host, which):
        del picked[0].loaded[picked[1].unit]


def _by_hand(host: Host, compiled: Compiled, which: int) -> None:
    """Somebody restarts a unit: it reads what stands on disk."""
    if picked := _pick(host, which):
        manager, loaded = picked
        host.processes.pop(loaded.pid, None)
        loaded.pid, loaded.state = 0, State.STOPPED
        host.begin(manager, loaded)


def _path(compiled: Compiled, which: int) -> str:
    paths = [file.path for file in compiled.deployment.files]
    return paths[which % len(paths)] if paths else ""


def _edit(host: Host, compiled: Compiled, which: int) -> None:
    path = _path(compiled, which)
    if path in host.files:
        content, mode, _ = host.files[path]
        host.write(path, content + b"# by hand", mode)


def _delete(host: Host, compiled: Compiled, which: int) -> None:
    host.files.pop(_path(compiled, which), None)


def _chmod(host: Host, compiled: Compiled, which: int) -> None:
    path = _path(compiled, which)
    if path in host.files:
        host.write(path, host.files[path][0], 0o666)


def _edit_and_restart(host: Host, compiled: Compiled, which: int) -> None:
    _edit(host, compiled, which)
    _by_hand(host, compiled, which // 3)


def _stray(host: Host, compiled: Compiled, which: int) -> None:
    """A second process of a service, or one of a service that git never had, which no launcher keeps."""
    names = [*(service.name for service in compiled.deployment.services), "zombie"]
    host.spawn(Mark(DEPLOYMENT, compiled.deployment.root, names[which % len(names)], "old", "old", "0", "app", 0))


def _orphan(host: Host, compiled: Compiled, which: int) -> None:
    """A unit that an older release of the desired state had, described on disk, running or not."""
    for manager in map(host.manager, compiled.deployment.managers):
        root, unit = compiled.deployment.root, "orphan"
        owner = {"deployment": DEPLOYMENT, "root": root, "service": unit}
        shim = {**owner, "launch": "old", "spec": "old", "version": "0", "component": "app"}
        description = {**owner, "unit": unit, "launch": "old", "shim": f"{root}/bin/{unit}"}
        host.write(f"{root}/bin/{unit}", json.dumps(shim).encode(), 0o700)
        if manager.folder:
            host.write(f"{manager.folder}/{unit}", json.dumps(description).encode(), 0o600)
        if manager.answers and unit not in manager.loaded:
            raw = host.file_of(manager, unit)
            manager.loaded[unit] = Loaded(unit, description, raw=raw)
            if manager.keeping is Keeping.ACCOUNT:
                manager.enabled.add(unit)
            if which % 2:
                host.begin(manager, manager.loaded[unit])
        return


def _foreign(host: Host, compiled: Compiled, which: int) -> None:
    """Somebody else's program in the same manager; its name may be one that git wants some day."""
    for manager in map(host.manager, compiled.deployment.managers):
        unit = (*NAMES, "theirs")[which % 9]
        taken = unit in host.descriptions(manager) or unit in manager.loaded
        if manager.answers and not taken:
            manager.foreign.add(unit)
            manager.loaded[unit] = Loaded(unit, {}, foreign=True)
            host.begin(manager, manager.loaded[unit])
        return


def _daemon_killed(host: Host, compiled: Compiled, which: int) -> None:
    """With SIGKILL: what it ran goes on without it; or the whole host went down."""
    for manager in host.managers.values():
        if manager.pid:
            host.stop_manager(manager, children=bool(which % 2))


def _daemon_other(host: Host, compiled: Compiled, which: int) -> None:
    """It was started from another configuration."""
    for manager in host.managers.values():
        process = host.processes.get(manager.pid)
        if process and process.mark:
            host.processes[manager.pid] = process._replace(mark=process.mark._replace(spec="other"))


def _rendered_only(host: Host, compiled: Compiled, which: int) -> None:
    """Processes that run an older specification than the files on disk say."""
    for _, loaded in host.all_loaded():
        process = host.processes.get(loaded.pid)
        if process and process.mark and process.mark.service and ord(loaded.unit[0]) % 2 == which % 2:
            host.processes[process.pid] = process._replace(mark=process.mark._replace(spec="older", version="0"))


def _old_description(host: Host, compiled: Compiled, which: int) -> None:
    """The launcher runs a unit from a description that is no longer the one on disk."""
    if picked := _pick(host, which):
        loaded = picked[1]
        loaded.description = {**loaded.description, "launch": "older"}
        loaded.raw = b"older"
        _by_hand(host, compiled, which)


def _unmarked(host: Host, compiled: Compiled, which: int) -> None:
    """A unit of ours that was started past its shim."""
    picked = _pick(host, which)
    if picked and (process := host.processes.get(picked[1].pid)):
        host.processes[process.pid] = process._replace(mark=FOREIGN)


def _uninstall(host: Host, compiled: Compiled, which: int) -> None:
    for install in sorted(host.installs)[which % 2 :]:
        del host.installs[install]


def _replaced(host: Host, compiled: Compiled, which: int) -> None:
    """Somebody has put another build into the place of one."""
    for install in sorted(host.installs)[which % 2 :]:
        host.built[install] += 1


def _on_account(host: Host, which: int) -> tuple[SimManager, str] | None:
    """A unit of ours that the account's manager keeps."""
    found = sorted(
        (loaded.unit, manager.launcher, manager)
        for manager, loaded in host.all_loaded()
        if manager.keeping is Keeping.ACCOUNT and not loaded.foreign
    )
    return (found[which % len(found)][2], found[which % len(found)][0]) if found else None


def _masked(host: Host, compiled: Compiled, which: int) -> None:
    if picked := _on_account(host, which):
        picked[0].masked.add(picked[1])


def _disabled(host: Host, compiled: Compiled, which: int) -> None:
    if picked := _on_account(host, which):
        picked[0].enabled.discard(picked[1])


def _dropin(host: Host, compiled: Compiled, which: int) -> None:
    """Written, and perhaps in force already."""
    if picked := _on_account(host, which):
        manager, unit = picked
        manager.dropins.add(unit)
        loaded = manager.loaded[unit]
        if which % 2 and loaded.pid and unit not in manager.masked:
            host.processes.pop(loaded.pid)
            loaded.pid, loaded.state = 0, State.STOPPED
            host.begin(manager, loaded)


def _not_reloaded(host: Host, compiled: Compiled, which: int) -> None:
    """The manager goes by an older file than the one that stands there."""
    if picked := _on_account(host, which):
        picked[0].loaded[picked[1]].raw += b"# older"


def _reloaded(host: Host, compiled: Compiled, which: int) -> None:
    """The manager has read what somebody wrote."""
    if picked := _on_account(host, which):
        manager, unit = picked
        path = f"{manager.folder}/{unit}"
        if path in host.files:
            host.write(path, host.files[path][0] + b"# by hand", host.files[path][1])
        host.reload(manager)


def _reboot(host: Host, compiled: Compiled, which: int) -> None:
    host.reboot()


_DRIFTS: Mapping[str, Callable[[Host, Compiled, int], None]] = {
    "stopped": _down(State.STOPPED),
    "exited": _down(State.EXITED),
    "fatal": _down(State.FATAL),
    "unloaded": _unload,
    "restarted": _by_hand,
    "edited": _edit,
    "deleted": _delete,
    "chmod": _chmod,
    "edited and restarted": _edit_and_restart,
    "stray": _stray,
    "orphan": _orphan,
    "foreign": _foreign,
    "daemon killed": _daemon_killed,
    "daemon other": _daemon_other,
    "rendered only": _rendered_only,
    "old description": _old_description,
    "unmarked": _unmarked,
    "uninstalled": _uninstall,
    "replaced": _replaced,
    "masked": _masked,
    "disabled": _disabled,
    "drop-in": _dropin,
    "not reloaded": _not_reloaded,
    "edited and reloaded": _reloaded,
    "reboot": _reboot,
}
drifts = st.lists(st.builds(Drift, st.sampled_from(sorted(_DRIFTS)), st.integers(0, 30)), max_size=3).map(tuple)


# ---------------------------------------------------------------- what is remembered, and what cannot be seen

memories = st.sampled_from(("right", "right", "lost", "partly", "stale"))


def remembered(how: str, now: Inventory, earlier: Inventory) -> Inventory:
    """What is left of the inventory."""
    if how == "lost":
        return Inventory()
    if how == "stale":
        return earlier
    if how == "partly":
        kept = dict(list(now.services.items())[::2])
        return now._replace(services=kept, files=dict(list(now.files.items())[::2]), pending={})
    return now


def owned(service: str, unit: str = "", launcher: str = "supervisor", **parts: Any) -> Owned:
    return Owned(unit or service, launcher, "old", "old", "0")._replace(**parts)


@st.composite
def gaps(draw: st.DrawFn) -> Callable[[Deployment], tuple[Gap, ...]]:
    """Which gaps there are, to be told of the deployment that is looked at."""
    picks = draw(st.lists(st.tuples(st.sampled_from(("launcher", "file", "install", "process")), st.integers(0, 40))))

    def made(desired: Deployment) -> tuple[Gap, ...]:
        subjects = {
            "launcher": list(LAUNCHERS),
            "file": [file.path for file in desired.files],
            "install": [install.id for install in desired.installs],
            "process": [service.unit for service in desired.services],
        }
        found = {
            Gap(scope, subjects[scope][which % len(subjects[scope])], "not seen")
            for scope, which in picks
            if subjects[scope]
        }
        return tuple(sorted(found))

    return made
