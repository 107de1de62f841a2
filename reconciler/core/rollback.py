"""A specification that failed is held back: its service is wanted as it last was when it was healthy. Pure.

Nothing else knows of rollbacks: the former specification is laid over what git wants, the diff finds what differs
from it, and the next pass finds nothing. What cannot be had apart goes back together: services that read a file, run
an install or are run by a daemon that is not the same in both commits. As long as git wants the specification that
failed, it is held back; another one is tried at once, whatever made it another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from reconciler.core.desired import Deployment, Service
from reconciler.core.digest import digest_of
from reconciler.core.observed import Verdict, Word
from reconciler.core.overlay import changed_daemons, overlay, together


class Spec(NamedTuple):
    """One specification of a service, and since when something is known of it."""

    identity: str  # of all that is tried with it: what it is started from, how it is kept, how it is watched
    spec: str
    launch: str
    version: str
    commit: str
    since: float  # seconds since the epoch
    why: str = ""  # it failed
    install: str = ""  # id of what it runs from: while it may be gone back to, that is better kept
    daemon: str = ""  # the specification of its launcher's daemon, where it has one


class Record(NamedTuple):
    """What is remembered of a service."""

    proved: Spec | None = None  # the last that was healthy
    tried: Spec | None = None  # that has been begun, and is not known to be healthy yet
    failed: Spec | None = None  # that git wants, and that is not tried again


State = Mapping[str, Record]  # by service


class Stage(Enum):
    """How far a specification has come that git wants."""

    PROGRESSING = "progressing"  # it has not proved healthy yet
    APPLIED = "applied"
    ROLLED_BACK = "rolled-back"  # it failed; what was healthy before is wanted in its place
    FAILED = "failed"  # it failed, and nothing takes its place yet, or at all

    @property
    def is_failure(self) -> bool:
        """A pass that meets it ends with exit status 1."""
        return self in (Stage.ROLLED_BACK, Stage.FAILED)


class Rollout(NamedTuple):
    """Where a service stands."""

    stage: Stage
    wanted: str = ""  # the version that git wants
    runs: str = ""  # the version that is wanted in its place
    commit: str = ""  # that brought what failed
    since: float = 0.0  # seconds since the epoch: when it failed
    why: str = ""  # it failed
    stuck: str = ""  # why nothing takes its place yet, or at all
    beside: str = ""  # it did not fail itself: it goes back with this one


class Overlay(NamedTuple):
    """Which services are wanted as they were at which commit."""

    commit: str
    names: frozenset[str]
    daemons: frozenset[str] = frozenset()  # launchers whose daemon is wanted as it was then, too


class Held(NamedTuple):
    """What is wanted while specifications that failed are held back."""

    deployment: Deployment
    overlays: tuple[Overlay, ...] = ()
    stuck: Mapping[str, str] = {}  # by service, why it cannot go back

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(overlay.names for overlay in self.overlays))


Former = Callable[[str], Deployment | None]  # what git wanted at a commit; None where that cannot be had any more


# ---------------------------------------------------------------- what is remembered


def unknown(desired: Deployment) -> frozenset[str]:
    """Services whose specification cannot be told now: a secret of theirs cannot be had."""
    closed = {gap.subject for gap in desired.gaps}
    return frozenset(name for file in desired.files if closed and file.path in closed for name in file.services)


def specs(desired: Deployment, now: float) -> dict[str, Spec]:
    """The specification that git wants of each service that is to prove healthy, where that can be told."""
    guarded = desired.guarded - unknown(desired)
    watches = {watch.service: watch for watch in desired.watches}
    daemons = {manager.launcher: manager.spec for manager in desired.managers}
    tried = Spec("", "", "", "", desired.commit, now)
    return {
        service.name: _spec(
            tried._replace(daemon=daemons.get(service.launcher, "")), service, str(watches.get(service.name, ""))
        )
        for service in desired.services
        if service.name in guarded
    }


def _spec(tried: Spec, service: Service, watch: str) -> Spec:
    watch = watch.replace(", ca=''", "")  # as a release said it that knew of none: what failed is not tried once more
    identity = digest_of([service.spec, service.launch, service.launcher, service.unit, watch])
    spec, launch, version = service.spec, service.launch, service.version
    return tried._replace(identity=identity, spec=spec, launch=launch, version=version, install=service.install)


def begun(state: State, wanted: Mapping[str, Spec], names: Iterable[str]) -> State:
    """Before anything is done: which specifications are about to be tried. A killed pass leaves them known."""
    found = dict(state)
    for name in names:
        record = found.get(name, Record())
        if name in wanted and not _is(record.proved, wanted[name]) and not _is(record.tried, wanted[name]):
            found[name] = record._replace(tried=wanted[name])
    return found


def judged(
    state: State,
    wanted: Mapping[str, Spec],
    verdicts: Mapping[str, Verdict],
    together: Mapping[str, frozenset[str]],
    now: float,
    *,
    unknown: frozenset[str] = frozenset(),
) -> State:
    """What is known once services were looked at. `verdicts`: of those that run what is wanted, or could not be
    started with it; `together`: by service, those that must all be healthy for one of them to count. Nothing is
    forgotten of those whose specification is `unknown` now."""
    found = {name: record for name, record in state.items() if name in unknown}
    # One that still counts as healthy although it has just answered badly proves nothing.
    healthy = {name for name, told in verdicts.items() if told.word is Word.HEALTHY and not told.message}
    for name, record in state.items():
        if name in wanted:
            found[name] = _current(record, wanted[name])
    unproved = {name for name, spec in wanted.items() if not _is(found.get(name, Record()).proved, spec)}
    for name, told in verdicts.items():
        if name not in unproved:
            continue
        record, spec = found.get(name, Record()), wanted[name]
        others = together.get(name, frozenset()) & unproved
        if name in healthy and others <= healthy:
            found[name] = Record(proved=spec._replace(since=now))
        elif told.word is Word.DEGRADED and _is(record.tried, spec) and record.proved is not None:
            found[name] = record._replace(tried=None, failed=spec._replace(since=now, why=told.message))
    return found


def _current(record: Record, wanted: Spec) -> Record:
    """Without what was tried, or failed, and is not wanted any more."""
    if _is(record.proved, wanted):
        return Record(proved=_with_daemon(record.proved, wanted))
    tried = _with_daemon(record.tried, wanted) if _is(record.tried, wanted) else None
    failed = _with_daemon(record.failed, wanted) if _is(record.failed, wanted) else None
    return Record(record.proved, tried, failed)


def _with_daemon(one: Spec | None, wanted: Spec) -> Spec | None:
    return one._replace(daemon=wanted.daemon) if one is not None else None


def _is(one: Spec | None, wanted: Spec) -> bool:
    """Another daemon is another specification: with it, all that it runs begins anew. An earlier release has noted
    none."""
    return one is not None and one.identity == wanted.identity and one.daemon in ("", wanted.daemon)


def failing(state: State, wanted: Mapping[str, Spec]) -> dict[str, Spec]:
    """Services of which git wants a specification that failed, and how it did."""
    found = {name: state.get(name, Record()).failed for name in wanted}
    return {name: failed for name, failed in found.items() if failed is not None and _is(failed, wanted[name])}


# ---------------------------------------------------------------- who goes back with whom


def hold_back(wanted: Deployment, tried: Mapping[str, Spec], state: State, former: Former) -> Held:
    """What is wanted while the specifications that failed are held back, for each service where that can be.

    `tried`: what git wants, as `specs` gives it.
    """
    failed = failing(state, tried)
    if not failed:
        return Held(wanted)
    units: list[Overlay] = []
    stuck: dict[str, str] = {}
    for name in sorted(failed):
        if any(name in unit.names for unit in units):
            continue
        found = _unit(wanted, frozenset({name}), state, former)
        if isinstance(found, Overlay):
            units.append(found)
        else:
            stuck[name] = found
    units, refused = _disjoint(wanted, units, state, former)
    stuck |= {name: why for name, why in refused.items() if name in failed}
    deployment = wanted
    for unit in units:
        before = former(unit.commit)
        assert before is not None  # noqa: S101 - a unit was made from it
        deployment = overlay(deployment, before, unit.names, unit.daemons)
    return Held(deployment, tuple(units), stuck)


def _disjoint(
    wanted: Deployment, units: Sequence[Overlay], state: State, former: Former
) -> tuple[list[Overlay], dict[str, str]]:
    """Units that have a service in common go back as one, to a commit that suits them all."""
    found: list[Overlay] = []
    refused: dict[str, str] = {}
    for unit in units:
        met = [other for other in found if other.names & unit.names]
        found = [other for other in found if other not in met]
        names = unit.names.union(*(other.names for other in met))
        joined = _unit(wanted, names, state, former) if met else unit
        if isinstance(joined, Overlay):
            found.append(joined)
        else:
            refused |= dict.fromkeys(names, joined)
    return found, refused


def _unit(wanted: Deployment, names: frozenset[str], state: State, former: Former) -> Overlay | str:
    """Some services and all that have to go back with them, at the newest commit that suits; or why there is none."""
    commits = _candidates(wanted, names, state, former)
    if not commits:
        return "nothing of it has been healthy before"
    why = ""
    for commit, exactly in [*((one, True) for one in commits), *((one, False) for one in commits)]:
        before = former(commit)
        if before is None:
            why = why or f"what git wanted at {commit[:8]} cannot be had any more"
            continue
        # With its launcher's daemon as it was then, or else under the one that git wants now.
        for daemons in dict.fromkeys((changed_daemons(wanted, before, names), frozenset[str]())):
            group = together(wanted, before, names, daemons)
            problem = _against(wanted, before, group, state, exactly=exactly)
            problem = problem or _of_daemon(wanted, group, state, daemons)
            if not problem:
                return Overlay(commit, group, daemons)
            why = why or problem
    return why


def _candidates(wanted: Deployment, names: frozenset[str], state: State, former: Former) -> list[str]:
    """Commits at which some of them, or of those that go back with them, were healthy; the newest first."""
    since: dict[str, float] = {}
    left = [names]
    while left:
        proved = [record.proved for name in left.pop() if (record := state.get(name)) is not None]
        for spec in proved:
            if spec is not None and spec.commit not in since:
                before = former(spec.commit)
                left += [together(wanted, before, names)] if before is not None else []
            if spec is not None:
                since[spec.commit] = max(spec.since, since.get(spec.commit, 0.0))
    return sorted(since, key=lambda commit: (-since[commit], commit))


def _against(
    wanted: Deployment, before: Deployment, names: frozenset[str], state: State, *, exactly: bool
) -> str:
    """What keeps some services from being wanted as they were at a commit.

    `exactly`: to the letter. Else a service may be as its commit makes it today, with a secret that was rotated or a
    reconcile that is newer since: so it would run if what failed had never come.
    """
    if before.root != wanted.root:
        return f"it was below {before.root} then"
    services = {service.name: service for service in before.services}
    managers = {manager.launcher for manager in wanted.managers}
    replicas = {name for one in wanted.sets for name in one.services}
    for name in sorted(names):
        was, record = services.get(name), state.get(name, Record())
        if was is None and name in replicas and record.proved is None:
            continue  # there were fewer of them
        if was is None:
            return f"{name}, which shares what changed, was not there at {before.commit[:8]}"
        if was.launcher not in managers:
            return f"{name} had launcher {was.launcher} at {before.commit[:8]}, which nothing has any more"
        if not (_is_as_proved(was, record) or (not exactly and _differs_by_today(was, record, before.commit))):
            return (
                f"{name} is not what was healthy at {before.commit[:8]} any more: a secret, this host or reconcile "
                "itself is another one since"
            )
    return ""


def _is_as_proved(was: Service, record: Record) -> bool:
    return record.proved is None or (was.spec, was.launch) == (record.proved.spec, record.proved.launch)


def _differs_by_today(was: Service, record: Record, commit: str) -> bool:
    """It is what the commit says at which it was healthy, and not the very thing that failed."""
    failed = record.failed
    itself = failed is not None and (was.spec, was.launch) == (failed.spec, failed.launch)
    return record.proved is not None and record.proved.commit == commit and not itself


def _of_daemon(wanted: Deployment, names: frozenset[str], state: State, daemons: frozenset[str]) -> str:
    """Where only the daemon is another one than when a service was healthy, without that one nothing would go back."""
    now = {manager.launcher: manager.spec for manager in wanted.managers if manager.launcher not in daemons}
    for service in wanted.services:
        record = state.get(service.name, Record())
        proved, daemon = record.proved, now.get(service.launcher, "")
        if service.name not in names or record.failed is None or proved is None or not (proved.daemon and daemon):
            continue
        if proved.daemon != daemon and (proved.spec, proved.launch) == (record.failed.spec, record.failed.launch):
            return f"{service.launcher} cannot be what it was when {service.name} was healthy"
    return ""


def sharing(desired: Deployment) -> dict[str, frozenset[str]]:
    """By service, all that it proves healthy together with: those of its set, and those that share a file with it."""
    bonds = [frozenset(file.services) for file in desired.files if len(file.services) > 1]
    bonds += [frozenset(one.services) for one in desired.sets]
    found: dict[str, frozenset[str]] = {}
    for bond in bonds:
        joined = bond.union(*(found.get(name, frozenset()) for name in bond))
        found |= dict.fromkeys(joined, joined)
    return found


# ---------------------------------------------------------------- what is told


def told(wanted: Deployment, tried: Mapping[str, Spec], held: Held, state: State) -> dict[str, Rollout]:
    """Where each service stands that is to prove healthy, and those that went back beside one of them."""
    failed = failing(state, tried)
    found = {name: _told(name, spec, state.get(name, Record()), failed, held) for name, spec in tried.items()}
    runs = {service.name: service.version for service in held.deployment.services}
    versions = {service.name: service.version for service in wanted.services}
    for unit in held.overlays:
        first = next(name for name in sorted(unit.names) if name in failed)
        for name in sorted(unit.names):
            why = failed.get(name, failed[first])
            beside = "" if name in failed else first
            found[name] = Rollout(
                Stage.ROLLED_BACK, versions[name], runs.get(name, ""), why.commit, why.since, why.why, beside=beside
            )
    return found


def _told(name: str, spec: Spec, record: Record, failed: Mapping[str, Spec], held: Held) -> Rollout:
    if name in failed:
        why = failed[name]
        reason = held.stuck.get(name, "")
        stuck = f"it cannot go back: {reason}" if reason else "the next pass goes back to what was healthy"
        return Rollout(Stage.FAILED, spec.version, "", why.commit, why.since, why.why, stuck)
    stage = Stage.APPLIED if _is(record.proved, spec) else Stage.PROGRESSING
    return Rollout(stage, spec.version, spec.version if stage is Stage.APPLIED else "")
