"""A bump of one version, compared as `reconcile diff` does: with hosts on which the version before it runs."""

from __future__ import annotations

import re

import pytest

from reconciler.agent.compare import compare
from reconciler.core.change import Act, Kind
from reconciler.desired import Tree
from tests.jaws.repo import CROMWELL, DEPLOYMENTS, ENVIRONMENTS, FACTS, JAWS_SITE, SITES, Repo, services_of

BUMPED = {"site": frozenset(JAWS_SITE), "cromwell": frozenset(CROMWELL)}


def bumped(tree: Tree, environment: str, component: str) -> Tree:
    """The repo with another version of one component in one environment: one line of it."""
    path = f"desired/environments/{environment}.yaml"
    line = rf'^  {component}: "[^"]+"$'
    text, count = re.subn(line, f'  {component}: "99.1"', tree[path].decode(), flags=re.MULTILINE)
    assert count == 1
    return {**tree, path: text.encode()}


@pytest.mark.parametrize("component", BUMPED)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_bump_restarts_one_component_on_every_site(component: str, environment: str, jaws: Repo) -> None:
    tree = jaws.tree()
    found = compare(("old", tree), ("new", bumped(tree, environment, component)), FACTS)

    assert found.problems == ()
    assert found.compared == len(DEPLOYMENTS)
    assert [(one.site, [report.plan.environment for report in one.deployments]) for one in found.reports] == [
        (site, [environment]) for site in sorted(SITES)
    ]
    for one in found.reports:
        changes = one.deployments[0].plan.diff.changes
        updated = {change.service for change in changes if change.kind is Kind.UPDATE}
        assert updated == BUMPED[component], one.site
        others = {change.service for change in changes if not change.managed}
        assert {change.service for change in changes if change.kind is Kind.KEEP} == services_of(
            one.site, environment
        ).keys() - updated | others
        # Its launcher's own description has no version in it, so nothing is loaded anew.
        assert {change.act for change in changes if change.service in updated} == {Act.RESTART}, one.site
        assert {change.wanted for change in changes if change.service in updated} == {"99.1"}


def test_nothing_differs_from_itself(jaws: Repo) -> None:
    assert compare(("one", jaws.tree()), ("two", jaws.tree()), FACTS).reports == ()


def test_a_new_site_creates_all_of_its_services(jaws: Repo) -> None:
    tree = jaws.tree()
    before = {path: content for path, content in tree.items() if path != "desired/sites/dori.yaml"}
    found = compare(("old", before), ("new", tree), FACTS)

    assert [one.site for one in found.reports] == ["dori"]
    assert [report.plan.environment for report in found.reports[0].deployments] == sorted(ENVIRONMENTS)
    for report in found.reports[0].deployments:
        assert {change.service: change.kind for change in report.plan.diff.changes} == dict.fromkeys(
            (*CROMWELL, *JAWS_SITE), Kind.CREATE
        )
