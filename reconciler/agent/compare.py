"""What a change of the repo would do: the plan of the later commit on a host that is at the earlier one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.diff import diff
from reconciler.core.model import Compiled, Deployment, FileState, Problem, without_services
from reconciler.core.plan import make_plan
from reconciler.core.report import Comparison, DeploymentReport, PassReport
from reconciler.core.simulated import all_up, as_applied, nothing
from reconciler.desired import Facts, Tree, compile_site, sites


def compare(
    before: tuple[str, Tree], after: tuple[str, Tree], facts: Facts, *, site: str = "", environments: Sequence[str] = ()
) -> Comparison:
    """Every deployment of either commit, or only those of a site or of some environments.

    A site that is not valid at one of them is not compared: all of it would be told as new, or as gone.
    """
    reports: list[PassReport] = []
    problems: list[Problem] = []
    compared = 0
    known = set(sites(before[1])) | set(sites(after[1]))
    for name in sorted(known & {site} if site else known):
        old = compile_site(before[1], name, None, facts, before[0]) if name in sites(before[1]) else None
        new = compile_site(after[1], name, None, facts, after[0]) if name in sites(after[1]) else None
        problems += new.problems if new else ()
        problems += _of_commit(before[0], old.problems) if old and not (new and new.problems) else ()
        if any(side and side.problems for side in (old, new)):
            continue
        pairs = _pairs(old.compiled if old else {}, new.compiled if new else {}, environments)
        compared += len(pairs)
        deployments = tuple(report for pair in pairs if _differs(report := _report(pair)) or _other_watch(pair))
        if deployments:
            reports.append(PassReport(name, after[0], "", "", "", deployments))
    return Comparison(before[0], after[0], tuple(reports), compared, tuple(dict.fromkeys(problems)))


def _of_commit(commit: str, problems: Sequence[Problem]) -> list[Problem]:
    """Placed as git writes it, COMMIT:FILE, to tell them from those of the later commit."""
    return [p._replace(origin=p.origin._replace(file=f"{commit[:8]}:{p.origin.file}")) for p in problems]


_Pair = tuple[Compiled | None, Compiled | None]


def _pairs(old: Mapping[str, Compiled], new: Mapping[str, Compiled], environments: Sequence[str]) -> list[_Pair]:
    names = sorted({*old, *new} & set(environments) if environments else {*old, *new})
    return [(old.get(name), new.get(name)) for name in names]


def _report(pair: _Pair) -> DeploymentReport:
    old, new = pair
    host = as_applied(old) if old else nothing()
    desired = new.deployment if new else _none_left(old)
    # A file that is not there yet is known to be missing, and a new build not to be in place.
    files = {**{file.path: FileState("") for file in desired.files}, **host.observed.files}
    builds = {i.id: i.digest for i in old.deployment.installs} if old else {}
    installs = {i.id: builds.get(i.id) == i.digest for i in desired.installs}
    observed = host.observed._replace(files=files, installs=installs, unmanaged=all_up(desired))
    plan = make_plan(desired, diff(desired, observed, host.inventory, new.fields if new else {}))
    return DeploymentReport(plan, desired, observed, (), applied=False)


def _none_left(old: Compiled | None) -> Deployment:
    """Git no longer has it: its agent ends what it runs, as far as the removal budget goes."""
    assert old is not None  # noqa: S101 - a pair has one of the two
    gone = old.deployment
    return without_services(gone.site, gone.environment, "", gone.root, gone.policy)


def _differs(report: DeploymentReport) -> bool:
    return bool(report.plan.steps) or any(change.held for change in report.plan.diff.changes)


def _other_watch(pair: _Pair) -> bool:
    """Other services than before are left to others, or are looked at in another way."""
    old, new = ({*compiled.deployment.unmanaged} if compiled else set() for compiled in pair)
    return old != new
