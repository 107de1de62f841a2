"""`cleanup`: what its rules say, as it is compiled and kept. What is wrong with one is in `test_problems`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from reconciler.agent.memory.codec import decode_deployment, encode_deployment
from reconciler.core.desired import Age, Cleanup, Compiled, RootIs, Sort
from reconciler.desired import Facts, compile_site

Compile = Callable[..., Compiled]
BOTH = "desired/sites/x.dev.yaml"

# The two lines of cron that purge the inputs and the workflows of the JAWS deployment today.
JAWS = """\
vars: {scratch: "/clusterfs/jgi/scratch/dsi/aa/jaws"}
cleanup:
  inputs: {root: "{{ scratch }}/jaws-{{ environment }}/inputs", min_depth: 2, older_than: 14, schedule: "0 2 * * sun"}
  executions:
    root: "{{ scratch }}/jaws-{{ environment }}/cromwell-executions"
    min_depth: 2
    max_depth: 2
    type: d
    older_than: 14
    age: newest
    schedule: "0 5 * * sun"
    zone: America/Los_Angeles
    exclude: ["*.keep"]
    free_below: "10%"
    in_use: {command: "cromwell-running --ids"}
    root_is: mount
    minutes: 5
    entries: 100000
  gone: null
"""


def test_rules_are_compiled_and_kept(compiled: Compile) -> None:
    deployment = compiled(JAWS).deployment
    top = "/clusterfs/jgi/scratch/dsi/aa/jaws/jaws-dev"
    executions = Cleanup("executions", f"{top}/cromwell-executions", 14, min_depth=2, max_depth=2, sort=Sort.FOLDER)
    assert deployment.cleanups == (
        executions._replace(
            age=Age.NEWEST,
            exclude=("*.keep",),
            cron="0 5 * * sun",
            zone="America/Los_Angeles",
            free_percent=10,
            in_use_command="cromwell-running --ids",
            root_is=RootIs.MOUNT,
            minutes=5,
            entries=100_000,
        ),
        Cleanup("inputs", f"{top}/inputs", 14, min_depth=2, cron="0 2 * * sun"),
    )
    kept = json.loads(json.dumps(encode_deployment(deployment)))
    assert decode_deployment(kept).cleanups == deployment.cleanups


@pytest.mark.parametrize(
    ("root", "root_is", "told"),
    [
        ("/people/robot", "", "is the home of the account"),
        ("/people", "", "holds the home of the account"),
        ("/people", "home", "holds the home of the account"),
        ("/people/robot", "mount", "is the home of the account"),
        ("/people/robot", "home", ""),
        ("/people/robot/scratch", "", ""),
    ],
)
def test_a_home_is_a_root_only_where_that_is_said(
    tree: Callable[..., dict[str, bytes]], root: str, root_is: str, told: str
) -> None:
    more = f", root_is: {root_is}" if root_is else ""
    files = tree({BOTH: f"cleanup: {{x: {{root: {root}, older_than: 14{more}}}}}"})
    result = compile_site(files, "x", ["dev"], Facts("login01", "robot", home="/people/robot"))
    assert bool(result.problems) is bool(told)
    assert all(told in problem.message for problem in result.problems)


def test_a_rule_is_for_the_account_and_host_of_its_deployment(tree: Callable[..., dict[str, bytes]]) -> None:
    files = tree({BOTH: "account: robot\ncleanup: {x: {root: /scratch/x, older_than: 14}}"})
    for account, count in (("robot", 1), ("ann", 0)):
        result = compile_site(files, "x", ["dev"], Facts("login01", account, here=True))
        assert result.problems == ()
        assert len(result.compiled["dev"].deployment.cleanups) == count
