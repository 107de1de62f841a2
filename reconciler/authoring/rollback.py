"""Sets a service or an environment back to what it was at an earlier commit, as one more commit.

Which commit: the one asked for, or the last at which it was another one. How: in the first of these ways that brings
exactly that back and changes nothing else, or else in the one that changes the least besides; what that is, the effect
of the change tells before anybody pushes it.

1. what the commits that changed it have changed, undone (as `git revert` does), in all files of desired state;
2. the same, in the files that are this environment's own only;
3. those files as they were (an environment only);
4. the versions of its components, line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from reconciler.authoring.checkout import Checkout, Commit
from reconciler.authoring.effect import Compiler, Repo, names, of_service
from reconciler.authoring.proposal import Proposal, applied, branch_name
from reconciler.authoring.quick import bumps_others_only
from reconciler.authoring.refused import Refused, refused
from reconciler.authoring.versions import Pair, Scope, Versions, bump
from reconciler.core.problem import Origin, Problem
from reconciler.desired import Tree
from reconciler.desired.layers import environment_file
from reconciler.desired.problems import suggest

LIMIT = 300  # commits of desired state that are looked at


class Target(NamedTuple):
    """What is set back."""

    environment: str
    service: str = ""  # empty: all of the environment
    site: str = ""  # empty: on every site

    def has(self, pair: Pair) -> bool:
        return pair.environment == self.environment and self.site in ("", pair.site)

    def state(self, repo: Repo, pair: Pair) -> object:
        found = repo.deployments.get(pair)
        return of_service(found, self.service) if self.service else found

    def __str__(self) -> str:
        what = f"{self.service} in {self.environment}" if self.service else self.environment
        return f"{what} on {self.site}" if self.site else what


class Step(NamedTuple):
    """A commit that changed the target, and the files before and after it."""

    commit: Commit
    before: Tree
    after: Tree


class Way(NamedTuple):
    """How it is set back: the files, or why not."""

    name: str
    content: Mapping[str, bytes | None]
    why_not: str = ""
    others: int = 0  # services that change besides


def find_target(tree: Tree, repo: Repo, name: str, environments: Sequence[str], site: str) -> Target:
    """What a person means by a name. Raises `Refused`, also for a repo that is not valid: nothing is told from it."""
    if repo.broken:
        hint = "`reconcile validate` tells why; mend that, or `git revert` what has brought it"
        raise refused("HEAD", f"it is not valid for {', '.join(sorted(repo.broken))}", hint)
    if len(environments) > 1:
        raise refused("--environment", "one environment at a time is set back")
    Versions(tree).check(Scope(environments[0] if environments else "", site), ())
    asked = [pair for pair in repo.deployments if Scope("", site).has(pair)]
    known = sorted({pair.environment for pair in asked})
    having = sorted({pair.environment for pair in asked if name in names(repo.deployments[pair])})
    if name in known and having and not environments:
        hint = f"give --environment for the service: {', '.join(having)}"
        raise refused("SERVICE", f"`{name}` is a service and an environment", hint)
    if name in known and not having:
        return Target(name, "", site)
    if not having:
        services = {service for one in repo.deployments.values() for service in names(one)}
        hint = suggest(name, [*services, *known])
        raise refused("SERVICE", f"there is no service and no environment `{name[:80]}`", hint)
    if not environments and len(having) > 1:
        raise refused("--environment", f"which environment of {name}?", f"known: {', '.join(having)}")
    if environments and environments[0] not in having:
        raise refused("--environment", f"{environments[0]} has no {name}", f"it is in {', '.join(having)}")
    return Target(environments[0] if environments else having[0], name, site)


class Rollback:
    """The search for what to go back to, and for how. Nothing is written."""

    def __init__(  # noqa: PLR0917 - where, of what, and who is told
        self,
        checkout: Checkout,
        compiler: Compiler,
        base: str,
        tree: Tree,
        target: Target,
        looks_at: Callable[[Commit], None],
    ) -> None:
        """`looks_at` is told of each commit that is looked at: in a large repo that takes its time."""
        self.checkout, self.compiler, self.base, self.tree, self.target = checkout, compiler, base, tree, target
        self.looks_at = looks_at
        self.now = compiler.repo(tree)
        self.pairs = [pair for pair in self.now.deployments if target.has(pair)]

    # ------------------------------------------------------------ to what

    def last_other(self) -> tuple[Commit, list[Step]]:
        """The last commit at which the target was another one, and the one that changed it. Raises `Refused`."""
        looked, unknown = 0, []
        for step in self._steps():
            looked += 1
            old = self._repo(step.before)
            if old is None:  # what it left unusable belongs to the change
                unknown.append(step)
            if old is None or not self._differs(old, self.now):
                continue
            if self._is_new(old):
                hint = "to take it away, remove it in git; `--to COMMIT` names another commit to go back to"
                raise refused("SERVICE", f"{self.target} has no earlier state: it came with {step.commit}", hint)
            parent = self.checkout.parent(step.commit.sha)
            return self.checkout.commit(parent), [*unknown, step]
        more = f" in the last {looked} commits that may concern it" if looked else ""
        hint = "`--to COMMIT` names what to go back to"
        if self.checkout.is_shallow():
            more, hint = f"{more}, as far as this clone goes", "`git fetch --unshallow` gets the rest of the history"
        raise refused("SERVICE", f"{self.target} was never another one{more}", hint)

    def since(self, commit: str) -> tuple[Commit, list[Step]]:
        """What has changed the target since a commit. Raises `Refused` for one of another history."""
        if not self.checkout.is_ancestor(commit, self.base):
            hint = "name one that `git log` shows"
            raise refused("--to", f"{commit[:8]} is not in the history of {self.base[:8]}", hint)
        found = []
        for step in self._steps(commit):
            old, new = self._repo(step.before), self._repo(step.after)
            if old is None or new is None or self._differs(old, new):
                found.append(step)
        return self.checkout.commit(commit), found

    def _steps(self, without: str = "") -> Iterator[Step]:
        """The commits of the branch that may have changed the target, newest first."""
        after: Tree | None = None
        for commit in self.checkout.history(self.base, LIMIT, without):
            after = self.checkout.readable(commit.sha) if after is None else after
            parent = self.checkout.parent(commit.sha)
            before = self.checkout.readable(parent) if parent else None
            self.looks_at(commit)
            if after is not None and before is not None and self._may_concern(before, after):
                yield Step(commit, before, after)
            after = before

    def _may_concern(self, before: Tree, after: Tree) -> bool:
        """The target may depend on what has changed."""
        others, own = "desired/environments/", environment_file(self.target.environment)
        changed = [path for path in _changed(before, after) if not path.startswith(others) or path == own]
        if not changed or not self.target.service:
            return bool(changed)
        return not bumps_others_only(before, after, changed, self._components())

    def _repo(self, tree: Tree) -> Repo | None:
        """None where a site of the target is not valid: what it was then cannot be told."""
        repo = self.compiler.repo(tree, {pair.site for pair in self.pairs})
        return None if repo.broken else repo

    def _differs(self, one: Repo, other: Repo) -> bool:
        """For the deployments that both have: a site that came later is set to nothing."""
        both = [pair for pair in self.pairs if pair in one.deployments and pair in other.deployments]
        return any(self.target.state(one, pair) != self.target.state(other, pair) for pair in both)

    def _is_new(self, old: Repo) -> bool:
        return all(self.target.state(old, pair) is None for pair in self.pairs)

    # ------------------------------------------------------------ how

    def proposal(self, to: Commit, steps: Sequence[Step]) -> Proposal:
        """The change that sets it back. Without any content it is so already. Raises `Refused`."""
        old_tree = self.checkout.tree(to.sha)
        goal = self._repo(old_tree)
        if goal is None:
            raise refused("--to", f"{to.sha[:8]} is not valid, so nothing can be set back to it", "name another commit")
        branch = branch_name("rollback", *filter(None, (*self._words(), to.sha[:8])))
        subject = f"Roll back {self.target} to {to.sha[:8]}"
        if not self._differs(goal, self.now):
            return Proposal(branch, subject, (), {}, (f"{self.target} is as it was at {to}",))
        way = self._best(old_tree, goal, steps)
        undone = tuple(f"Undoes {step.commit}" for step in steps)
        lines = (f"Back to {to}", *undone, f"By: {way.name}")
        what = "1 service besides changes" if way.others == 1 else f"{way.others} services besides change"
        notes = (f"{what} with it, see below",) if way.others else ()
        return Proposal(branch, subject, lines, way.content, notes)

    def _words(self) -> tuple[str, ...]:
        return self.target.service, self.target.environment, self.target.site

    def _best(self, old: Tree, goal: Repo, steps: Sequence[Step]) -> Way:
        tried = []
        for name, make in self._ways(old, goal, steps):
            way = self._tried(name, make, goal)
            if not way.why_not and not way.others:
                return way
            tried.append(way)
        good = [way for way in tried if not way.why_not]
        if good:
            return min(good, key=lambda way: way.others)
        problems = [Problem(Origin(self.base[:8], 0, 0), f"{way.name}: {way.why_not}") for way in tried]
        hint = "`git revert` the commits that it names by hand, or edit the layers"
        first = Problem(Origin("SERVICE", 0, 0), f"{self.target} cannot be set back cleanly", hint)
        raise Refused([first, *problems])

    def _ways(self, old: Tree, goal: Repo, steps: Sequence[Step]) -> Iterator[tuple[str, Callable[[], Tree]]]:
        if steps:
            yield "the commits undone", lambda: self._reverted(steps, lambda _: True)
            yield "the commits undone in its own files", lambda: self._reverted(steps, self._is_own)
        if not self.target.service:
            yield "its own files as they were", lambda: self._restored(old)
        yield "versions set back", lambda: self._versions_back(goal)

    def _tried(self, name: str, make: Callable[[], Tree], goal: Repo) -> Way:
        try:
            tree = make()
        except Refused as error:
            return Way(name, {}, "; ".join(problem.message for problem in error.problems))
        repo = self.compiler.repo(tree)
        content = {path: tree.get(path) for path in _changed(self.tree, tree)}
        if repo.broken:
            return Way(name, content, f"it would not be valid for {', '.join(sorted(repo.broken))}")
        if self._differs(goal, repo):
            return Way(name, content, "something else has changed it as well")
        return Way(name, content, others=self._others(repo))

    def _others(self, repo: Repo) -> int:
        """How many services outside of the target become others."""
        count = 0
        for pair in {*self.now.deployments, *repo.deployments}:
            old, new = self.now.deployments.get(pair), repo.deployments.get(pair)
            mine = names(old) | names(new) if self.target.has(pair) else set()
            mine = mine & {self.target.service} if self.target.service else mine
            count += sum(of_service(old, n) != of_service(new, n) for n in (names(old) | names(new)) - mine)
        return count

    def _is_own(self, path: str) -> bool:
        """A layer of this environment's alone."""
        environment, site = self.target.environment, self.target.site
        if site:
            return path == f"desired/sites/{site}.{environment}.yaml"
        return path == environment_file(environment) or (
            path.startswith("desired/sites/") and path.endswith(f".{environment}.yaml")
        )

    def _reverted(self, steps: Sequence[Step], among: Callable[[str], bool]) -> Tree:
        """Raises `Refused` for a conflict."""
        content: dict[str, bytes | None] = {}
        for step in steps:
            for path in filter(among, _changed(step.before, step.after)):
                now = content[path] if path in content else self.tree.get(path)
                content[path] = self._undone(path, now, step)
        return applied(self.tree, content)

    def _undone(self, path: str, now: bytes | None, step: Step) -> bytes | None:
        old, new = step.before.get(path), step.after.get(path)
        if now == new:
            return old
        if now == old:
            return now
        if now is not None and old is not None and new is not None:
            merged = self.checkout.merged(now, new, old)
            if merged is not None:
                return merged
        raise refused(path, f"{path} was changed again since {step.commit}, in the same lines")

    def _restored(self, old: Tree) -> Tree:
        own = {path for path in (*self.tree, *old) if self._is_own(path)}
        return applied(self.tree, {path: old.get(path) for path in own})

    def _versions_back(self, goal: Repo) -> Tree:
        """Raises `Refused` where the versions are not what has changed."""
        tree = self.tree
        for component in sorted(self._components()):
            wanted = {pair: found for pair in self.pairs if (found := _version(goal, pair, component))}
            usual = sorted(set(wanted.values()), key=list(wanted.values()).count, reverse=True)
            with suppress(Refused):  # where each site has its own, there is no line for all of them
                whole = Scope(self.target.environment, self.target.site)
                tree = _set(tree, component, usual[0], whole, wanted) if usual else tree
            for pair, version in wanted.items():
                tree = _set(tree, component, version, Scope(pair.environment, pair.site), wanted)
        if tree is self.tree:
            raise refused("SERVICE", "its versions are what they were")
        return tree

    def _components(self) -> set[str]:
        found = set()
        for pair in self.pairs:
            services = self.now.deployments[pair].services
            found |= {one.component for one in services if self.target.service in ("", one.name)}
        return found


def _set(tree: Tree, component: str, version: str, scope: Scope, pairs: Iterable[Pair]) -> Tree:
    """With one version where it is another one."""
    versions = Versions(tree)
    if all(versions.text(pair, component) == version for pair in pairs if scope.has(pair)):
        return tree
    return applied(tree, bump(versions, component, version, scope).content)


def _version(repo: Repo, pair: Pair, component: str) -> str:
    found = repo.deployments.get(pair)
    versions = {one.version for one in found.services if one.component == component} if found else set()
    return versions.pop() if len(versions) == 1 else ""


def _changed(before: Tree, after: Tree) -> list[str]:
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
