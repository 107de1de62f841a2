"""A schedule in a real scrontab of Slurm 24.11, through the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.backends.cluster import Cluster
from tests.scenarios.world import World, until

pytestmark = [pytest.mark.scenario, pytest.mark.git, pytest.mark.slurm]

FOREIGN = "# mine\r\n#SCRON --time=5\n7 3 * * * true\n#SCRON --time=3\n"


@pytest.fixture(name="cluster")
def a_cluster(users_world: World) -> Iterator[Cluster]:
    """One that the world's command finds."""
    made = Cluster(users_world.folder / "c", 24, users_world.account)
    users_world.env |= {"PATH": made.env["PATH"], "SLURM_CONF": made.env["SLURM_CONF"]}
    try:
        made.boot()
        yield made
    finally:
        made.end()


def keep(world: World) -> dict[str, str]:
    text = f'policy: {{keep_schedule: true}}\nenvironments: [dev]\npaths: {{root: "{world.root}"}}\n'
    return {f"desired/sites/{world.site}.yaml": text}


def table(cluster: Cluster) -> str:
    return cluster.run("scrontab", "-l")


def test_it_is_installed_once_and_taken_away_whole(users_world: World, cluster: Cluster) -> None:
    cluster.run("scrontab", "-", stdin=f"{FOREIGN}# no end")
    before = table(cluster)
    done = users_world.run("schedule", "install", "--with", "scrontab", "--scron", "--comment=ours")
    assert done.code == 0, done.said
    installed = table(cluster)
    assert installed.endswith(before)
    assert "#SCRON --comment=ours\n" in installed
    (job,) = [job for job in cluster.jobs() if job.name == f"reconcile-{users_world.site}"]
    assert (job.state, job.comment) == ("PENDING", "ours")
    again = users_world.run("schedule", "install")
    assert (again.code, again.out.startswith("nothing to change: scrontab, every 5m")) == (0, True), again.said
    assert (table(cluster), job.id in [each.id for each in cluster.jobs()]) == (installed, True)
    record = users_world.state / users_world.site / "schedule.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"host": "another-login-node"}))
    assert users_world.run("schedule", "install").out.startswith("nothing to change: scrontab, every 5m")
    status = users_world.run("schedule", "status", "--json").json()
    assert (status["stands"], status["findings"], bool(status["next_run"])) == (True, [], True)
    assert users_world.run("schedule", "install", "--scron=").code == 0
    assert "--comment" not in table(cluster)
    for said in ("removed: scrontab", "nothing to remove"):
        assert users_world.run("schedule", "remove").out == f"{said}\n"
        assert table(cluster) == before


@pytest.mark.parametrize("minutes", [5, 30, 120, 1440])
def test_slurm_begins_it_at_its_offset(minutes: int, users_world: World, cluster: Cluster) -> None:
    """Of a range with steps Slurm takes the multiples only: `3-59/5` would begin at :05."""
    from reconciler.schedule import times

    installed = users_world.run(
        "schedule", "install", "--with", "scrontab", "--every", times.spelled(minutes), "--json"
    )
    assert installed.code == 0, installed.said
    offset = installed.json()["offset"]
    (job,) = cluster.jobs()
    expected = times.next_run(float(job.submitted), minutes, offset // 60 * 60)
    assert float(job.start) in (expected, expected + minutes * 60)


def test_its_job_is_cancelled_and_the_next_pass_tells_and_mends(users_world: World, cluster: Cluster) -> None:
    """As before a maintenance: Slurm comments the entry out, and says so to nobody."""
    cluster.run("scrontab", "-", stdin=FOREIGN)
    users_world.commit()
    users_world.once()
    done = users_world.run("schedule", "install", "--with", "scrontab")
    assert done.code == 0, done.said
    installed = table(cluster)
    assert users_world.once() == (0, "", "")
    cluster.run("scancel", f"--name=reconcile-{users_world.site}")
    until(lambda: "#DISABLED: " in table(cluster))
    status = users_world.run("schedule", "status", "--json")
    assert (status.code, [f["trouble"] for f in status.json()["findings"]]) == (1, ["commented out by Slurm"])
    for words in ("--once", "plan", "status"):
        done = users_world.run(words)
        assert (done.code, "its lines in the scrontab are commented out by Slurm" in done.out) == (0, True), done.said
        assert "mends it" in done.out
    users_world.commit(keep(users_world))
    done = users_world.once()
    assert "it was mended, since policy.keep_schedule is set" in done.out
    assert table(cluster) == installed
    assert [job.state for job in cluster.jobs() if job.name == f"reconcile-{users_world.site}"] == ["PENDING"]
    assert users_world.once() == (0, "", "")
    assert users_world.run("schedule", "status").code == 0


def test_a_controller_that_does_not_answer_leads_to_nothing(users_world: World, cluster: Cluster) -> None:
    users_world.commit(keep(users_world))
    users_world.once()
    done = users_world.run("schedule", "install", "--with", "scrontab")
    assert done.code == 0, done.said
    installed = table(cluster)
    cluster.stop_controller()
    done = users_world.once()
    assert "whether the schedule stands cannot be told: `" in done.out
    assert users_world.run("schedule", "status").code == 1
    cluster.start_controller()
    assert table(cluster) == installed
    assert users_world.once() == (0, "", "")


def test_no_job_of_it_is_left(users_world: World, cluster: Cluster) -> None:
    """A controller that has lost its jobs has its tables still."""
    done = users_world.run("schedule", "install", "--with", "scrontab")
    assert done.code == 0, done.said
    cluster.stop_controller()
    for path in (cluster.folder / "state").glob("job_state*"):
        path.unlink()
    cluster.start_controller()
    if cluster.jobs():
        pytest.skip("this Slurm makes them anew")
    status = users_world.run("schedule", "status")
    assert (status.code, "Slurm holds no job" in status.out) == (1, True), status.said
    assert users_world.run("schedule", "install").code == 0
    assert [job.state for job in cluster.jobs()] == ["PENDING"]


def test_options_that_slurm_refuses_change_nothing(users_world: World, cluster: Cluster) -> None:
    cluster.run("scrontab", "-", stdin=f"{FOREIGN}# no end")
    before = table(cluster)
    done = users_world.run("schedule", "install", "--with", "scrontab", "--scron", "--nonsense=1")
    assert (done.code, "nonsense" in done.said) == (1, True), done.said
    assert table(cluster) == before
    assert users_world.run("schedule", "status").code == 2


@pytest.mark.slow
def test_its_job_makes_a_pass(users_world: World, cluster: Cluster) -> None:
    """It starts without HOME and without a PATH; what it says goes to a log."""
    users_world.commit(users_world.services("one", one="component: app, command: 'false'"))
    done = users_world.run("schedule", "install", "--with", "scrontab", "--every", "1m")
    assert done.code == 0, done.said
    log = users_world.state / users_world.site / "schedule.log"
    until(lambda: log.exists() and "one" in log.read_text(), 135)
    assert os.stat(log).st_uid == users_world.account.uid
    until((users_world.state / users_world.site / "dev" / "journal.jsonl").exists)
