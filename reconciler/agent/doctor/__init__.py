"""`reconcile doctor`: everything that a pass would need, looked at beforehand. It changes nothing on the host.

What a pass does anyway is done the same way here: the desired state is compiled, the launchers are asked, the
preflight looks for prologues and programs. What the remote has is got into a folder that is gone afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from tempfile import TemporaryDirectory
from time import monotonic, time

from reconciler.agent.alone import Busy, alone
from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.doctor import secrets
from reconciler.agent.doctor.deployment import examine
from reconciler.agent.here import Host
from reconciler.agent.memory.store import DamagedError, SourceState, Store
from reconciler.apply import places
from reconciler.core.checked import Checked, error, ok, warning
from reconciler.core.desired import Compiled
from reconciler.host.run import CommandFailed, run
from reconciler.source import Mirror, SourceError

_SECONDS = 20.0  # for a program to say its version
_SHOWN = 3  # problems of the desired state that get a line each


def doctor(agent: Agent, host: Host) -> Iterator[Checked]:
    """One thing after the other; what depends on something that is missing is left out."""
    store = Store(agent.state_dir, agent.site)
    yield from places.writable("", [agent.state_dir, store.folder])
    yield from places.room("", store.folder)
    yield from places.lock_and_clock(store.folder)
    yield from _private(agent.state_dir)
    yield from _git()
    yield from _schedule(store, host)
    yield from _pauses(store)
    yield from _notify(agent, store)
    known = yield from _known(store)
    commit, tree = yield from _tree(agent, store, known)
    yield ok("", "roots", _roots(agent))
    deployments = (yield from _compiled(agent, host, tree, commit)) if commit else ()
    if commit and known.valid and commit != known.valid:
        yield warning("", "commit", f"git is at {commit[:8]}, and passes are at {known.valid[:8]}", "`reconcile plan`")
    yield from secrets.kept_from_git(agent, deployments)
    for compiled in deployments:
        recalled = store.inventory(compiled.deployment.environment, compiled.deployment.root)
        yield from secrets.told(compiled)
        checks = examine(compiled, recalled.inventory, recalled.damage, host.home)
        yield from secrets.masked(checks, compiled)
        deployment = compiled.deployment
        if deployment.cleanups or os.path.exists(store.names_path(deployment.environment)):
            from reconciler.agent.doctor.scratch import examine_rules

            yield from secrets.masked(examine_rules(deployment, agent, store), compiled)


# ---------------------------------------------------------------- this host and this agent


def _private(folder: str) -> Iterator[Checked]:
    try:
        mode = os.stat(folder).st_mode & 0o7777
    except OSError:
        return  # a pass makes it, private
    if mode & 0o022:
        yield error("", "state", f"{folder} has mode {mode:04o}: others can write to it", f"chmod 700 {folder}")
    elif mode & 0o055:
        yield warning("", "state", f"{folder} has mode {mode:04o}: others can look into it", f"chmod 700 {folder}")
    else:
        yield ok("", "state", f"{folder} is this account's alone")


def _git() -> Iterator[Checked]:
    try:
        done = run(["git", "--version"], timeout=_SECONDS)
    except CommandFailed as failed:
        yield error("", "git", str(failed), "have git on the PATH of the pass, also from cron")
    else:
        yield ok("", "git", done.out.decode(errors="replace").strip())


def _schedule(store: Store, host: Host) -> Iterator[Checked]:
    from reconciler.schedule.check import Check

    check = Check(store.schedule_path(), host.name)
    found = check.findings()
    for finding in found:
        yield error("", "schedule", finding.message, "`reconcile schedule install`; `schedule status` tells more")
    if check.record is None and not found:
        told = "none was installed with `reconcile schedule install`"
        yield warning("", "schedule", told, "install one, unless the loop or something of your own starts passes")
    elif not found and check.record is not None:
        yield ok("", "schedule", f"{check.record.kind}: stands")


def _pauses(store: Store) -> Iterator[Checked]:
    try:
        lasting = [pause for pause in store.pauses() if time() < pause.until]
    except DamagedError as damaged:
        yield error("", "pause", f"all of it is held: {damaged}", "`reconcile resume` ends that")
        return
    for pause in lasting:
        what = " ".join(filter(None, (pause.environment, pause.service))) or "all of it"
        yield warning("", "pause", f"{what}, by {pause.account} on {pause.host}: {pause.reason}", "`reconcile resume`")


def _notify(agent: Agent, store: Store) -> Iterator[Checked]:
    """Whether receivers can be reached, only a message to them tells."""
    if not agent.notify:
        return
    from reconciler.agent.telling import load, recall

    try:
        told = load(agent)
    except InvalidInput as invalid:
        yield from (error("", "notify", str(p._replace(hint="")), p.hint) for p in invalid.problems[:_SHOWN])
        return
    for name, why in recall(store).why.items():
        yield warning("", "notify", f"{name} was not told: {why}", "`reconcile notify` tries it")
    yield ok("", "notify", f"tells {', '.join(receiver.name for receiver in told.receivers) or 'nobody'}")


def _known(store: Store) -> Generator[Checked, None, SourceState]:
    try:
        return store.source()
    except DamagedError as damaged:
        yield warning("", "state", str(damaged), "the next pass makes it anew")
        return SourceState()


def _roots(agent: Agent) -> str:
    if agent.roots:
        return f"git may name paths below {', '.join(agent.roots)}"
    return "git may name any path that this account can write to: the agent's file has no `roots`"


# ---------------------------------------------------------------- the repo

_Tree = Mapping[str, bytes]


def _tree(agent: Agent, store: Store, known: SourceState) -> Generator[Checked, None, tuple[str, _Tree]]:
    """What the branch says now, got aside; where it is out of reach, what the last pass went by."""
    with TemporaryDirectory(prefix="reconcile-doctor-") as aside:
        mirror = Mirror(agent.repo, agent.branch, os.path.join(aside, "mirror.git"), agent.timeout)
        try:
            began = monotonic()
            commit = mirror.fetch()
            yield ok("", "remote", f"{mirror.address} is at {commit[:8]}, in {monotonic() - began:.1f} s")
            return commit, mirror.tree(commit)
        except SourceError as failed:
            yield error("", "remote", str(failed), "until it is reached, passes hold to the last valid commit")
    if not known.valid:
        return "", {}
    own = Mirror(agent.repo, agent.branch, store.mirror_folder(agent.repo), agent.timeout)
    try:
        with alone(store.lock_path()):  # reading may mend the mirror
            return known.valid, own.tree(known.valid)
    except (Busy, SourceError, OSError) as failed:
        yield warning("", "remote", f"the last valid commit cannot be read now: {failed}")
    return "", {}


def _compiled(agent: Agent, host: Host, tree: _Tree, commit: str) -> Generator[Checked, None, tuple[Compiled, ...]]:
    """The deployments that are for this account on this host."""
    from reconciler.desired import Facts, compile_site

    salt = os.urandom(16).hex()
    facts = Facts(host.name, host.account, salt, host.home, agent.sources, here=True, roots=agent.roots)
    result = compile_site(tree, agent.site, agent.environments or None, facts, commit)
    for problem in result.problems[:_SHOWN]:
        yield error("", "desired", str(problem._replace(hint="")), problem.hint)
    if result.problems and all(problem.asked for problem in result.problems):
        wrong = f"commit {commit[:8]} does not have what --site, --environment, or the agent's file names"
        yield error("", "desired", f"{wrong}: nothing would be applied", "name what is there")
        return ()
    if result.problems:
        count = len(result.problems)
        tells = f"`reconcile validate` tells all {count} problems"
        more = tells if count > 1 else "mend it: `reconcile validate` looks again"
        yield error("", "desired", f"commit {commit[:8]} is not valid, and would not be applied", more)
        return ()
    result = secrets.filled(result, agent, facts, tree, commit)
    here = {name: one for name, one in result.compiled.items() if not one.deployment.is_elsewhere}
    for name, found in result.compiled.items():
        if name in here:
            continue
        told = f"runs {found.deployment.whose}, and this is {host.account} on {host.name}"
        yield ok(name, "place", told) if here else error(name, "place", told, "be that account, on that host")
    if here:
        yield ok("", "desired", f"commit {commit[:8]} is valid: {', '.join(here)}")
    return tuple(here.values())
