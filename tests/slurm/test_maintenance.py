"""Maintenance as a real Slurm of either version tells it, and what it makes of the jobs that the decision leads to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.reservations import MARGIN, MINUTE, Reservation, Slot, decide, touching
from reconciler.launchers.base import BackendError
from reconciler.launchers.slurm.query import Query
from reconciler.launchers.slurm.reservations import ARGV, parse
from tests.backends.beds import all_clusters
from tests.backends.cluster import HOST, Cluster
from tests.scenarios.test_windows import marks, policy, running
from tests.scenarios.world import World, a_world, until

__all__ = ["a_world", "all_clusters"]
pytestmark = pytest.mark.slurm
both = pytest.mark.parametrize("version", [22, 24])
Clusters = Callable[..., Cluster]

HOUR, DAY = 3600, 86400
BUFFER = 2 * HOUR
WANTED = 90 * DAY


def asked(cluster: Cluster) -> tuple[Reservation, ...]:
    question = Query(ARGV, parse, env=cluster.env)
    try:
        return question.answer()
    finally:
        question.end()


def limits(slot: Slot) -> list[str]:
    """What sbatch is told."""
    assert slot.time is not None
    least = [f"--time-min={slot.least // MINUTE}"] if slot.least is not None else []
    return [f"--time={slot.time // MINUTE}", *least]


@both
def test_what_is_told_is_what_was_reserved(clusters: Clusters, version: int) -> None:
    cluster = clusters(version, nodes=["n2", "n3"])
    assert asked(cluster) == ()
    now = time.time()
    cluster.reserve("far", "now+3days", 480)
    cluster.reserve("near", "now+3hours", 60, nodes="n[2-3]")
    course = ["reservationname=course", "starttime=now+1hour", "duration=30", "nodes=ALL", "users=root"]
    cluster.run("scontrol", "create", "reservation", *course, "flags=part_nodes", "partition=main")
    found = {one.name: one for one in asked(cluster)}
    assert list(found) == ["far", "near", "course"]
    assert sorted(found["near"].nodes or ()) == ["n2", "n3"]
    assert sorted(found["far"].nodes or ()) == sorted([HOST, "n2", "n3"])
    assert (found["course"].partition, found["far"].partition) == ("main", "")
    assert {name: one.is_maintenance for name, one in found.items()} == {"far": True, "near": True, "course": False}
    assert abs(found["near"].start - now - 3 * HOUR) < 30
    assert found["near"].end - found["near"].start == HOUR
    assert found["far"].users == {cluster.account.name}


@both
def test_half_an_hour_ahead_it_is_held_and_afterwards_it_is_not(clusters: Clusters, version: int) -> None:
    cluster = clusters(version)
    cluster.reserve("soon", "now+30minutes", 60)
    (soon,) = asked(cluster)
    slot = decide([soon], time.time(), WANTED, BUFFER)
    assert (slot.held, slot.held_until, slot.because) == (True, soon.end, "soon")
    cluster.drop("soon")
    assert decide(asked(cluster), time.time(), WANTED, BUFFER) == Slot(WANTED)


@both
def test_the_near_one_counts_and_the_job_begins_at_once_and_ends_before_it(clusters: Clusters, version: int) -> None:
    cluster = clusters(version)
    cluster.reserve("far", "now+3days", 480)
    cluster.reserve("near", "now+3hours", 60)
    listed = touching(asked(cluster), frozenset({HOST}))
    slot = decide(listed, time.time(), WANTED, BUFFER)
    assert slot.because == "near"
    number = cluster.submit("exec sleep 86399", *limits(slot))
    until(lambda: cluster.job(number).state == "RUNNING")
    near = next(one for one in listed if one.name == "near")
    assert near.start - BUFFER - 3 * MINUTE <= float(cluster.job(number).end) <= near.start


@both
def test_a_job_that_can_begin_at_once_gets_all_the_time_that_there_is(clusters: Clusters, version: int) -> None:
    """With the scheduler as Slurm has it by default, a job that fits is not begun by the backfill scheduler."""
    cluster = clusters(version, settings={"SchedulerParameters": "bf_interval=30"})
    cluster.reserve("near", "now+3hours", 60)
    listed = asked(cluster)
    number = cluster.submit("exec sleep 86399", *limits(decide(listed, time.time(), WANTED, BUFFER)))
    until(lambda: cluster.job(number).state == "RUNNING")
    assert 0 <= listed[0].start - float(cluster.job(number).end) <= MARGIN + 2 * MINUTE


@both
def test_the_backfill_scheduler_gives_no_more_than_the_least(clusters: Clusters, version: int) -> None:
    """Why `--time` is not left at what was wanted: such a job would end hours before the maintenance begins."""
    cluster = clusters(version)
    cluster.reserve("near", "now+3hours", 60)
    number = cluster.submit("exec sleep 86399", "--time=90-0", "--time-min=60")
    until(lambda: cluster.job(number).state == "RUNNING")
    assert cluster.job(number).limit == "1:00:00"


@both
def test_a_share_of_the_nodes_is_somebody_elses_even_where_we_may_use_it(clusters: Clusters, version: int) -> None:
    """A job runs inside of a reservation only if it asks for it by name: the flag MAINT changes nothing in that."""
    cluster = clusters(version)
    cluster.reserve("ours", "now", 60, flags="ignore_jobs")
    number = cluster.submit("exec sleep 86399", "--time=5")
    inside = cluster.submit("exec sleep 86399", "--time=5", "--reservation=ours")
    until(lambda: cluster.job(inside).state == "RUNNING")
    assert cluster.job(number).state == "PENDING"
    assert decide(asked(cluster), time.time(), 5 * MINUTE, BUFFER) == Slot(5 * MINUTE)


@both
def test_a_controller_that_does_not_answer_is_not_taken_for_no_reservation(clusters: Clusters, version: int) -> None:
    cluster = clusters(version)
    cluster.stop_controller()
    question = Query(ARGV, parse, 2.0, cluster.env)
    for _ in range(2):
        with pytest.raises(BackendError, match="scontrol show reservation"):
            question.answer()


def test_no_scontrol_is_not_taken_for_no_reservation(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="scontrol cannot be started"):
        Query(ARGV, parse, env={"PATH": str(tmp_path)}).answer()


@both
@pytest.mark.scenario
@pytest.mark.supervisor
def test_applies_wait_for_a_maintenance_and_come_back_by_themselves(
    world: World, clusters: Clusters, version: int
) -> None:
    cluster = clusters(version)
    running(world)
    world.env |= {"PATH": f"{cluster.env['PATH']}", "SLURM_CONF": cluster.env["SLURM_CONF"]}
    windows = f"policy: {{windows: {{mnt: {{slurm_reservation: true, buffer: 2h, nodes: {HOST}}}}}}}\n"
    cluster.reserve("far", "now+3days", 480)
    cluster.reserve("near", "now+30minutes", 60)
    pids = world.pids()
    world.commit(world.versions("2.0") | policy(world, windows))
    told = " ".join(world.once(code=2).out.split())
    assert "held until" in told
    assert "(policy.windows.mnt: maintenance near)" in told
    assert world.pids() == pids
    cluster.stop_controller()
    gap = world.once(code=1)
    assert "cannot be told" in gap.out
    assert world.pids() == pids
    cluster.start_controller()
    cluster.drop("near")
    world.once()
    assert marks(world)["web"] == "2.0"
    world.idle()
