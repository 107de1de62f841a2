"""Gates and guards beside supervisord: what waits for a person, or for a guard, waits with every launcher."""

from __future__ import annotations

import pytest

from tests.meets.bed import Bed, Slurm, Supervisor, on
from tests.scenarios.world import until

pytestmark = [pytest.mark.scenario]

MANUAL, DRIFT, PRUNE = (f"policy: {{{key}}}" for key in ("sync: manual", "self_heal: false", "prune: confirm"))


@on("systemd", "apptainer", "slurm")
def test_what_waits_for_a_person(bed: Bed) -> None:
    bed.policy = MANUAL
    bed.commit({"web": bed.keys(), "job": bed.keys("tool")})
    bed.approved()
    assert bed.running() == {"web": "1.0", "job": "1.0"}
    kept = bed.pid("job")
    bed.commit(app="2.0")
    bed.approved()
    assert bed.running() == {"web": "2.0", "job": "1.0"}
    assert bed.pid("job") == kept
    bed.policy = PRUNE
    bed.commit({"web": bed.keys()}, app="3.0")
    bed.approve(bed.report(code=2)["approval"]["plan"])
    assert bed.running() == {"web": "3.0", "job": "1.0"}  # what the commit changes does not wait
    bed.once()
    assert bed.running() == {"web": "3.0"}
    bed.world.idle()


@on("systemd", "apptainer", "slurm")
def test_what_is_down_waits_where_drift_is_not_to_be_mended(bed: Bed) -> None:
    bed.policy = DRIFT
    bed.commit({"web": bed.keys(), "job": bed.keys("tool")})
    bed.once()
    bed.world.idle()
    kept = bed.pid("job")
    bed.stop("web")
    bed.approved()
    assert bed.running() == {"web": "1.0", "job": "1.0"}
    bed.stop("web")  # the same once more is approved once more
    bed.waits()
    bed.commit(tool="2.0")
    bed.once(code=2)
    assert bed.running() == {"job": "2.0"}
    assert bed.pid("job") != kept


@on("systemd", "apptainer", "slurm")
def test_a_guard_is_asked_before_anything_ends(bed: Bed) -> None:
    """Also of what git no longer has, and where the launcher or the unit's name is another one from now on."""
    backup = bed.world.folder / "backup"
    guard = "{backup: {command: 'echo looking at $DUMP; test -s $DUMP'}}"
    db = bed.keys(env=f"{{DUMP: {backup}}}", guard=guard)
    bed.commit({"db": db, "job": bed.keys("tool")})
    bed.once()
    bed.world.idle()
    pid = bed.pid("db")

    def refused(services: dict[str, str], **versions: str) -> None:
        bed.commit(services, **versions)
        for _ in range(2):
            assert f"guard backup: exit status 1 looking at {backup}" in bed.once(code=1)
            assert bed.pid("db") == pid

    refused({"db": db, "job": bed.keys("tool")}, app="2.0", tool="2.0")
    assert bed.running() == {"db": "1.0", "job": "2.0"}
    refused({"job": bed.keys("tool")})
    refused({"db": f"{db}, name: other", "job": bed.keys("tool")})
    refused({"db": f"{db}, enabled: false", "job": bed.keys("tool")})
    backup.write_text("x")
    bed.once()
    assert bed.running() == {"job": "2.0"}
    bed.world.idle()


# ---------------------------------------------------------------- the job itself


@on("slurm")
def test_another_job_waits_for_a_person(bed: Slurm) -> None:
    """Other resources are what a commit brings; the job that runs goes on."""
    bed.policy = MANUAL
    bed.commit({"web": bed.keys(), "job": bed.keys("tool")})
    bed.approved()
    job, pids = bed.job(), bed.pids()
    bed.settings = 'time: "2-00:00:00"'
    bed.commit()
    bed.waits()
    assert (bed.job(), bed.pids()) == (job._replace(left=bed.job().left), pids)
    bed.approved()
    assert bed.job().limit == "2-00:00:00"


@on("slurm")
def test_another_job_that_waits_for_a_person_does_not_come_with_drift(bed: Slurm) -> None:
    """The job is gone: it comes back as it was, and what git says anew of it goes on waiting."""
    bed.policy = MANUAL
    bed.commit({"web": bed.keys(), "job": bed.keys("tool")})
    bed.approved()
    limit = bed.job().limit
    bed.settings = 'time: "2-00:00:00"'
    bed.commit()
    bed.waits()
    bed.cancel()
    said = bed.once(code=2)
    assert [(job.limit, job.state) for job in bed.deck.jobs()] == [(limit, "RUNNING")], said
    assert bed.running() == {"web": "1.0", "job": "1.0"}
    bed.cluster.run("scontrol", "requeue", bed.job().id)
    until(lambda: bed.job().state == "PENDING" and not bed.pids(), seconds=60)
    waiting = bed.job().id
    for _ in range(2):
        bed.once(code=2)
        assert (bed.job().id, bed.job().state) == (waiting, "PENDING")
    bed.approved()
    assert bed.job().limit == "2-00:00:00"


@on("supervisor")
def test_other_settings_of_supervisord_wait_for_a_person_while_it_is_started_again(bed: Supervisor) -> None:
    bed.policy = MANUAL
    bed.commit({"web": bed.keys()})
    bed.approved()
    conf = bed.world.root / "config/supervisord.conf"
    before = conf.read_text()
    bed.settings = "minfds: 900"
    bed.commit()
    bed.waits()
    bed.world.supervisorctl("shutdown")
    until(lambda: not bed.pids())
    bed.once(code=2)
    assert (bed.running(), conf.read_text()) == ({"web": "1.0"}, before)
    daemon = bed.pid("")
    bed.approved()
    assert bed.pid("") != daemon
    assert "minfds=900" in conf.read_text()


@on("slurm")
def test_a_job_does_not_end_before_the_guards_of_all_in_it(bed: Slurm) -> None:
    backup = bed.world.folder / "backup"
    db = bed.keys(guard=f"{{backup: {{command: 'test -s {backup}'}}}}")
    bed.commit({"db": db, "job": bed.keys("tool")})
    bed.once()
    job, pids = bed.job().id, bed.pids()
    for settings in ("loglevel: debug", "job: another"):
        bed.settings = settings
        bed.commit()
        assert "guard backup: exit status 1" in bed.once(code=1)
        assert [one.id for one in bed.cluster.jobs()] == [job]
        assert bed.pids() == pids
    backup.write_text("x")
    bed.once()
    bed.world.idle()
    assert bed.running() == {"db": "1.0", "job": "1.0"}
    assert [one.name for one in bed.cluster.jobs()] == ["another"]


@on("slurm")
def test_a_successor_does_not_wait_where_drift_is_not_to_be_mended(bed: Slurm) -> None:
    """That a job's time is nearly over is nobody's doing: without a successor all would end for nothing."""
    bed.policy = DRIFT
    bed.settings = 'time: "1:00:00", renew: 30'
    bed.commit({"web": bed.keys()})
    bed.once()
    bed.world.idle()
    bed.settings = 'time: "1:00:00", renew: 61'
    bed.commit()
    said = bed.once()
    assert [job.state for job in bed.deck.jobs()] == ["RUNNING", "PENDING"], said
    bed.world.idle()
