"""What launchers leave of what is over: it goes by its name and rule, what lives or is somebody else's stays."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import pytest

from tests.scenarios.site import Site, service, until

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

_DAYS = 24 * 3600.0
# supervisord rotates once for what it reads at once.
_PRINTS = """sh -c 'for n in $(seq 40); do printf "%0600d\\n" $n; sleep 0.03; done; exec sleep 1000'"""


@pytest.fixture
def noisy(site: Site) -> Site:
    """Two services whose logs are rotated as soon as they have begun; eight copies of each are there."""
    limits = {"stdout_logfile_maxbytes": "500", "stdout_logfile_backups": 8}
    site.layer["files"], site.layer["vars"] = {}, {}
    site.layer["services"] = {name: service("site", _PRINTS, supervisor=dict(limits)) for name in ("loud", "other")}
    site.commit()
    site.converge(settled=False)
    until(lambda: all(copies(site, name) == list(range(9)) for name in ("loud", "other")))
    quiet(site)
    return site


def copies(site: Site, name: str) -> list[int]:
    """Numbers of the copies of a log; 0 is the log itself."""
    found = (path.name.removeprefix(f"{name}.log") for path in (site.root / "logs").glob(f"{name}.log*"))
    return sorted(int(number.removeprefix(".") or 0) for number in found if not number or number[1:].isdecimal())


def quiet(site: Site, logs: str = "logs") -> None:
    """Until all that the services print is in their logs."""

    def is_quiet(name: str) -> bool:
        pid, log = site.pid(name), site.root / logs / f"{name}.log"
        with suppress(FileNotFoundError):  # it is just being rotated
            text = log.with_name(f"{log.name}.1").read_text() + log.read_text()
            begun = Path(f"/proc/{pid}").stat().st_mtime <= log.stat().st_mtime
            return begun and Path(f"/proc/{pid}/comm").read_text() == "sleep\n" and text.endswith("00040\n")
        return False

    until(lambda: all(map(is_quiet, site.services)))


def cleaned(passed: Any) -> dict[str, tuple[str, str]]:
    """By what a step of this kind says first, the rest of it and what became of it."""
    found = {}
    for name, step in passed.steps.items():
        if name.startswith("clean:"):
            path, _, why = step["target"].partition(": ")
            found[path] = (why, step["status"])
    return found


# ---------------------------------------------------------------- logs


def test_copies_beyond_a_limit_that_has_shrunk_go(noisy: Site) -> None:
    noisy.services["loud"]["supervisor"]["stdout_logfile_backups"] = 2
    theirs = ["loud.log.20260101", "loud.log.7.gz", "loud.log.07", "loud.log.old", "louder.log.7"]
    for name in theirs:
        (noisy.root / "logs" / name).write_text("somebody else's")
    (noisy.root / "logs/loud.log.9").mkdir()
    noisy.commit()
    assert "clean    ROOT/logs/loud.log.3 to .8: git keeps 2" in noisy.run("plan").out
    passed = noisy.converge(settled=False)
    assert cleaned(passed) == {f"{noisy.root}/logs/loud.log.3 to .8": ("git keeps 2", "done")}
    quiet(noisy)
    assert copies(noisy, "other") == list(range(9))
    (noisy.root / "logs/loud.log.9").rmdir()
    assert all((noisy.root / "logs" / name).exists() for name in theirs)
    assert [number for number in copies(noisy, "loud") if number < 1000] == [0, 1, 2, 7]  # `07` is theirs
    noisy.settled()
    assert "6 copies, 3.6" in (noisy.state / "here/dev/journal.jsonl").read_text()


def test_a_pass_that_is_killed_in_the_midst_is_finished(noisy: Site) -> None:
    """Of several logs, and before anything is noted of it."""
    for name in noisy.services:
        noisy.services[name]["supervisor"]["stdout_logfile_backups"] = 3
    noisy.commit()
    noisy.run_until_ended(f"clean:log:{noisy.root}/logs/loud.log")
    quiet(noisy)
    assert (copies(noisy, "loud"), copies(noisy, "other")) == ([0, 1, 2, 3], list(range(9)))
    (noisy.root / "logs/loud.log.5").write_text("as if some of them had been left")
    passed = noisy.converge()
    assert len(cleaned(passed)) == 2
    assert (copies(noisy, "loud"), copies(noisy, "other")) == ([0, 1, 2, 3], [0, 1, 2, 3])


def test_the_logs_of_what_is_gone_stay_for_a_month_and_the_newest_for_good(noisy: Site) -> None:
    whole = copies(noisy, "loud")
    gone = noisy.services.pop("loud")
    noisy.commit()
    noisy.converge()
    grow_old(noisy, "loud", 29)
    noisy.settled()
    assert copies(noisy, "loud") == whole
    grow_old(noisy, "loud", 31)
    os.utime(noisy.root / "logs/loud.log")  # it has said something since
    noisy.settled()
    grow_old(noisy, "loud", 31)
    grow_old(noisy, "other", 99)  # it runs, and says nothing
    passed = noisy.converge()
    assert cleaned(passed) == {f"{noisy.root}/logs/loud.log.2 to .8": ("nobody writes it any more", "done")}
    assert copies(noisy, "loud") == [0, 1]
    assert copies(noisy, "other") == whole
    noisy.services["loud"] = gone
    noisy.commit()
    noisy.converge(settled=False)
    assert 0 in copies(noisy, "loud")


def test_logs_that_are_elsewhere_by_now_are_as_those_of_what_is_gone(noisy: Site) -> None:
    whole = copies(noisy, "loud")
    noisy.layer["paths"]["logs"] = str(noisy.root / "other/logs")
    noisy.commit()
    noisy.converge(settled=False)
    quiet(noisy, "other/logs")
    assert copies(noisy, "loud") == whole
    grow_old(noisy, "loud", 31)
    told = noisy.converge(settled=False)
    assert list(cleaned(told)) == [f"{noisy.root}/logs/loud.log.2 to .8"]
    assert copies(noisy, "loud") == [0, 1]
    assert (noisy.root / "other/logs/loud.log").exists()


@pytest.mark.parametrize("how", ["disabled", "kept"])
def test_the_logs_of_what_may_come_again_stay(noisy: Site, how: str) -> None:
    whole = copies(noisy, "loud")
    if how == "disabled":
        noisy.services["loud"]["enabled"] = False
    else:
        noisy.layer["policy"] = {"prune": False}
        del noisy.services["loud"]
    noisy.commit()
    for _ in range(2):
        noisy.run("--once")
    grow_old(noisy, "loud", 99)
    noisy.run("--once")
    assert copies(noisy, "loud") == whole


def grow_old(site: Site, name: str, days: int) -> None:
    for path in (site.root / "logs").glob(f"{name}.log*"):
        os.utime(path, (time() - days * _DAYS,) * 2)


# ---------------------------------------------------------------- pid files and sockets


@pytest.fixture
def cut(site: Site) -> Site:
    """One service, and all that ran has been killed at once; git has no service any more."""
    site.layer["files"], site.layer["vars"] = {}, {}
    site.layer["services"] = {"one": service("site")}
    site.commit()
    site.converge()
    kill_all(site)
    assert left(site) == ["supervisor.sock", "supervisord.pid"]
    site.layer["services"] = {}
    site.commit()
    return site


def kill_all(site: Site) -> None:
    for name in ("", "one"):
        site.kill(name)


def left(site: Site) -> list[str]:
    """What is in the folder, but for what this module puts there."""
    return sorted(path.name for path in (site.root / "run").iterdir() if not path.name.startswith("mine"))


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any deployment."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def bind(path: Path, *, listens: bool) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    if listens:
        made.listen()
    return made


def test_what_a_killed_supervisord_leaves_goes_when_git_wants_none(cut: Site) -> None:
    bind(cut.root / "run/mine.sock", listens=False).close()
    (cut.root / "run/mine.pid").write_text("4194304")
    steps = cut.once()["deployments"][0]["steps"]
    told = {step["target"]: step["status"] for step in steps if step["id"].startswith(("clean:pid", "clean:socket"))}
    assert told == {
        f"{cut.root}/run/supervisor.sock: nobody listens": "done",
        f"{cut.root}/run/supervisord.pid: its process has ended": "done",
    }
    assert left(cut) == []
    assert sorted(path.name for path in (cut.root / "run").iterdir()) == ["mine.pid", "mine.sock"]
    cut.settled()


def test_a_socket_that_somebody_has_bound_stays(cut: Site) -> None:
    """Be it that nobody listens yet."""
    (cut.root / "run/supervisor.sock").unlink()
    with bind(cut.root / "run/supervisor.sock", listens=False):
        cut.once()
        assert left(cut) == ["supervisor.sock"]
    cut.converge()
    assert left(cut) == []


def test_a_pid_that_is_another_processs_by_now_is_nobodys(cut: Site, bystander: subprocess.Popen[bytes]) -> None:
    path = cut.root / "run/supervisord.pid"
    path.write_text(f"{bystander.pid}\n")
    cut.once()  # it may have written this
    assert left(cut) == ["supervisord.pid"]
    os.utime(path, (time() - _DAYS,) * 2)
    cut.converge()
    assert left(cut) == []


def test_what_is_no_pid_stays(cut: Site) -> None:
    (cut.root / "run/supervisord.pid").write_text("")
    cut.once()
    assert left(cut) == ["supervisord.pid"]
    cut.settled()


def test_what_was_begun_under_another_name_goes_and_the_running_one_is_not_touched(site: Site) -> None:
    """supervisord is killed between making its socket and naming it."""
    site.layer["files"], site.layer["vars"] = {}, {}
    site.layer["services"] = {"one": service("site")}
    site.commit()
    site.converge()
    bind(site.root / "run/supervisor.sock.1234567", listens=True).close()
    with bind(site.root / "run/supervisor.sock.1234568", listens=False):
        passed = site.converge()
        assert list(cleaned(passed)) == [f"{site.root}/run/supervisor.sock.1234567"]
        assert left(site) == ["supervisor.sock", "supervisor.sock.1234568", "supervisord.pid"]
    site.converge()
    assert site.state_of("one") == "RUNNING"


def test_what_was_left_in_another_folder_goes_beside_a_running_supervisord(site: Site) -> None:
    site.layer["files"], site.layer["vars"] = {}, {}
    site.layer["services"] = {"one": service("site")}
    site.commit()
    site.converge()
    kill_all(site)
    site.layer["paths"]["run"] = str(site.root / "other")
    site.commit()
    steps = site.once()["deployments"][0]["steps"]
    ends = [step["target"].rpartition("/")[2] for step in steps if step["id"].startswith(("clean:pid", "clean:socket"))]
    assert ends == ["supervisor.sock: nobody listens", "supervisord.pid: its process has ended"]
    assert left(site) == []
    assert sorted(path.name for path in (site.root / "other").iterdir()) == ["supervisor.sock", "supervisord.pid"]
    assert site.once()["deployments"][0]["steps"] == []


def test_what_an_environment_leaves_that_leaves_the_site_goes_with_it(cut: Site) -> None:
    cut.layers["environments/prod"] = {"paths": {"root": str(cut.folder / "root-prod")}}
    cut.layers["sites/here"] = {"environments": ["prod"]}
    cut.commit()
    cut.run("--once")
    assert left(cut) == []
    last = cut.run("--once")
    assert (last.code, last.out) == (0, ""), last


def test_nothing_goes_while_a_pause_holds(cut: Site) -> None:
    cut.run("pause", "--for", "1h", "--reason", "looks at it")
    told = cut.run("--once", "--json").json
    assert not [step for step in told["deployments"][0]["steps"] if step["id"].startswith("clean:")]
    assert left(cut) == ["supervisor.sock", "supervisord.pid"]
    cut.run("resume")
    cut.once()
    assert left(cut) == []


def test_killed_between_the_two(cut: Site) -> None:
    cut.run_until_ended("clean:socket")
    assert left(cut) == ["supervisord.pid"]
    cut.once()
    assert left(cut) == []
    cut.settled()
