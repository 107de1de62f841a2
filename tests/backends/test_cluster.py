"""The Slurm bed itself, and facts about Slurm that the project relies on, in both versions where both have them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.backends.cluster import HOST, Cluster
from tests.conftest import left_behind
from tests.scenarios.world import until

Clusters = Callable[..., Cluster]
pytestmark = pytest.mark.slurm
both = pytest.mark.parametrize("version", [22, 24])


def printed(cluster: Cluster, number: str, last: str) -> list[str]:
    """The lines of a job's output, once the last one is there."""
    path = cluster.home / f"slurm-{number}.out"
    lines = path.read_text().splitlines() if path.exists() else []
    return lines if last in lines else []


@both
def test_a_job_runs_on_this_machine_as_the_user(clusters: Clusters, version: int) -> None:
    cluster = clusters(version)
    number = cluster.submit("id -un; hostname -s; squeue --noheader --format=%i")
    until(lambda: cluster.job(number).state == "COMPLETED")
    assert printed(cluster, number, number) == [cluster.account.name, HOST, number]


@both
def test_all_of_it_is_told_when_left_behind_and_gone_when_ended(clusters: Clusters, version: int) -> None:
    cluster = clusters(version, nodes=["n2"])
    script = "setsid sleep 86399 & exec sleep 86398"
    for node in cluster.nodes:
        cluster.submit(script, f"--nodelist={node}")
    until(lambda: len([line for line in left_behind(str(cluster.folder)).values() if "sleep 8639" in line]) == 4)
    told = " ".join(left_behind(str(cluster.folder)).values())
    assert [name for name in ("munged", "slurmctld", "slurmd") if name not in told] == []
    assert told.count("slurmstepd: [") == 2
    cluster.end()
    assert left_behind(str(cluster.folder)) == {}


@both
def test_the_second_node_is_like_another_machine(clusters: Clusters, version: int) -> None:
    cluster = clusters(version, nodes=["n2"])
    here = cluster.submit("exec sleep 86399", f"--nodelist={HOST}")
    script = "hostname; id -u; squeue --noheader --format=%T; ls /proc; echo end; exec sleep 86399"
    there = cluster.submit(script, "--nodelist=n2")
    lines = until(lambda: printed(cluster, there, "end"))
    assert lines[:3] == ["n2", str(cluster.account.uid), "RUNNING"]
    assert len([line for line in lines if line.isdigit()]) < 20  # its processes
    assert {cluster.job(here).node, cluster.job(there).node} == {HOST, "n2"}
    cluster.stop_node("n2")
    assert len([line for line in left_behind(str(cluster.folder)).values() if "sleep 86399" in line]) == 1
