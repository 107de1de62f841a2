"""What is ours and git no longer wants: found, recognised as a rename, and held where it is too much at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.core.change import Act, Change, Hold, Kind, OldUnit, Running, UnitName
from reconciler.core.digest import digest_of
from reconciler.core.observed import State
from reconciler.core.view import View


def find_orphans(view: View) -> Mapping[str, tuple[OldUnit, ...]]:
    """By service, the units of ours that no service in git has. What is provably somebody else's is left out."""
    found: dict[str, list[OldUnit]] = {}
    known = {*(UnitName(*name) for name in view.observed.units), *(UnitName(*name) for name in view.observed.claimed)}
    for name in sorted(known - view.wanted_units.keys()):
        if view.by_hand.rests(name):
            continue
        if view.has_manager(name.launcher) and not view.is_others(name) and not view.is_foreign(view.unit(name)):
            found.setdefault(_service_of(view, name), []).append(OldUnit(*name, _running(view, name)))
    return {service: tuple(names) for service, names in found.items()}


def _running(view: View, name: UnitName) -> Running | None:
    process = view.process(view.unit(name))
    return Running(process.pid, process.started) if process else None


def _service_of(view: View, name: UnitName) -> str:
    process = view.process(view.unit(name))
    if process is not None and process.mark is not None and process.mark.service:
        return process.mark.service
    return view.owned_units.get(name, name.name)


def unwanted(view: View, orphans: Mapping[str, tuple[OldUnit, ...]]) -> Iterator[Change]:
    """One change for every service of ours that git no longer has: running, left running, or once applied."""
    names = {*orphans, *view.strays, *view.inventory.services} - view.services.keys() - view.others.keys()
    for service in sorted(names):
        yield _removal(view, service, orphans.get(service, ()))


def _removal(view: View, service: str, units: tuple[OldUnit, ...]) -> Change:
    owned = view.inventory.services.get(service)
    main = units[0].unit if units else UnitName(owned.launcher, owned.unit) if owned else UnitName("", service)
    unit = view.unit(main)
    process = view.process(unit)
    mark = process.mark if process else None
    blind = unseen(view, service, units) or view.blind.get(main.launcher)
    return Change(
        service=service,
        kind=Kind.BLOCKED if blind else Kind.REMOVE,
        act=Act.REMOVE if units and not blind else Act.NONE,
        reasons=(f"cannot be seen: {blind}",) if blind else (_why_removed(view, service), *_forgotten(view, service)),
        unit=main,
        group="",
        component=mark.component if mark else "",
        version=mark.version if mark else view.last_version(service),
        wanted="",
        state=unit.state,
        running=Running(process.pid, process.started) if process else None,
        replaces=() if blind else units[1:],
        strays=() if blind else view.strays.get(service, ()),
        detail=unit.detail,
        guards=owned.guards if owned else (),
    )


def unseen(view: View, service: str, units: Sequence[OldUnit]) -> str:
    """Why what a service has run under until now cannot be seen; empty where all of it can."""
    unseen_units = (view.blind[unit.launcher] for unit in units if unit.launcher in view.blind)
    return next(unseen_units, "") or view.unseen_keeper(service)


def _forgotten(view: View, service: str) -> tuple[str, ...]:
    """Nothing remembers what was applied, so neither what was to stand before its end."""
    known = service in view.inventory.services or service in view.desired.guards
    return () if known else ("whether a guard stood before its removal is not remembered",)


def _why_removed(view: View, service: str) -> str:
    disabled, whose = view.desired.disabled.get(service), _scaled_down(view, service)
    if whose:
        return f"git wants fewer replicas of {whose}"
    return f"disabled in {disabled}" if disabled else "git no longer has it"


def _scaled_down(view: View, service: str) -> str:
    """Of which replicas it was one, where git still has them, and fewer by now."""
    whose, _, number = service.rpartition("-")
    return whose if number.isdecimal() and any(one.name == whose for one in view.desired.sets) else ""


def _is_meant(view: View, service: str) -> bool:
    """Git names what goes: by `enabled: false`, or by how many replicas there are to be."""
    return service in view.desired.disabled or bool(_scaled_down(view, service))


# ---------------------------------------------------------------- renames


def join_renames(view: View, changes: Sequence[Change]) -> list[Change]:
    """A removal and a creation that differ in nothing but the name are told, and done, as one change."""
    begun = [change for change in changes if _is_new(view, change)]
    if not begun:
        return list(changes)
    gone = _gone_by_likeness(view, changes)
    joined: dict[str, Change] = {}
    dropped: set[str] = set()
    for new in begun:
        fields = {key: field.value for key, field in view.fields[new.service].items()}
        matches = gone.get(_likeness(fields, new.service, new.unit.name), [])
        if len(matches) == 1 and new.kind is Kind.BLOCKED:
            old = matches.pop()
            why = f"goes on until {new.service}, its new name, can start"
            joined[old.service] = old.hold(Hold.NONE, why)
        elif len(matches) == 1:
            old = matches.pop()
            joined[new.service] = _renamed(old, new)
            dropped.add(old.service)
    return [joined.get(change.service, change) for change in changes if change.service not in dropped]


def _is_new(view: View, change: Change) -> bool:
    """Nothing of it was ever applied here; it may not be able to start yet."""
    if change.service not in view.fields:
        return False
    return change.kind is Kind.CREATE or (
        change.kind is Kind.BLOCKED and bool(change.wanted) and change.service not in view.inventory.services
    )


def _gone_by_likeness(view: View, changes: Sequence[Change]) -> Mapping[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for change in changes:
        owned = view.inventory.services.get(change.service)
        if change.kind is Kind.REMOVE and not _is_meant(view, change.service) and owned and owned.fields:
            found.setdefault(_likeness(owned.fields, change.service, owned.unit), []).append(change)
    return found


def _likeness(fields: Mapping[str, object], service: str, unit: str) -> str:
    """The same for two services that differ in nothing but their names."""
    return digest_of([fields.get("component"), _without_name(fields, service, unit)])


_NAMELESS = ("version", "name", "after")
_OTHERS_NAMES = ("component", "group", "launcher", "install", "requirement", "image", "source")


def _without_name(fields: Mapping[str, object], service: str, unit: str) -> Mapping[str, object]:
    """The effective values with the service's own names taken out, longest first."""
    kept = {key: value for key, value in fields.items() if key not in _NAMELESS and not key.startswith("file.")}
    for name in sorted({service, unit}, key=len, reverse=True):
        kept = {key: _blanked(key, value, name) for key, value in kept.items()}
    return kept


def _blanked(key: str, value: object, name: str) -> object:
    """A component may have the very name that its service has had."""
    return value.replace(name, "\0") if isinstance(value, str) and key not in _OTHERS_NAMES else value


def _renamed(old: Change, new: Change) -> Change:
    return new._replace(
        kind=Kind.UPDATE,
        reasons=(f"renamed from {old.service}",),
        version=old.version,
        replaces=(*new.replaces, *old.gone),
        strays=(*new.strays, *old.strays),
        restarts=(new.service,) if old.state.alive else (),
        guards=old.guards,
        renamed_from=old.service,
    )


# ---------------------------------------------------------------- the budget


def removal_limit(view: View, ours: int) -> int:
    policy = view.desired.policy
    return max(policy.max_removals, ours * policy.max_removal_percent // 100)


def hold_removals(view: View, changes: Sequence[Change]) -> list[Change]:
    """More removals than the budget allows are all held: a mistake in git must not empty a host."""
    removals = {
        change.service
        for change in changes
        if change.kind is Kind.REMOVE and not _is_meant(view, change.service) and _counts(change)
    }
    if removals and view.forgetful:
        why = f"{view.forgetful}: nothing is removed in this pass"
        return [change.hold(Hold.BUDGET, why) if change.service in removals else change for change in changes]
    ours = sum(1 for change in changes if change.kind is not Kind.CREATE and change.managed)
    limit = removal_limit(view, ours)
    if len(removals) <= limit:
        return list(changes)
    why = f"{len(removals)} removals at once, and policy.max_removals allows {limit}: held"
    return [change.hold(Hold.BUDGET, why) if change.service in removals else change for change in changes]


def wait_for_held(changes: Sequence[Change]) -> list[Change]:
    """Below an earlier root everything hangs on one daemon: while a removal there is held, all of it stays as it is."""
    if not any(change.held for change in changes):
        return list(changes)
    why = "waits for the held removals: all of this runs below an earlier root"
    return [change.hold(change.held, why) if change.acts else change for change in changes]


def _counts(change: Change) -> bool:
    return change.acts or change.state is not State.ABSENT
