"""Reasons in words: which value changed from what to what, and where that is written."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.desired import Field, Service
from reconciler.core.observed import Mark, State, Unit
from reconciler.core.view import View

_SHOWN = 48  # characters of a value in a reason


def field_reasons(view: View, service: Service, mark: Mark | None) -> tuple[str, ...]:
    """Why a service gets a new specification. `mark` is what it runs from now, None where it does not run."""
    owned, fields = view.inventory.services.get(service.name), view.fields.get(service.name, {})
    version = mark.version if mark else owned.version if owned else ""
    reasons = []
    if version and version != service.version:
        reasons.append(f"version {version} -> {service.version}{_place(fields.get('version'))}")
    if owned is not None and owned.fields and fields and (mark is None or mark.spec == owned.spec):
        reasons += _differences(owned.fields, fields, bumped=bool(reasons))
    if not reasons and owned is not None and mark is not None and owned.spec == service.spec:
        reasons.append("runs an older specification than its files say")
    return tuple(reasons) or ("its specification changes",)


def move_reason(view: View, service: Service) -> str:
    """That another launcher keeps it from now on, or under another name; empty where neither is so."""
    owned, fields = view.inventory.services.get(service.name), view.fields.get(service.name, {})
    if owned is not None and owned.launcher != service.launcher:
        return f"moves from {owned.launcher} to {service.launcher}{_place(fields.get('launcher'))}"
    if owned is not None and owned.unit != service.unit:
        return f"moves from {owned.unit} to {service.unit}{_place(fields.get('name'))}"
    return ""


def _differences(before: Mapping[str, object], after: Mapping[str, Field], *, bumped: bool) -> list[str]:
    reasons = []
    for key in differing(before, after):
        field = after.get(key)
        if key == "version" or (bumped and key in _FOLLOWS_VERSION):
            continue
        reasons.append(_difference(key, before.get(key), field.value if field else None, field))
    return reasons


def differing(before: Mapping[str, object], after: Mapping[str, Field]) -> list[str]:
    """Effective values that are other ones, of those that a process is started from."""
    found = []
    for key in sorted({*before, *after}):
        new = after[key].value if key in after else None
        if not key.startswith(_ASKED_ONLY) and _as_lists(before.get(key)) != _as_lists(new):
            found.append(key)
    return found


# How a service is watched, rolled out and drained is no part of what it runs from: another way restarts nothing.
_ASKED_ONLY = ("health.", "verify.", "strategy.", "drain.", "guard.", "sync")

# These follow from the version in nearly every layer; the version's own line has said it.
_FOLLOWS_VERSION = frozenset({"requirement", "image", "source"})


def _difference(key: str, old: object, new: object, field: Field | None) -> str:
    place = _place(field)
    if key.startswith("file."):
        return f"{key.removeprefix('file.')} changes{place}"
    if field is not None and field.secret:
        return f"{key} changed (secret){place}"
    if new is None:
        return f"{key} {_show(old)} is taken away"
    if old is None:
        return f"{key} {_show(new)} is new{place}"
    if isinstance(old, list | tuple | dict) and isinstance(new, list | tuple | dict):
        return f"{key}: {_nested(old, new)}{place}"
    return f"{key} {' -> '.join(_show_both(old, new))}{place}"


def _nested(old: object, new: object) -> str:
    """What differs within lists and mappings, item by item: `+task-log`, `-cromwell`, `rpc 5672 -> 5673`."""
    from deepdiff import DeepDiff  # 60 ms, and rarely needed

    told = []
    for found in DeepDiff(_as_lists(old), _as_lists(new), view="tree", ignore_order=True).values():
        for item in found:
            name = " ".join(str(part) for part in item.path(output_format="list") if isinstance(part, str))
            told.append(f"{name} {_change_of(item.t1, item.t2)}".strip())
    return ", ".join(sorted(told)) or "its order changes"


def _change_of(old: object, new: object) -> str:
    """One side of an item that is only in the other is an object of DeepDiff's own."""
    plain = (str, int, float, bool, list, dict)
    if not isinstance(old, plain):
        return f"+{new}"
    return f"-{old}" if not isinstance(new, plain) else f"{old} -> {new}"


def _as_lists(value: object) -> object:
    """The inventory comes from JSON, which knows no tuples."""
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _show(value: object) -> str:
    text = (
        value
        if isinstance(value, str)
        else ", ".join(map(str, value))
        if isinstance(value, list | tuple)
        else str(value)
    )
    text = " ".join(text.split())
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…") if isinstance(value, str) else text


def _show_both(old: object, new: object) -> tuple[str, str]:
    """Two values. Long texts that begin alike are shown from a little before the place where they part."""
    if not isinstance(old, str) or not isinstance(new, str) or max(len(old), len(new)) <= _SHOWN:
        return _show(old), _show(new)
    pairs = enumerate(zip(old, new, strict=False))
    part = next((at for at, (one, other) in pairs if one != other), min(len(old), len(new)))
    start = max(0, part - _SHOWN // 3)
    shown = [_show(("…" if start else "") + text[start:]) for text in (old, new)]
    return shown[0], shown[1]


def _place(field: Field | None) -> str:
    return f" ({field.origin})" if field is not None and field.origin.line else ""


_DOWN = {
    State.STOPPED: "was stopped by hand",
    State.EXITED: "has exited",
    State.FATAL: "is FATAL, its launcher gave up",
    State.BACKOFF: "is in BACKOFF",
    State.ABSENT: "is gone from its launcher",
}


def down_reason(unit: Unit) -> str:
    """Why a unit that does not run does not, in the launcher's own terms."""
    if unit.state is State.STOPPED and not unit.since:
        return "was never started"
    return _DOWN.get(unit.state, unit.state.value) + (f" ({unit.detail})" if unit.detail else "")
