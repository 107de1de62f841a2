"""8. `plan` and `--once` share one plan; each step checks its precondition again just before it acts."""

from __future__ import annotations

import sys

import pytest

from tests.promises.conftest import TOOL
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

# A pass in which somebody edits a file, or restarts a service, just before the step that concerns it.
_MEANWHILE = """
import subprocess, sys
from reconciler.agent.config import Agent
from reconciler.agent.run import Pass
from reconciler.report.log import Log

class Meddler(Log):
    def deployment(self, plan, run):
        with open(sys.argv[4], "w") as file:
            file.write("by hand\\n")
        subprocess.run(sys.argv[5:], check=True, capture_output=True)

report = Pass(Agent(*sys.argv[1:3], state_dir=sys.argv[3]), Meddler()).run()
for result in report.deployments[0].results:
    print(result.id, result.status.value, result.message)
"""


def test_08_the_plan_is_what_is_done(world: World) -> None:
    world.commit(world.versions("2.0") | world.services("one", "four", "three", three=TOOL))
    planned = world.run("plan", "--json").json()["deployments"][0]
    done = world.once("--json").json()["deployments"][0]
    assert [step["id"] for step in planned["steps"]] == [step["id"] for step in done["steps"]]
    planned, done = ({**one, "changes": [{**c, "causes": []} for c in one["changes"]]} for one in (planned, done))
    assert planned["changes"] == done["changes"], "who wrote it in git is looked up for a preview only"
    assert {step["status"] for step in done["steps"]} == {"done"}


def test_08_a_saved_plan_of_another_state(world: World) -> None:
    world.commit(world.versions("2.0"))
    saved = str(world.folder / "plan")
    assert world.run("plan", "--out", saved).code == 2
    world.supervisorctl("stop", "three")
    before, files = world.pids(), world.files()
    done = world.run("apply", saved)
    assert (done.code, "was made from another state" in done.out) == (2, True), done.said
    assert (world.pids(), world.files()) == (before, files)


def test_08_each_step_looks_again(world: World) -> None:
    """A file that was edited since is not written over, and a service that was started since is not started twice."""
    world.supervisorctl("stop", "three")
    world.commit(world.versions("2.0"))
    conf = world.root / "config/app.conf"
    start = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(world.root / "config/supervisord.conf")]
    done = world.run_python(
        f"import sys; sys.argv[1:] = {[world.url, world.site, str(world.state), str(conf), *start, 'start', 'three']}\n"
        + _MEANWHILE
    )
    said = dict(line.split(" ", 1) for line in done.out.splitlines())
    assert said[f"render:{conf}"].startswith("failed was changed since the plan was made"), done.said
    assert said["start:three"].startswith("skipped"), done.said
    assert conf.read_text() == "by hand\n"
    world.once()
    assert conf.read_text().endswith("app = 2.0\n")
    world.idle()
