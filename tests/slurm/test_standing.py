"""What is read from the queue and how the jobs of one name stand to each other, without any Slurm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.launchers.slurm import limits, queue
from reconciler.launchers.slurm.job import check_options
from reconciler.launchers.slurm.queue import Job, Mark, mark_of
from reconciler.launchers.slurm.standing import Standing, Wanted, stand

NOW = 1_000_000.0
MARK = Mark("perlmutter/prod", "r00t", "spec")
OLD = MARK._replace(spec="old")
WANTED = Wanted("jaws", MARK, renew=600)


def job(number: int, state: str, mark: Mark | None = MARK, *, ends: float = 86400, name: str = "jaws") -> Job:
    start = NOW - 1000 + number if state == "RUNNING" else 0.0
    end = NOW + ends if state == "RUNNING" else 0.0
    return Job(number, name, state, "None", start, end, NOW - 2000, "n1", str(mark) if mark else "")


RUNS, WAITS = job(1, "RUNNING"), job(2, "PENDING")
CASES: dict[str, tuple[list[Job], Standing]] = {
    "none": ([], Standing()),
    "one that runs": ([RUNS], Standing(RUNS)),
    "one that waits": ([WAITS], Standing(next=WAITS)),
    "one too many waits": ([RUNS, WAITS], Standing(RUNS, surplus=(WAITS,))),
    "two run: the older one stays": (
        [job(4, "RUNNING"), job(3, "RUNNING")],
        Standing(job(3, "RUNNING"), surplus=(job(4, "RUNNING"),)),
    ),
    "three wait": ([job(9, "PENDING"), job(7, "PENDING"), job(8, "PENDING")], Standing(
        next=job(7, "PENDING"), surplus=(job(8, "PENDING"), job(9, "PENDING")))),
    "its time is nearly over": ([job(1, "RUNNING", ends=500)], Standing(job(1, "RUNNING", ends=500), renew=True)),
    "its successor is there": (
        [job(1, "RUNNING", ends=500), WAITS], Standing(job(1, "RUNNING", ends=500), WAITS)),
    "no end is known": ([RUNS._replace(end=0.0)], Standing(RUNS._replace(end=0.0))),
    "with other resources": ([job(1, "RUNNING", OLD)], Standing(job(1, "RUNNING", OLD))),
    "that one is followed": ([job(1, "RUNNING", OLD), WAITS], Standing(job(1, "RUNNING", OLD), WAITS)),
    "what waits has other resources": ([job(2, "PENDING", OLD)], Standing(surplus=(job(2, "PENDING", OLD),))),
    "somebody else's": ([job(5, "PENDING", None)], Standing(strangers=(job(5, "PENDING", None),))),
    "another deployment's": (
        [job(5, "RUNNING", MARK._replace(root="other"))],
        Standing(strangers=(job(5, "RUNNING", MARK._replace(root="other")),)),
    ),
    "somebody else's of another name": ([job(5, "RUNNING", None, name="jaws-x")], Standing()),
    "ours, that git called otherwise": (
        [job(5, "RUNNING", OLD, name="jaws-x"), WAITS],
        Standing(job(5, "RUNNING", OLD, name="jaws-x"), WAITS),
    ),
    "one that waits under another name": (
        [job(5, "PENDING", OLD, name="jaws-x"), job(6, "PENDING")],
        Standing(next=job(6, "PENDING"), surplus=(job(5, "PENDING", OLD, name="jaws-x"),)),
    ),
    "over": ([job(5, "COMPLETED"), job(6, "CANCELLED"), job(7, "TIMEOUT")], Standing()),
    "being ended": ([job(5, "COMPLETING")], Standing(ending=job(5, "COMPLETING"))),
    "suspended": ([job(5, "SUSPENDED")], Standing(job(5, "SUSPENDED"))),
    "in a state of a later Slurm": ([job(5, "PONDERING")], Standing(job(5, "PONDERING"))),
    "held by hand after a requeue": ([job(5, "REQUEUE_HOLD")], Standing(next=job(5, "REQUEUE_HOLD"))),
}


@pytest.mark.parametrize(("jobs", "expected"), CASES.values(), ids=CASES)
def test_how_they_stand(jobs: list[Job], expected: Standing) -> None:
    assert stand(jobs, WANTED, NOW) == expected
    assert stand(reversed(jobs), WANTED, NOW) == expected


STATES = ("PENDING", "RUNNING", "COMPLETING", "COMPLETED", "SUSPENDED", "REQUEUED", "PONDERING")
MARKS = st.sampled_from([MARK, OLD, MARK._replace(root="other"), None])


@given(st.lists(st.tuples(st.sampled_from(STATES), MARKS, st.integers(1, 2000)), max_size=8))
def test_each_job_is_one_thing_and_one_is_left(drawn: list[tuple[str, Mark | None, int]]) -> None:
    """Once what is too many is gone, nothing more is to go. Nobody else's job ever goes."""
    jobs = [job(at + 1, state, mark, ends=ends) for at, (state, mark, ends) in enumerate(drawn)]
    found = stand(jobs, WANTED, NOW)
    roles = [*filter(None, (found.job, found.next, found.ending)), *found.surplus, *found.strangers]
    assert len(roles) == len({each.id for each in roles})
    assert all(mark_of(each) in (MARK, OLD) for each in found.surplus)
    again = stand([each for each in jobs if each not in found.surplus], WANTED, NOW)
    assert again == found._replace(surplus=())
    assert not (found.renew and found.next)


def test_what_squeue_prints() -> None:
    row = ["12", "PENDING", "Priority", "N/A", "NONE", "1795923316", "", "reconcile/1 a/b r s", "na|me"]
    (found,) = queue.parse("\x1f".join(row) + "\n")
    assert found == Job(12, "na|me", "PENDING", "Priority", 0.0, 0.0, 1795923316.0, "", "reconcile/1 a/b r s")
    assert mark_of(found) == Mark("a/b", "r", "s")
    assert queue.parse("") == ()
    with pytest.raises(ValueError, match="broke off"):
        queue.parse("\x1f".join(row))
    odd = "\x1f".join([*row[:7], "a comment", "of two"]) + "\nlines\n" + "\x1f".join(["12_[1-5]", *row[1:]]) + "\n"
    assert [each.name for each in queue.parse(odd)] == ["of two"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 300), ("5:30", 330), ("1:00:00", 3600), ("2-12", 216000), ("2-12:30", 217800), ("90-00:00:00", 7776000)],
)
def test_time_limits(text: str, seconds: int) -> None:
    assert limits.parse(text) == seconds
    assert limits.parse(limits.write(seconds)) in (seconds, seconds + 30)  # whole minutes


@pytest.mark.parametrize("text", ["", "0", "x", "1-", "1:2:3:4", "-5", "1 day"])
def test_no_time_limits(text: str) -> None:
    with pytest.raises(ValueError, match="no time limit"):
        limits.parse(text)


def test_no_time_limit_at_all() -> None:
    assert limits.parse("UNLIMITED") is None
    assert limits.write(None) == "UNLIMITED"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--qos=workflow --constraint='a b'", ""),
        ("--job-name=x", "--job-name is set by reconcile itself"),
        ("-t 5", "-t is set by reconcile itself"),
        ("-Jother", "-Jother is set by reconcile itself"),
        ("--job=other", "--job is set by reconcile itself"),
        ("--dep=afterok:5", "--dep is set by reconcile itself"),
        ("--no-requeue --nodes=1 --wait-all-nodes=1", ""),
        ("--comment x", "--comment is set by reconcile itself"),
        ("--x='", "no closing quotation"),
    ],
)
def test_further_words_for_sbatch(text: str, said: str) -> None:
    assert said in check_options(text)
    assert bool(check_options(text)) == bool(said)


def test_what_a_command_is_called_with() -> None:
    """A pass in a job, and a person's settings, change nothing."""
    own = {"PATH": "/bin", "SLURM_CONF": "/c", "SLURM_JOB_ID": "5", "SQUEUE_FORMAT": "%i", "SBATCH_TIMELIMIT": "1"}
    assert queue.environment(own) == {"PATH": "/bin", "SLURM_CONF": "/c", "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
