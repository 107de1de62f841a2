"""The Slurm bed itself, and facts about Slurm that the project relies on, in both versions where both have them."""

from __future__ import annotations

import re
import shutil
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


# ---------------------------------------------------------------- what squeue and scontrol say

FORMAT = "--format=%i|%T|%r|%S|%e|%L|%V|%l|%N|%k|%j"
SECONDS = {"SLURM_TIME_FORMAT": "%s"}
ODD = "a|b c=\"d\" 'e' ü {\"x\":1}"


def running(cluster: Cluster, *numbers: str) -> None:
    until(lambda: {cluster.job(number).state for number in numbers} == {"RUNNING"})


def ended(cluster: Cluster, number: str) -> str:
    """The state that it ended in."""
    until(lambda: cluster.job(number).state not in ("PENDING", "RUNNING", "COMPLETING"))
    return cluster.job(number).state


@both
def test_times_are_told_in_seconds_where_they_are_asked_for(clusters: Clusters, version: int) -> None:
    """In the same words by both: N/A, NONE and Unknown for a time that is not known, UNLIMITED for no limit.

    A job that has just been started may be RUNNING and still have these. A time limit that is over leaves INVALID as
    `%L`. Where the partition has no limit, that of a job without one is a year once it runs.
    """
    cluster = clusters(version)
    held = cluster.submit("exec sleep 86399", "--hold")
    soon = cluster.submit("exec sleep 86399", "--time=10", "--begin=now+1hour")
    job = cluster.submit("exec sleep 86399", "--time=5", "--comment=m")
    until(lambda: cluster.job(job).end.isdigit() and cluster.job(job).state == "RUNNING")
    user = f"--user={cluster.account.name}"
    lines = cluster.run("squeue", "--noheader", user, "--sort=i", FORMAT, env=SECONDS).splitlines()
    fields = [line.split("|") for line in lines]
    assert [re.sub(r"\b\d{10}\b", "T", line) for line in lines[:2]] == [
        f"{held}|PENDING|JobHeldUser|N/A|N/A|UNLIMITED|T|UNLIMITED||(null)|sbatch",
        f"{soon}|PENDING|BeginTime|T|T|10:00|T|10:00||(null)|sbatch",
    ]
    assert (fields[2][:3], fields[2][7:]) == ([job, "RUNNING", "None"], ["5:00", HOST, "m", "sbatch"])
    assert int(fields[2][4]) - int(fields[2][3]) == 300
    shown = cluster.run("scontrol", "show", "job", "--oneliner", job, env=SECONDS)
    assert f" StartTime={fields[2][3]} EndTime={fields[2][4]} " in shown
    shown = cluster.run("scontrol", "show", "job", "--oneliner", held, env=SECONDS)
    assert " StartTime=Unknown EndTime=Unknown " in shown


@both
def test_a_comment_and_a_name_are_kept_as_they_are(clusters: Clusters, version: int) -> None:
    """Whatever is in them: the only separator that is safe is one that nobody types. No comment is `(null)`, an empty
    one is empty. A requeued job keeps its id; it must not be made to start while its old processes still end.
    """
    cluster = clusters(version)
    plain, empty = cluster.submit("true"), cluster.submit("true", "--comment=")
    job = cluster.submit("exec sleep 86399", f"--comment={ODD}", "--job-name=na me|x/y:z%é$(x)")
    running(cluster, job)
    assert (cluster.job(job).comment, cluster.job(job).name) == (ODD, "na me|x/y:z%é$(x)")
    cluster.run("scontrol", "requeue", job)
    until(lambda: cluster.job(job).state == "PENDING")
    again = cluster.job(job)
    assert (again.comment, again.reason, again.end, again.limit) == (ODD, "BeginTime", "NONE", "UNLIMITED")
    assert 100 < int(again.start) - int(again.submitted) < 140  # it is held for two minutes
    assert (cluster.job(plain).comment, cluster.job(empty).comment) == ("(null)", "")


@both
def test_a_job_that_is_over_is_listed_only_where_all_states_are_asked_for(clusters: Clusters, version: int) -> None:
    """For MinJobAge, 60 s here and 300 by default; then asking for it by its id is an error, and so is another id."""
    cluster = clusters(version)
    job = cluster.submit("exit 3")
    assert ended(cluster, job) == "FAILED"
    assert (cluster.jobs(), cluster.job(job).reason) == ([], "NonZeroExitCode")
    assert cluster.jobs(f"--jobs={job}") == []
    done = cluster.call("squeue", "--jobs=99999")
    assert (done.returncode, done.stderr) == (1, "slurm_load_jobs error: Invalid job id specified\n")


@both
def test_a_user_whom_nobody_knows_is_no_error(clusters: Clusters, version: int) -> None:
    """An exit status of 0 with an empty list is no proof that there is no job: standard error is."""
    done = clusters(version).call("squeue", "--noheader", "--user=nobody-of-this-name")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.split("\n")[0] == "squeue: error: Invalid user: nobody-of-this-name"


@both
def test_what_cannot_be_submitted_is_told(clusters: Clusters, version: int) -> None:
    cluster = clusters(version)
    said = []
    for option in ("--partition=nope", "--time=soon", "--constraint=cron", "--reservation=nope"):
        done = cluster.call("sbatch", "--parsable", option, stdin="#!/bin/sh\n")
        said.append((done.returncode, done.stdout, done.stderr.splitlines()[-1].removeprefix("sbatch: error: ")))
    failed = "Batch job submission failed: "
    assert said == [
        (1, "", f"{failed}Invalid partition name specified"),
        (255, "", "Invalid --time specification"),
        (1, "", f"{failed}Invalid feature specification"),
        (1, "", f"{failed}Requested reservation is invalid"),
    ]


@both
def test_without_a_controller_every_command_fails_in_time(clusters: Clusters, version: int) -> None:
    """After MessageTimeout less a second, squeue and `scontrol show job` after twice that: 9 s and 18 s by default.

    A ping answers at once. From a controller that is there and hangs, each of them waits for the whole MessageTimeout
    (twice), a ping too, and says "Socket timed out on send/recv operation" instead (scancel: 140). The client's own
    slurm.conf decides; no option or variable does. `scrontab -l` says "Unspecified error" with 1, as for no table.
    """
    cluster = clusters(version, settings={"MessageTimeout": "2"})
    job = cluster.submit("exec sleep 86399")
    running(cluster, job)
    cluster.stop_controller()
    said = []
    for argv in (["squeue"], ["scontrol", "show", "reservation"], ["sbatch"], ["scancel", job], ["scontrol", "ping"]):
        done = cluster.call(*argv, stdin="#!/bin/sh\n")
        said.append((done.returncode, done.stderr.endswith("Unable to contact slurm controller (connect failure)\n")))
    assert said == [(1, True), (1, True), (1, True), (8, True), (1, False)]
    assert cluster.call("scontrol", "ping").stdout == f"Slurmctld(primary) at {HOST} is DOWN\n"
    cluster.start_controller()
    assert cluster.job(job).state == "RUNNING"


# ---------------------------------------------------------------- one after the other, and before a maintenance


@both
def test_of_two_jobs_of_one_name_the_second_waits(clusters: Clusters, version: int) -> None:
    """Also for one that was not submitted so. It starts in the next turn of the scheduler, here within a second."""
    cluster = clusters(version)
    first = cluster.submit("exec sleep 86399", "--job-name=s")
    second = cluster.submit("exec sleep 86399", "--job-name=s", "--dependency=singleton")
    other = cluster.submit("exec sleep 86399", "--job-name=t", "--dependency=singleton")
    running(cluster, first, other)
    assert (cluster.job(second).state, cluster.job(second).reason) == ("PENDING", "Dependency")
    cluster.run("scancel", first)
    running(cluster, second)


@both
def test_a_job_that_is_too_long_waits_for_the_end_of_a_maintenance(clusters: Clusters, version: int) -> None:
    """Reservations are listed in the order in which they were made. Its reason has a comma and blanks in squeue, and
    underscores in `scontrol show job`.
    """
    cluster = clusters(version)
    assert cluster.run("scontrol", "show", "reservation", "--oneliner") == "No reservations in the system\n"
    for name, start in (("far", "now+3days"), ("near", "now+3hours"), ("soon", "now+30minutes")):
        cluster.reserve(name, start, 60)
    listed = cluster.run("scontrol", "show", "reservation", "--oneliner", env=SECONDS).splitlines()
    found = [dict(word.partition("=")[::2] for word in line.split()) for line in listed]
    assert [one["ReservationName"] for one in found] == ["far", "near", "soon"]
    assert {int(one["EndTime"]) - int(one["StartTime"]) for one in found} == {3600}
    assert (found[2]["Nodes"], found[2]["PartitionName"], found[2]["State"]) == (HOST, "(null)", "INACTIVE")
    assert found[2]["Flags"] == "MAINT,IGNORE_JOBS,SPEC_NODES,ALL_NODES"
    long, short = cluster.submit("exec sleep 9", "--time=120"), cluster.submit("exec sleep 9", "--time=10")
    running(cluster, short)
    until(lambda: cluster.job(long).reason == "ReqNodeNotAvail, Reserved for maintenance")
    assert " Reason=ReqNodeNotAvail,_Reserved_for_maintenance " in cluster.run("scontrol", "show", "job", "-o", long)
    for name in ("soon", "near"):
        cluster.drop(name)
    running(cluster, long)


@both
def test_a_least_time_may_be_all_that_a_job_gets(clusters: Clusters, version: int) -> None:
    """So does the backfill scheduler here, which is what starts it before a maintenance: five minutes, where there was
    half an hour. Even a job that would have had room for all of its time gets the least of it, if this scheduler
    comes first; the main one gives all. What it got is known once it runs.
    """
    cluster = clusters(version)
    cluster.reserve("soon", "now+30minutes", 60)
    job = cluster.submit("exec sleep 86399", "--time=120", "--time-min=5")
    running(cluster, job)
    until(lambda: cluster.job(job).limit == "5:00")


# ---------------------------------------------------------------- its end

DEAF = """
trap "echo got TERM" TERM
sh -c 'trap "echo child got TERM; exit" TERM; echo there; while :; do sleep 0.1; done' &
until [ -e up ]; do sleep 0.05; done
echo up; while :; do sleep 0.1; done
"""


@both
def test_a_cancelled_job_is_asked_and_then_killed(clusters: Clusters, version: int) -> None:
    """All its processes get SIGTERM and SIGCONT, and SIGKILL after KillWait, 30 s by default: COMPLETING until then."""
    cluster = clusters(version)
    (cluster.home / "up").touch()
    job = cluster.submit(DEAF)
    until(lambda: set(printed(cluster, job, "up")) >= {"there", "up"})
    cluster.run("scancel", job)
    until(lambda: cluster.job(job).state == "COMPLETING")
    assert [one.id for one in cluster.jobs()] == [job]
    assert ended(cluster, job) == "CANCELLED"
    assert {"got TERM", "child got TERM"} <= set(printed(cluster, job, "got TERM"))
    polite = cluster.submit("exec sleep 86399")
    running(cluster, polite)
    cluster.run("scancel", polite)
    assert ended(cluster, polite) == "CANCELLED"


@both
def test_a_signal_may_go_to_the_batch_script_alone(clusters: Clusters, version: int) -> None:
    """Without an option it goes to steps only, of which a batch script is none: nothing gets it, and nothing says so.

    `--full` sends it to the script and all that it has started. `--batch` without a signal kills the script at once.
    With a signal, the output says CANCELLED, which the job is not. `sbatch --signal=B:TERM@60` does what `--batch` does
    here, at the next of the looks that Slurm takes at time limits every half a minute; as early as that may be.
    """
    cluster = clusters(version)
    (cluster.home / "up").touch()
    job = cluster.submit(DEAF)
    until(lambda: set(printed(cluster, job, "up")) >= {"there", "up"})
    cluster.run("scancel", "--signal=TERM", job)
    cluster.run("scancel", "--batch", "--signal=TERM", job)
    assert "child got TERM" not in until(lambda: printed(cluster, job, "got TERM"))
    assert cluster.job(job).state == "RUNNING"
    cluster.run("scancel", "--full", "--signal=TERM", job)
    until(lambda: printed(cluster, job, "child got TERM"))
    cluster.run("scancel", "--batch", job)
    assert ended(cluster, job) == "FAILED"


@both
def test_what_is_over_or_unknown_cannot_be_cancelled_and_that_is_no_error(clusters: Clusters, version: int) -> None:
    cluster = clusters(version)
    job = cluster.submit("true")
    assert ended(cluster, job) == "COMPLETED"
    for number in (job, "99999"):
        done = cluster.call("scancel", number)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@both
def test_a_job_of_a_node_that_is_down_is_queued_again(clusters: Clusters, version: int) -> None:
    """Under its id and with its comment, not before two minutes; one that must not be is NODE_FAIL.

    A node that is dead is `allocated*` at first, and its jobs are RUNNING, until SlurmdTimeout: 300 s by default.
    """
    cluster = clusters(version, nodes=["n2"])
    options = ["--nodelist=n2", "--comment=m"]
    job = cluster.submit("exec sleep 86399", *options)
    never = cluster.submit("exec sleep 86399", "--no-requeue", *options)
    running(cluster, job, never)
    cluster.stop_node("n2")
    assert cluster.job(job).state == "RUNNING"  # until SlurmdTimeout
    cluster.run("scontrol", "update", "nodename=n2", "state=down", "reason=gone")
    assert ended(cluster, never) == "NODE_FAIL"
    until(lambda: cluster.job(job).state == "PENDING")
    assert cluster.job(job).comment == "m"
    cluster.drain(HOST)
    until(lambda: cluster.states()[HOST] == "drained" and cluster.states()["n2"].startswith("down"))
    cluster.resume(HOST)
    cluster.resume("n2")
    cluster.start_node("n2")
    until(lambda: {state.rstrip("*") for state in cluster.states().values()} == {"idle"})  # *: no answer yet


# ---------------------------------------------------------------- scrontab

TABLE = """\
# mine
#SCRON --job-name=loop --time=5 --comment=mark|x
#SCRON --output=/dev/null
0 3 * * * /bin/sleep 20
0 4 * * * /bin/true
"""


def test_a_table_is_jobs_and_every_change_makes_new_ones(cluster: Cluster) -> None:
    """A job is called by its command's first word, unless it has a name. An unchanged table is new jobs, too.

    That there is none is told on standard output, with an exit status of 1.
    """
    done = cluster.call("scrontab", "-l")
    assert (done.returncode, done.stdout, done.stderr) == (1, f"no crontab for {cluster.account.name}\n", "")
    file = cluster.home / "table"
    file.write_text(TABLE)
    ids = []
    for _ in range(2):
        cluster.run("scrontab", str(file))
        jobs = sorted(cluster.jobs(), key=lambda job: int(job.id))
        assert [(job.name, job.comment, job.state, job.reason) for job in jobs] == [
            ("loop", "mark|x", "PENDING", "BeginTime"),
            ("/bin/true", "(null)", "PENDING", "BeginTime"),
        ]
        ids += [job.id for job in jobs]
    assert len(set(ids)) == 4
    assert cluster.run("scrontab", "-l") == TABLE
    assert ' CronJob=Yes CrontabSpec="0 3 * * *" ' in cluster.run("scontrol", "show", "job", "--oneliner", ids[2])
    cluster.run("scrontab", "-r")
    assert (cluster.jobs(), cluster.call("scrontab", "-l").returncode) == ([], 1)
    cluster.run("scrontab", "-r")
    cluster.run("scrontab", "-", stdin="")
    assert cluster.run("scrontab", "-l") == ""


def test_a_cancelled_entry_is_commented_out_with_its_options(cluster: Cluster) -> None:
    """So is every entry when all jobs of the user are cancelled: nothing puts them back."""
    cluster.run("scrontab", "-", stdin=TABLE)
    (loop,) = cluster.jobs("--name=loop")
    cluster.run("scancel", loop.id)
    lines = TABLE.splitlines()
    told = cluster.run("scrontab", "-l").splitlines()
    assert told == [lines[0], *(f"#DISABLED: {line}" for line in lines[1:4]), lines[4]]
    assert [job.name for job in cluster.jobs()] == ["/bin/true"]
    cluster.run("scancel", f"--user={cluster.account.name}")
    assert cluster.run("scrontab", "-l").splitlines()[4] == f"#DISABLED: {lines[4]}"


def test_a_table_with_an_error_changes_nothing(cluster: Cluster) -> None:
    cluster.run("scrontab", "-", stdin=TABLE)
    before = cluster.jobs()
    for table in ("* * * * nonsense\n", "#SCRON --nope\n* * * * * true\n", "#SCRON -p nope\n* * * * * true\n"):
        assert cluster.call("scrontab", "-", stdin=table).returncode == 1
    assert (cluster.run("scrontab", "-l"), cluster.jobs()) == (TABLE, before)


def test_the_older_slurm_has_no_scrontab(clusters: Clusters) -> None:
    assert shutil.which("scrontab", path=clusters(22).env["PATH"]) is None
