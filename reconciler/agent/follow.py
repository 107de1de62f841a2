"""Which commit a site is held to: the newest that can be reached, is valid, and does not rewrite history."""

from __future__ import annotations

import time
from typing import NamedTuple

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.memory.store import SourceState
from reconciler.agent.workspace import Workspace
from reconciler.core.problem import Origin, Problem
from reconciler.core.report import Notice
from reconciler.source import (
    BadKeys,
    BadTree,
    Mirror,
    Poll,
    SourceError,
    Stopped,
    UnknownCommit,
    Unreachable,
    Untrusted,
)


class Chosen(NamedTuple):
    """What the pass goes by. `commit` is empty where there is none yet."""

    commit: str
    state: SourceState  # to be remembered
    problems: tuple[Problem, ...] = ()  # of `state.head`, where that does not validate
    notices: tuple[Notice, ...] = ()


def choose(
    agent: Agent, known: SourceState, mirror: Mirror, poll: Poll, workspace: Workspace, *, accept_rewind: bool
) -> Chosen:
    """Ask the remote and decide. Whatever goes wrong leaves the last valid commit in force.

    A remote that cannot be reached is a matter of patience: most outages end by themselves. All else, such as
    a branch that is gone or a full disk, waits for a person, and is a failure at once.

    Raises `InvalidInput` where the agent's own keys cannot be used: then nobody can say what is to be followed.
    """
    try:
        _check_keys(agent)
        head = poll.head()
        if head != known.head:
            return _news(agent, known, mirror, workspace, accept_rewind=accept_rewind)
        if known.valid != known.head:
            _verify(agent, mirror, workspace, known.head, known.valid)
            return _take(known, known.head, mirror, workspace, accept_rewind=accept_rewind)
        return Chosen(known.valid, known._replace(contact=time.time()))
    except BadKeys as error:
        hint = "; ".join(filter(None, (error.hint, agent.naming(error.path))))
        raise InvalidInput([Problem(Origin(error.path, 0, 0), error.wrong, hint)]) from error
    except Untrusted as error:
        held = f"Nothing of it is applied; holding to {known.valid[:8]}" if known.valid else "Nothing is applied"
        said, _, mend = str(error).partition("\n")
        notice = Notice(f"{said}. {held}\n{mend}", failed=True)
        return Chosen(known.valid, known._replace(contact=time.time()), notices=(notice,))
    except Unreachable as error:
        return _unreachable(agent, known, str(error))
    except Stopped as error:
        return _held(known, f"{error} before it was known what the branch says")
    except SourceError as error:
        return _held(known, "the branch cannot be followed", f":\n{error}")
    except OSError as error:  # of the mirror's folder
        return _held(known, "the branch cannot be followed", f":\n{error.filename or mirror.folder}: {error.strerror}")


def _held(known: SourceState, what: str, why: str = "") -> Chosen:
    holding = f"holding to {known.valid[:8]}" if known.valid else "no commit is known yet"
    return Chosen(known.valid, known, notices=(Notice(f"{what}; {holding}{why}", failed=True),))


def _unreachable(agent: Agent, known: SourceState, why: str) -> Chosen:
    if not known.valid:
        return Chosen(
            "", known, notices=(Notice(f"no commit is known yet, and the repo cannot be read: {why}", failed=True),)
        )
    age = max(time.time() - known.contact, 0.0)
    stale = age > agent.max_staleness
    message = f"the repo cannot be read; holding to {known.valid[:8]}, last in contact {ago(age)} ago"
    if not stale:
        more = f"{message} ({_gist(why)}){_withheld(known, why)}"
        return Chosen(known.valid, known, notices=(Notice(more, failed=False),))
    message += f", which is longer than max_staleness ({ago(agent.max_staleness)})"
    return Chosen(known.valid, known, notices=(Notice(f"{message}:\n{why}{_withheld(known, why)}", failed=True),))


def _withheld(known: SourceState, why: str) -> str:
    """What git's credential helper may lack, where it lacks something."""
    from reconciler.host.withheld import withheld

    names = withheld(known.variables)
    if not names or not any(sign in why for sign in ("could not read", "Authentication failed")):
        return ""
    told = ", ".join(names)
    return f"\n    git does not get {told}, which `!secret {{env: ...}}` names; `reconcile doctor` asks without"


def _gist(why: str) -> str:
    """What git complained of, in the line that says most: cron mails it at every pass until the repo is back."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))]
    return (said or lines or [""])[0]


def _check_keys(agent: Agent) -> None:
    """At each pass: keys that went away are told before they are needed. Raises `BadKeys`."""
    if agent.verify:
        from reconciler.source.signatures import check_keys

        check_keys(agent.verify)


def _verify(agent: Agent, mirror: Mirror, workspace: Workspace, commit: str, since: str) -> None:
    """Raises `Untrusted`, `BadKeys`; before anything of the commit is read."""
    if agent.verify:
        mirror.verify(agent.verify, workspace.store.keys_folder(), commit, since)


def _news(agent: Agent, known: SourceState, mirror: Mirror, workspace: Workspace, *, accept_rewind: bool) -> Chosen:
    workspace.warm_up()
    new = mirror.fetch()
    state = known._replace(contact=time.time())
    if known.head and not accept_rewind and not _follows(mirror, known.head, new):
        return Chosen(known.valid, state, notices=(_refused(known.head, new),))
    _verify(agent, mirror, workspace, new, known.head)
    return _take(known, new, mirror, workspace, accept_rewind=accept_rewind)


def _take(known: SourceState, commit: str, mirror: Mirror, workspace: Workspace, *, accept_rewind: bool) -> Chosen:
    """Judge it. Where the state directory was lost, what was accepted stands below the roots that the commit names."""
    chosen = _judge(known._replace(contact=time.time()), commit, workspace)
    if not known.valid and not accept_rewind:
        for accepted in workspace.accepted(chosen.commit):
            if not _follows(mirror, accepted, commit):
                return Chosen("", known, notices=(_refused(accepted, commit),))
    return chosen


def _follows(mirror: Mirror, old: str, new: str) -> bool:
    try:
        return mirror.is_ancestor(old, new)
    except UnknownCommit:
        return False  # all of the branch was fetched, and the commit that was accepted is not in it


def _refused(old: str, new: str) -> Notice:
    message = (
        f"the branch was rewound or force-pushed: it is at {new[:12]}, and {old[:12]}, which was accepted before, "
        "is not part of its history. Nothing of it is applied. If that was meant, run once with --accept-rewind"
    )
    return Notice(message, failed=True)


def _judge(state: SourceState, commit: str, workspace: Workspace) -> Chosen:
    """A commit is taken when all of this site's deployments are valid in it, else the last valid one stays."""
    try:
        result = workspace.compile(commit)
    except BadTree as error:
        return Chosen(
            state.valid, state._replace(head=commit), problems=(Problem(Origin(commit[:12], 0, 0), str(error)),)
        )
    if result.problems:
        return Chosen(state.valid, state._replace(head=commit), problems=result.problems)
    environments = tuple(sorted(result.compiled))
    return Chosen(commit, state._replace(head=commit, valid=commit, environments=environments))


def ago(seconds: float) -> str:
    """A span in the largest unit that fits, for people."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
