"""What a change of the repo would do: the plan of the later commit on a host that is at the earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.agent.config import InvalidInput
from reconciler.agent.why import named
from reconciler.core.change import Kind
from reconciler.core.desired import Compiled, Deployment, without_services
from reconciler.core.diff import diff
from reconciler.core.observed import FileState
from reconciler.core.plan import Action, Plan
from reconciler.core.planner import make_plan
from reconciler.core.problem import Origin, Problem
from reconciler.core.removals import rule_changes
from reconciler.core.report import Comparison, DeploymentReport, PassReport
from reconciler.core.review import Cause, Intent, Texts, Why
from reconciler.core.simulated import all_up, as_applied, nothing
from reconciler.desired import Compiler, Facts, Tree
from reconciler.desired.layers import layers_of
from reconciler.desired.problems import suggest
from reconciler.desired.written import Concerns, changed
from reconciler.source.blame import Blame

Pair = tuple[Compiled | None, Compiled | None]


def compare(
    before: tuple[str, Tree],
    after: tuple[str, Tree],
    facts: Facts,
    *,
    site: str = "",
    environments: Sequence[str] = (),
    blame: Blame | None = None,
) -> Comparison:
    """Every deployment of either commit, or only those of a site or of some environments.

    A site that is not valid at one of them is not compared: all of it would be told as new, or as gone.
    Raises `InvalidInput` for a site or an environment that is in neither: that nothing of it differs proves nothing.
    """
    return _Comparing(before, after, facts, blame).all(site, environments)


class _Comparing:
    """Two states of the repo. What sites share is read once, and what is the same in both is not compiled."""

    def __init__(
        self, before: tuple[str, Tree], after: tuple[str, Tree], facts: Facts, blame: Blame | None
    ) -> None:
        self.commits = (before[0], after[0])
        self.before, self.after = Compiler(before[1], facts, before[0]), Compiler(after[1], facts, after[0])
        self.old, self.new = self.before.layers(), self.after.layers()
        self.blame = blame
        self.texts = Texts()
        self.problems: list[Problem] = []
        self.same_templates = _templates(before[1]) == _templates(after[1])

    def all(self, site: str, environments: Sequence[str]) -> Comparison:
        reports: list[PassReport] = []
        compared = 0
        known = {*self.old.sites(), *self.new.sites()}
        asked = sorted(known & {site} if site else known)
        self._check(known, asked, site, environments)
        for name in asked:
            found = self._environments(name, environments)
            compared += len(found)
            deployments = self._site(name, [one for one in found if not self._is_same(name, one)])
            if deployments is None:
                compared -= len(found)
            elif deployments:
                reports.append(PassReport(name, self.commits[1], "", "", "", deployments))
        return Comparison(*self.commits, tuple(reports), compared, tuple(dict.fromkeys(self.problems)))

    def _check(self, known: set[str], asked: Sequence[str], site: str, environments: Sequence[str]) -> None:
        found = []
        if site and site not in known:
            hint = suggest(site, known, otherwise="" if known else "neither has desired/sites/*.yaml")
            found.append(Problem(Origin("--site", 0, 0), f"neither commit has a site `{site[:80]}`", hint))
        there = {one for name in asked or known for one in self._environments(name, ())}
        for name in environments:
            if name not in there:
                what = f"an environment `{name[:80]}`" + (f" of {site}" if site in known else "")
                hint = suggest(name, there, otherwise="" if there else "there is none")
                found.append(Problem(Origin("--environment", 0, 0), f"neither commit has {what}", hint))
        if found:
            raise InvalidInput(found)

    def _environments(self, site: str, asked: Sequence[str]) -> list[str]:
        both = [side.environments(site) if site in side.sites() else [] for side in (self.old, self.new)]
        found = {*both[0], *both[1]}
        return sorted(found & set(asked) if asked else found)

    def _is_same(self, site: str, environment: str) -> bool:
        """All that is read for it is the same, byte by byte: it need not be compiled."""
        if not self.same_templates or (site in self.old.sites()) != (site in self.new.sites()):
            return False
        pair = (self.before.tree, self.after.tree)
        return all(pair[0].get(path) == pair[1].get(path) for path in layers_of(site, environment))

    def _site(self, name: str, environments: Sequence[str]) -> tuple[DeploymentReport, ...] | None:
        """The deployments that differ; None where the site is not valid."""
        if not environments:
            return ()
        # What was valid is not judged anew, and of what will be all environments must fit the host.
        here = [one for one in environments if one in self.old.environments(name)]
        there = [one for one in environments if one in self.new.environments(name)]
        old = self.before.site(name, here, alone=True) if name in self.old.sites() else None
        new = self.after.site(name, there) if name in self.new.sites() else None
        self.problems += new.problems if new else ()
        self.problems += _of_commit(self.commits[0], old.problems) if old and not (new and new.problems) else ()
        if any(side and side.problems for side in (old, new)):
            return None
        pairs = [
            (old.compiled.get(one) if old else None, new.compiled.get(one) if new else None) for one in environments
        ]
        found = [(pair, announced(pair)) for pair in pairs]
        found = [(pair, report._replace(rules=rule_changes(*map(_deployment, pair)))) for pair, report in found]
        differing = [(pair, one) for pair, one in found if _differs(one) or one.rules or _other_watch(pair)]
        return tuple(report._replace(why=self._why(pair, report)) for pair, report in differing)

    # ------------------------------------------------------------ why

    def _why(self, pair: Pair, report: DeploymentReport) -> Why:
        site, environment = report.desired.site, report.desired.environment
        causes = self._causes(site, environment) if pair[0] and pair[1] else ()
        by_service: dict[str, tuple[Cause, ...]] = {"": causes}
        concerns = Concerns(self.new.merged(site, environment), self.after.tree) if causes else None
        acting = [change for change in report.plan.diff.changes if change.kind is not Kind.KEEP]
        if concerns is not None:
            by_service |= {change.service: concerns.of(change.service, causes) for change in acting}
        intents = {change.service: Intent.INTENTIONAL for change in acting}
        return Why(by_service, intents, {}, tuple(self.texts.deltas(*pair)))

    def _causes(self, site: str, environment: str) -> tuple[Cause, ...]:
        found = changed((self.old, self.before.tree), (self.new, self.after.tree), site, environment)
        return tuple(named(cause, self.blame) for cause in found) if self.blame else tuple(found)


def _templates(tree: Tree) -> dict[str, bytes]:
    return {path: content for path, content in tree.items() if path.startswith("templates/")}


def _of_commit(commit: str, problems: Sequence[Problem]) -> list[Problem]:
    """Placed as git writes it, COMMIT:FILE, to tell them from those of the later commit."""
    return [p._replace(origin=p.origin._replace(file=f"{commit[:8]}:{p.origin.file}")) for p in problems]


def announced(pair: Pair) -> DeploymentReport:
    """What a host that is as the one of a pair wants it would do for the other."""
    old, new = pair
    desired = new.deployment if new else _none_left(old)
    host = as_applied(old, desired) if old else nothing()
    # A file that is not there yet is known to be missing, and a new build not to be in place.
    files = {**{file.path: FileState("") for file in desired.files}, **host.observed.files}
    builds = {i.id: i.digest for i in old.deployment.installs} if old else {}
    installs = {i.id: builds.get(i.id) == i.digest for i in desired.installs}
    observed = host.observed._replace(files=files, installs=installs, unmanaged=all_up(desired))
    plan = make_plan(desired, diff(desired, observed, host.inventory, new.fields if new else {}))
    return DeploymentReport(_without_pids(plan), desired, observed, (), applied=False)


def _without_pids(plan: Plan) -> Plan:
    """Of processes that a deployment leaves behind when it moves, the pids are made up."""
    import re

    made_up = re.compile(r",? ?\bpid \d+")
    changes = tuple(
        change._replace(reasons=tuple(made_up.sub("a process", reason) for reason in change.reasons))
        if change.strays
        else change
        for change in plan.diff.changes
    )
    steps = tuple(
        step._replace(target=made_up.sub("", step.target) or "a process") if step.action is Action.STOP else step
        for step in plan.steps
    )
    return plan._replace(diff=plan.diff._replace(changes=changes), steps=steps)


def _none_left(old: Compiled | None) -> Deployment:
    """Git no longer has it: its agent ends what it runs, as far as the removal budget goes."""
    assert old is not None  # noqa: S101 - a pair has one of the two
    gone = old.deployment
    return without_services(gone.site, gone.environment, "", gone.root, gone.policy)


def _deployment(compiled: Compiled | None) -> Deployment | None:
    return compiled.deployment if compiled else None


def _differs(report: DeploymentReport) -> bool:
    return bool(report.plan.steps) or any(change.held for change in report.plan.diff.changes)


def _other_watch(pair: Pair) -> bool:
    """Other services than before are left to others, or are looked at in another way."""
    old, new = ({*compiled.deployment.unmanaged} if compiled else set() for compiled in pair)
    return old != new
