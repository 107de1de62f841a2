"""`reconcile notify`: whether receivers are told, by a message that says no more."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from reconciler.agent.config import InvalidInput
from reconciler.agent.here import this_host
from reconciler.agent.memory.store import Store
from reconciler.agent.telling import Memory, deliver, load, recall
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import print_json, style
from reconciler.core.problem import Origin, Problem
from reconciler.core.telling import Happening, Message
from reconciler.notify.base import Receiver, Undelivered


def notify(options: Namespace) -> int:
    """Exit status 0: all were told; 1: some were not."""
    agent = agent_of(options)
    if not agent.notify:
        hint = "add `notify: notify.yaml`; `reconcile help notify` says what stands in that file"
        raise InvalidInput([Problem(Origin("agent's file", 0, 0), "`notify` names nobody", hint)])
    receivers = _asked(load(agent).receivers, options.receiver)
    host = this_host()
    said = ("Passes are told of here.",)
    place = f"{host.account} on {host.name}"
    message = Message(agent.site, "", (Happening.TEST,), "", "", "", "", place, said, ())
    failed = {receiver.name: why for receiver in receivers if (why := _why_not(receiver, message))}
    memory = recall(Store(agent.state_dir, agent.site))
    if hasattr(options, "json"):
        names = [receiver.name for receiver in receivers]
        told = [{"receiver": name, "told": name not in failed, "why": failed.get(name)} for name in names]
        print_json({"receivers": told, "waiting": {name: len(queue) for name, queue in memory.waiting.items()}})
    else:
        _print(receivers, failed, memory)
    return 1 if failed else 0


def _asked(receivers: Sequence[Receiver], name: str | None) -> Sequence[Receiver]:
    if name is None:
        return receivers
    found = [receiver for receiver in receivers if receiver.name == name]
    if not found:
        from reconciler.desired.problems import suggest

        hint = suggest(name, [receiver.name for receiver in receivers])
        raise InvalidInput([Problem(Origin("RECEIVER", 0, 0), f"`{name}` is no receiver", hint)])
    return found


def _why_not(receiver: Receiver, message: Message) -> str:
    try:
        deliver(receiver, message)
    except Undelivered as error:
        return str(error) or "not told"
    return ""


def _print(receivers: Sequence[Receiver], failed: dict[str, str], memory: Memory) -> None:
    paint = style().paint
    for receiver in receivers:
        why = failed.get(receiver.name)
        word = paint("failed", "red") if why else paint("told", "green")
        print(f"{word}: {receiver.name}" + (f": {why}" if why else ""))
    for name, queue in memory.waiting.items():
        messages = "1 message waits" if len(queue) == 1 else f"{len(queue)} messages wait"
        print(f"{messages} for {name}: the next pass tries again")
    if not receivers:
        print("nobody is named under `receivers`")
