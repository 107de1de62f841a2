"""The table of sites in README.md is what desired/ amounts to."""

from __future__ import annotations

import re

from tests.jaws.conftest import ROOT
from tests.jaws.repo import ENVIRONMENTS, SITES, Deployments

README = (ROOT / "README.md").read_text()
HEAD = ["site", "environments", "launcher", "install", "container"]


def table() -> list[list[str]]:
    """The cells of each row, but for the last one, which is for people alone."""
    start = README.index("| " + " | ".join(HEAD) + " |")
    lines = README[start:].partition("\n\n")[0].splitlines()
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")][:-1] for line in lines]


def of_repo(site: str, deployments: Deployments) -> list[str]:
    """The row of a site. It runs JAWS Site in one way in all of its environments."""
    rows = set()
    for environment in ENVIRONMENTS:
        compiled = deployments[site, environment]
        (launcher,) = {service.launcher for service in compiled.deployment.services}
        shown = compiled.fields["rpc-server"]
        mode = str(shown["container.mode"].value) if "container.mode" in shown else ""
        rows.add((launcher, str(shown["install"].value), mode))
    (row,) = rows
    return [site, ", ".join(ENVIRONMENTS), *row]


def test_the_table_of_sites_is_the_repo(deployments: Deployments) -> None:
    head, rule, *rows = table()

    assert head == HEAD
    assert all(re.fullmatch(r"-+", cell) for cell in rule)
    assert sorted(rows) == sorted(of_repo(site, deployments) for site in SITES)
