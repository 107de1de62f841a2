"""What the passes on this host have done, from their journals. It takes no lock, and asks no remote."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.memory import journal
from reconciler.agent.memory.store import Store
from reconciler.core.history import History, Part, PastChange, PastRemoval, PastRun, PastStep
from reconciler.core.problem import Origin, Problem
from reconciler.source import Mirror, SourceError


def read_history(agent: Agent, service: str = "") -> History:
    """All passes that are remembered, or those that touched one service. Raises `InvalidInput` for a service of which
    nothing is known."""
    store = Store(agent.state_dir, agent.site)
    parts: dict[str, dict[str, Part]] = {}
    known = _environments(store)
    warnings = list(_unrecorded(agent, store, known))
    for environment in agent.environments or known:
        kept = journal.look(store.journal_path(environment))
        wrong = dict(kept.damaged)
        for path, entry in kept.entries:
            if not _take(parts, environment, entry):
                wrong[path] = wrong.get(path, 0) + 1
        warnings += [f"{path}: {_lines(count)} cannot be read, and left out" for path, count in wrong.items()]
        warnings += kept.unreadable
    logs = {name: path for name in known if os.path.exists(path := store.names_path(name))}
    runs = [PastRun(run, tuple(_with_names(part, logs) for part in found.values())) for run, found in parts.items()]
    if service:
        runs = _with_service(runs, service)
    runs.sort(key=lambda run: (run.at, run.id), reverse=True)
    names = tuple(logs[name] for name in agent.environments or known if name in logs)
    return History(tuple(runs), tuple(warnings), names)


def with_subjects(agent: Agent, history: History) -> History:
    """With what the mirror knows of the commits."""
    folder = Store(agent.state_dir, agent.site).mirror_folder(agent.repo) if agent.repo else ""
    if not folder or not os.path.isdir(folder):
        return history
    try:
        mirror = Mirror(agent.repo, agent.branch, folder, agent.timeout)
        known = mirror.commit_infos({run.commit for run in history.runs})
    except SourceError:  # they are names only: what was done is told without them
        return history
    told = [(run, known.get(run.commit)) for run in history.runs]
    runs = tuple(run._replace(subject=info.subject, author=info.author) if info else run for run, info in told)
    return history._replace(runs=runs)


def find_run(history: History, name: str) -> PastRun:
    """The one whose name begins so; the last without a name. Raises `InvalidInput`."""
    found = [run for run in history.runs if run.id.startswith(name)]
    exact = [run for run in found if run.id == name]
    if not name and found:
        return found[0]
    if len(found) == 1 or exact:
        return (exact or found)[0]
    if not found:
        what = f"no pass that is remembered is called `{name[:80]}`" if name else "no pass has done anything yet"
        raise InvalidInput([Problem(Origin("RUN", 0, 0), what, "`reconcile history` lists them")])
    listed = ", ".join(run.id for run in found[:6]) + (", ..." if len(found) > 6 else "")
    raise InvalidInput([Problem(Origin("RUN", 0, 0), f"several passes are called `{name}…`", listed)])


def _lines(count: int) -> str:
    return f"{count} line{'s' * (count != 1)}"


def _environments(store: Store) -> list[str]:
    """Those that have a journal."""
    try:
        names = sorted(os.listdir(store.folder))
    except OSError:
        return []
    return [name for name in names if journal.exists(store.journal_path(name))]


def _unrecorded(agent: Agent, store: Store, known: Collection[str]) -> Iterator[str]:
    """What was named and has nothing here, where others have: it may be a slip of the pen."""
    for environment in agent.environments if known else ():
        if environment not in known:
            yield f"nothing is recorded here of {agent.site} {environment}; {_meant(environment, known)}"
    others = () if known else store.sites()
    if others:
        yield f"nothing is recorded here of {agent.site}; {_meant(agent.site, others)}"


def _meant(name: str, known: Collection[str]) -> str:
    from reconciler.desired.problems import nearest

    found = nearest(name, known)
    return f"did you mean {found}?" if found else f"there are passes of {', '.join(known)}"


def _with_service(runs: Iterable[PastRun], service: str) -> list[PastRun]:
    from reconciler.desired.problems import suggest

    runs = list(runs)
    found = [run for run in runs if service in run.services()]
    if runs and not found:
        known = {change.service for run in runs for part in run.parts for change in part.changes}
        message = f"no pass that is remembered has changed a service `{service[:80]}`"
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), message, suggest(service, known))])
    return found


# ---------------------------------------------------------------- one line


def _take(parts: dict[str, dict[str, Part]], environment: str, entry: Mapping[str, Any]) -> bool:
    """Add a line to what is known of its pass; False for one of another shape."""
    try:
        run = str(entry["run"])
        before = parts.get(run, {}).get(environment)
        if "steps" in entry or "cleanup" in entry:
            part = _part(environment, entry)
            parts.setdefault(run, {})[environment] = part if before is None else _joined(before, part)
        elif "health" in entry and before is not None:
            parts[run][environment] = _later(before, entry)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return False
    return "steps" in entry or "health" in entry or "cleanup" in entry


def _part(environment: str, entry: Mapping[str, Any]) -> Part:
    """Lines of an earlier version lack some keys."""
    versions, intents, hints = (entry.get(key, {}) for key in ("versions", "intents", "hints"))
    changes = [
        PastChange(name, str(told[0]), tuple(map(str, told[1:])), *_two(versions.get(name)), str(intents.get(name, "")))
        for name, told in entry.get("changes", {}).items()
    ]
    rows = entry.get("steps", ())  # what a person has cleaned up is no step of a plan
    steps = [PastStep(str(s[0]), str(s[1]), float(s[2]), str(s[3]), str(hints.get(s[0], ""))) for s in rows]
    return _later(
        Part(
            environment,
            str(entry["at"]),
            str(entry["commit"]),
            tuple(changes),
            tuple(steps),
            float(entry["seconds"]) if "seconds" in entry else None,
            by=str(entry.get("by", "")),
            findings=tuple(f"{told[0]}: {told[2]}" for told in entry.get("findings", ())),
            error=str(entry.get("error", "")),
            cut=bool(entry.get("cut")),
            rolled_back=tuple(_rolled_back(*one) for one in sorted(entry.get("rolled_back", {}).items())),
            removals=tuple(_removal(*one) for one in entry.get("cleanup", {}).items()),
        ),
        entry,
    )


def _rolled_back(name: str, told: Any) -> str:
    wanted, runs, why, beside = (str(part).partition("\n")[0] for part in told)
    failed = f"goes with {beside}, which failed" if beside else f"{wanted} failed: {why}"
    return f"{name}: {failed}" + (f"; {runs} is kept" if runs else "")


def _removal(rule: str, told: Mapping[str, Any]) -> PastRemoval:
    paths, failed = tuple(map(str, told["removed"])), tuple(map(str, told["failed"]))
    return PastRemoval(
        str(rule), str(told["root"]), int(told["entries"]), int(told["bytes"]), paths, int(told["more"]), failed
    )


def _with_names(part: Part, logs: Mapping[str, str]) -> Part:
    return part._replace(names=logs.get(part.environment, "")) if part.removals else part


def _joined(before: Part, part: Part) -> Part:
    """Of what was tried and went back in the same pass, was cleaned up after all else, or was cleaned up by several
    rules at once: several lines."""
    seconds = None if before.seconds is None or part.seconds is None else before.seconds + part.seconds
    changes, steps = (*before.changes, *part.changes), (*before.steps, *part.steps)
    error, cut = part.error or before.error, part.cut or before.cut
    joined = part._replace(changes=changes, steps=steps, seconds=seconds, error=error, cut=cut)
    return joined._replace(
        at=before.at,
        removals=(*before.removals, *part.removals),
        findings=part.findings or before.findings,
        rolled_back=part.rolled_back or before.rolled_back,
        health=part.health or before.health,
    )


def _later(part: Part, entry: Mapping[str, Any]) -> Part:
    """With what is known only once services had their time to become healthy."""
    code = int(entry["exit"]) if "exit" in entry else part.exit_code
    health = {str(name): (str(told[0]), str(told[1])) for name, told in entry.get("health", {}).items()}
    return part._replace(exit_code=code, health=health or part.health)


def _two(told: Any) -> tuple[str, str]:
    return (str(told[0]), str(told[1])) if told else ("", "")
