"""`reconcile pause` and `resume`: what is paused is written below the state directory, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from reconciler.agent.alone import Busy, alone
from reconciler.agent.config import Agent, InvalidInput, seconds
from reconciler.agent.here import Host
from reconciler.agent.memory.store import DamagedError, Store
from reconciler.core import pauses
from reconciler.core.observed import Pause
from reconciler.core.problem import Origin, Problem
from reconciler.host import files
from reconciler.host.lock import Holder, Lock

_PATIENCE = 10.0  # seconds: whoever changes the list of pauses has it for an instant
_POLL = 0.02
_LONGEST_REASON = 300  # characters


class Changed(NamedTuple):
    """What was opened or ended, what is paused now, and which pass is at work all the same."""

    changed: tuple[Pause, ...]
    paused: tuple[Pause, ...]
    at_work: Holder | None = None
    damage: str = ""  # why what was paused before cannot be told; nothing of it is left
    unknown: str = ""  # that nobody here knows what was named; on a new host that is as it should be


def pause(agent: Agent, host: Host, service: str, span: str, reason: str) -> Changed:
    """Pause a service, or with "" whole deployments, from now on for `span`. Raises `InvalidInput`, `OSError`, `Busy`.

    A pass that is at work has made its plan: it goes on to its end.
    """
    lasts, why = _span(span), _reason(reason)
    store = Store(agent.state_dir, agent.site)
    unknown = _check(agent, store, service)
    now = time.time()
    environments = agent.environments or ("",)
    new = [Pause(name, service, now, now + lasts, host.account, host.name, why) for name in environments]
    store.prepare()
    with _between_passes(store) as at_work:
        try:
            left = change(store, lambda found: pauses.opened(_lasting(found, now), new))
        except DamagedError as error:
            hint = "all of the site is held until `reconcile resume`; then pause it anew"
            raise InvalidInput([Problem(Origin(store.pauses_path(), 0, 0), str(error), hint)]) from error
    return Changed(tuple(new), left, at_work, unknown=unknown)


def resume(agent: Agent, service: str) -> Changed:
    """End what is paused: a service, or with "" everything in the agent's environments. Raises as `pause` does."""
    store = Store(agent.state_dir, agent.site)
    now = time.time()
    try:
        found = _lasting(store.pauses(), now)
    except DamagedError as error:
        files.remove(store.pauses_path())
        return Changed((), (), damage=str(error))
    gone = tuple(_asked(agent, found, service))
    if not gone:
        _refuse_other(agent, found, service)
        return Changed((), found)
    return Changed(gone, change(store, lambda now_there: pauses.without(now_there, gone)))


def change(store: Store, how: Callable[[tuple[Pause, ...]], tuple[Pause, ...]]) -> tuple[Pause, ...]:
    """Make another list of what is paused, from what it is now. Raises `DamagedError`, `OSError`, `Busy`."""
    with patiently(f"{store.pauses_path()}.lock"):
        found = store.pauses()
        changed = how(found)
        if changed != found:
            store.save_pauses(changed)
        return changed


@contextmanager
def patiently(path: str) -> Iterator[None]:
    """Hold a lock that others have for an instant only. Raises `Busy`, `OSError`."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with alone(path):
                yield
                return
        except Busy as busy:
            if busy.path != path or time.monotonic() > end:
                raise
        time.sleep(_POLL)


@contextmanager
def _between_passes(store: Store) -> Iterator[Holder | None]:
    """No pass begins meanwhile; or else which one is at work."""
    lock = Lock(store.lock_path())
    holder = lock.acquire()
    try:
        yield holder
    finally:
        lock.release()


# ---------------------------------------------------------------- what was asked for


def _lasting(found: Iterable[Pause], now: float) -> tuple[Pause, ...]:
    return tuple(pause for pause in found if now < pause.until)


def _span(text: str) -> float:
    found = seconds(text)
    if found is None or not 0 < found <= pauses.LONGEST:
        wrong = "is no time" if found is None else "is no time to pause for" if not found else "is too long"
        hint = "90s, 30m, 2h, 3d; at most 7d: what is to last longer belongs into git, as `enabled: false` or a window"
        raise InvalidInput([Problem(Origin("--for", 0, 0), f"`{text}` {wrong}", hint)])
    return found


def _reason(text: str) -> str:
    """In one line, without anything that a terminal would obey."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    told = " ".join(plain.split())
    if not told or len(told) > _LONGEST_REASON:
        wrong = f"has more than {_LONGEST_REASON} characters" if told else "says nothing"
        raise InvalidInput([Problem(Origin("--reason", 0, 0), wrong, "whoever reads a report wants to know why")])
    return told


def _check(agent: Agent, store: Store, service: str) -> str:
    """A pause of something that is not there would hold nothing. Raises `InvalidInput`. What it gives is a warning:
    before the first pass nobody can tell."""
    from reconciler.agent.logs import known_services
    from reconciler.desired.problems import suggest

    known = known_services(agent)
    for name in agent.environments if known else ():
        if name not in known:
            message = f"{agent.site} has no environment {name} here"
            raise InvalidInput([Problem(Origin("--environment", 0, 0), message, suggest(name, known))])
    asked = agent.environments or tuple(known)
    names = {one for environment in asked for one in known.get(environment, ())}
    if service and service not in names:
        hint = suggest(service, names, otherwise="" if names else "no pass has been here yet: pause the whole of it")
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), f"no service {service} here", hint)])
    if known:
        return ""
    others = suggest(agent.site, set(store.sites()) - {agent.site})
    hint = others or "no pass has been here with this state directory"
    return f"nothing is known of a site {agent.site} here, and this holds nothing of another one; {hint}"


def _asked(agent: Agent, found: Iterable[Pause], service: str) -> Iterator[Pause]:
    for one in found:
        if (not agent.environments or one.environment in agent.environments) and service in ("", one.service):
            yield one


def _refuse_other(agent: Agent, found: Sequence[Pause], service: str) -> None:
    """Something else is paused than what was named. Raises `InvalidInput`."""
    everywhere = [one for one in found if not one.environment and one.service in ("", service)]
    if agent.environments and everywhere:
        message, hint = "every environment of the site is paused at once", "`reconcile resume` for all of them"
        raise InvalidInput([Problem(Origin("--environment", 0, 0), message, hint)])
    if service and any(not one.service for one in found):
        message, hint = f"{service} is not paused by itself: all of it is", "`reconcile resume` for all of it"
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), message, hint)])
    if service and found:
        from reconciler.desired.problems import suggest

        hint = suggest(service, {one.service for one in found})
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), f"{service} is not paused", hint)])
