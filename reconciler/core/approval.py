"""What waits until a person approves it, and which plan that is. Pure.

A gate stands before what git says anew (`sync: manual`), before drift (`policy.self_heal: false`), before removals
(`policy.prune: confirm`), or before a service that was adopted as something else than git says (`byhand.py`). What
waits behind the gates of a deployment is one plan, with an id: a digest of what git wants of the deployment, of the
steps, and of the processes and files that those were decided from. The name of the commit is no part of it: the commit
that approves a plan is another one, and wants the same. So an approval is bound to the state that the plan was made
from, to what git wants, and to the history that both commits stand in.

What was approved and begun may be finished: the rest of it is another plan, whose steps are among those of the
approved one and stand on the same ground, but for processes that the plan itself has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from reconciler.core.byhand import is_asked_for
from reconciler.core.change import Change, Hold
from reconciler.core.desired import Approval, Deployment, Manager, Probe, Prune, Role
from reconciler.core.digest import digest_of
from reconciler.core.inventory import Adopted, Inventory
from reconciler.core.observed import Observed, Shut, daemon_key
from reconciler.core.plan import Action, Plan, Step

SHORT = 8  # letters of an id that people are shown, as of a commit
CLOSED = "waits for approval"


class Item(NamedTuple):
    """One step that waits, and what it was decided from."""

    step: str  # its id
    service: str  # empty where it is for several
    pid: int  # of the process that it would end; 0: none
    before: str  # digest of the file that it would replace; empty: none


class Waiting(NamedTuple):
    """The plan that waits. `lines` tell it to people."""

    id: str
    wants: str  # digest of what git wants of the deployment
    items: tuple[Item, ...]
    lines: tuple[str, ...]


class Gate(NamedTuple):
    """What a pass has found of the plan that waits in a deployment."""

    waiting: Waiting
    approval: Approval | None = None  # that lets it through
    rest_of: str = ""  # id of the plan that was approved and begun, where this is what is left of it
    told: tuple[str, ...] = ()  # approvals that do not count, and why

    @property
    def id(self) -> str:
        return self.waiting.id


# ---------------------------------------------------------------- gates


def is_gated(desired: Deployment, inventory: Inventory) -> bool:
    """Whether a person may have to approve anything of it."""
    policy = desired.policy
    ours = policy.manual or not policy.self_heal or policy.prune is Prune.CONFIRM or any(desired.syncs.values())
    return ours or any(owned.manual for owned in inventory.services.values()) or any(_asked_for(desired, inventory))


def _asked_for(desired: Deployment, inventory: Inventory) -> Iterator[Adopted]:
    if inventory.adopted:
        adopted = ((inventory.adopted.get(service.name), service) for service in desired.services)
        yield from (one for one, service in adopted if one is not None and is_asked_for(one, service))


def undecided(desired: Deployment, observed: Observed, inventory: Inventory) -> frozenset[str]:
    """Services that run by hand as something else than git says, and nobody has decided on that. One that is down is
    started as git says it."""
    asked = {(one.launcher, one.unit) for one in _asked_for(desired, inventory)}
    up = {name for name in asked if (unit := observed.units.get(name)) is None or not unit.state.down}
    return frozenset(name for name, one in inventory.adopted.items() if (one.launcher, one.unit) in up)


class Aside(NamedTuple):
    """What has gates of its own, whatever git says of it."""

    back: frozenset[str] = frozenset()  # wanted as they were before something failed
    daemons: frozenset[str] = frozenset()  # launchers whose daemon is wanted so
    undecided: frozenset[str] = frozenset()  # they run by hand as something else than git says


NOTHING_ASIDE = Aside()


def closed(
    desired: Deployment, inventory: Inventory, why: str, aside: Aside = NOTHING_ASIDE
) -> dict[str, Shut | None]:
    """What holds, by service that says so itself, and "" for all others. Whoever approved what failed has approved the
    way back: nobody is asked for that."""
    kept = {service.name for service in desired.services} | desired.disabled.keys()
    manual = {name: True for name, owned in inventory.services.items() if owned.manual and name not in kept}
    manual |= desired.syncs
    heals = desired.policy.self_heal
    gates = {name: _gate(desired, why, manual=said, heals=heals) for name, said in sorted(manual.items())}
    going = (manager for manager in desired.managers if manager.launcher in aside.daemons)
    tried = {manager.launcher for manager in going if _is_tried_anew(manager, desired, inventory)}
    launchers = {service.name: service.launcher for service in desired.services}
    for name in sorted(aside.back):
        mends = heals or launchers.get(name) in tried or _is_tried(desired, inventory, name)
        gates[name] = _gate(desired, why, manual=False, heals=mends)
    for name in sorted(aside.daemons):
        gates[daemon_key(name)] = _gate(desired, why, manual=False, heals=heals or name in tried)
    gates |= dict.fromkeys(sorted(aside.undecided), Shut(why, holds_all=True, gate=True))
    return {"": _gate(desired, why, manual=desired.policy.manual, heals=heals), **gates}


def _gate(desired: Deployment, why: str, *, manual: bool, heals: bool) -> Shut | None:
    confirm = desired.policy.prune is Prune.CONFIRM
    shut = Shut(why, not heals, gate=True, holds_changes=manual, holds_removals=manual or confirm)
    return shut if shut.holds_all or shut.holds_changes or shut.holds_removals else None


def _is_tried(desired: Deployment, inventory: Inventory, service: str) -> bool:
    """What it starts from was written anew since it was applied last, and it did not start: that is no drift."""
    shims = (file for file in desired.files if file.role is Role.SHIM and service in file.services)
    return any(inventory.files.get(file.path, file.digest) != file.digest for file in shims)


def _is_tried_anew(manager: Manager, desired: Deployment, inventory: Inventory) -> bool:
    """What the daemon starts from is to be written anew: that it is down is no drift."""
    named = {value for _, value in manager.address}
    starts = (file for file in desired.files if file.role is Role.DAEMON and file.path in named)
    return any(inventory.files.get(file.path, file.digest) != file.digest for file in starts)


# ---------------------------------------------------------------- the plan that waits


def waiting(git: Deployment, gated: Plan, opened: Plan, after: str) -> Waiting | None:
    """What the gates keep `opened` from, which is the plan without them. `git`: what git wants, whatever of it has
    gone back. `after`: the plan that was carried out last; so one that comes again is another one, and is approved
    anew."""
    held = {change.service for change in gated.diff.changes if change.held is Hold.APPROVAL}
    if not held and not gated.diff.waiting:
        return None
    done = {step.id for step in gated.steps}
    items = tuple(
        Item(step.id, step.service, step.running.pid if step.running else 0, step.before)
        for step in opened.steps
        if step.action is not Action.CHECK and (step.service in held or step.id not in done)
    )
    if not items:
        return None  # it would do nothing: what is blocked for another reason is told with that one
    changes = [change for change in opened.diff.changes if change.service in held or change.renamed_from in held]
    told = tuple(_lines(changes, [step for step in opened.steps if step.id in {item.step for item in items}]))
    wants = wanted(git)
    what = [[change.service, change.kind.value, change.version, change.wanted] for change in changes]
    name = digest_of([git.site, git.environment, wants, items, sorted(held), what, after])
    return Waiting(name, wants, items, told)


def wanted(desired: Deployment) -> str:
    """Identity of what git wants of a deployment, whichever commit says it, and whatever it says of passes.

    What a release adds to a deployment is no part of it where git says nothing of that: else an upgrade would have
    whoever has approved a plan approve it once more.
    """
    data = desired._asdict() | {"commit": "", "policy": "", "approvals": "", "syncs": "", "guards": ""}
    del data["traces"]  # that launchers leave: it follows from the rest
    data["watches"] = [one._replace(probes=tuple(map(_said, one.probes))) for one in desired.watches]
    data["verifies"] = [one._replace(probe=_said(one.probe)) for one in desired.verifies]
    data["disabled"] = sorted(desired.disabled)
    data["installs"] = [(install.id, install.digest) for install in desired.installs]  # whose sources may hold a login
    data["secrets"] = [(use.secret.reference, *use[1:]) for use in desired.secrets]  # on whatever line they are written
    data["gaps"] = [(gap.scope, gap.subject) for gap in desired.gaps]
    return digest_of(data)


def _said(probe: Probe) -> Probe:
    return probe if probe.ca else probe[: Probe._fields.index("ca")]  # type: ignore[return-value]


def _lines(changes: Iterable[Change], steps: Iterable[Step]) -> Iterator[str]:
    for change in changes:
        moved = change.version and change.wanted and change.version != change.wanted
        version = f"{change.version} -> {change.wanted}" if moved else change.wanted or change.version
        yield " ".join(filter(None, (change.kind.sign, change.service, version, "; ".join(change.reasons))))
    for step in steps:
        if not step.service:
            yield f"{step.action.value} {step.target}"


# ---------------------------------------------------------------- what has changed since


def is_rest(approved: Sequence[Item], now: Sequence[Item]) -> bool:
    """Whether what waits now is what is left of a plan that was approved and begun."""
    known = {_same_step(item.step): item for item in approved}
    return all(_is_left(known.get(_same_step(item.step)), item) for item in now)


def _is_left(approved: Item | None, item: Item) -> bool:
    """Of the process that it was to end, nothing is left; or it was not come to yet."""
    return approved is not None and item.before == approved.before and item.pid in (0, approved.pid)


def _same_step(step: str) -> str:
    """What was to be restarted and is down by now is started."""
    return f"start:{step.removeprefix('restart:')}" if step.startswith("restart:") else step


def changed(old: Sequence[Item], new: Sequence[Item]) -> tuple[str, ...]:
    """What the host shows otherwise than when a plan was made, in words."""
    before, now = ({_same_step(item.step): item for item in items} for items in (old, new))
    words = [_differs(before[step], now[step]) for step in before if step in now]
    words += [f"no longer to be done: {before[step].step}" for step in before.keys() - now.keys()]
    words += [f"to be done besides: {now[step].step}" for step in now.keys() - before.keys()]
    return tuple(sorted(filter(None, words)))


def _differs(old: Item, new: Item) -> str:
    what = old.service or old.step
    if old.pid != new.pid:
        runs = f"runs as pid {new.pid}" if new.pid else "does not run"
        return f"{what} {runs}, and " + (f"was pid {old.pid} then" if old.pid else "did not run then")
    return f"{old.step.partition(':')[2]} was changed" if old.before != new.before else ""

