"""What a real Apptainer leaves of instances that were killed with all around them: what is ours and dead goes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.apptainer.site import Site
from tests.backends.instances import helpers
from tests.scenarios.world import World, until

pytestmark = [pytest.mark.scenario, pytest.mark.apptainer]


def cleaned(site: Site) -> dict[str, str]:
    """One pass that must go well; by what its steps of this kind say, what became of each."""
    done = site.world.run("--once", "--json")
    assert done.code == 0, done.said
    steps = done.json()["deployments"][0]["steps"]
    return {step["target"]: step["status"] for step in steps if step["id"].startswith("clean:")}


def kill_hard(site: Site, name: str) -> bytes:
    """The one that keeps it first, so that nobody takes its record away; what that says."""
    one, content = site.instance(name), site.record(name).read_bytes()
    for pid in (one.parent, one.pid):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{one.pid}/fd/1"))
    assert site.record(name).exists()
    return content


def test_a_killed_one_is_started_again_over_its_record(site: Site) -> None:
    site.commit(one="")
    site.converge()
    before = kill_hard(site, "one-dev")
    assert site.converge() == {"one": "restart"}
    assert site.record("one-dev").read_bytes() != before
    site.world.idle()


def test_a_killed_one_that_git_drops_leaves_no_record(site: Site) -> None:
    site.commit(one="", two="")
    site.converge()
    kill_hard(site, "one-dev")
    theirs = site.write_record("theirs", {"pid": 1 << 22, "ppid": 1})
    elsewhere = site.write_record("one-dev", {"pid": 1 << 22, "ppid": 1}, host="elsewhere")
    del site.services["one"]
    site.commit()
    told = cleaned(site)
    assert told[f"{site.record('one-dev')}: Apptainer's, of an instance that has ended"] == "done"
    assert not site.record("one-dev").exists()
    assert (theirs.exists(), elsewhere.exists(), site.record("two-dev").exists()) == (True, True, True)
    site.world.idle()
    site.apptainer("instance", "list")


def test_a_note_of_a_stop_goes_with_its_process(site: Site) -> None:
    site.commit(one="")
    site.converge()
    note = site.world.root / "run/one-dev.stop"
    mine = site.world.root / "run/mine.stop"
    pid = site.pids()["one"]
    started = Path(f"/proc/{pid}").stat().st_mtime
    for path in (note, mine):
        path.write_text(f"{pid} {started} {started}\n")
        site.world.account.own(path)
    alive = started_of(pid)
    note.write_text(f"{pid} {alive} {alive}\n")
    assert cleaned(site) == {}
    note.write_text(f"{pid} {alive - 100} {alive}\n")  # the pid is another process's by now
    assert cleaned(site) == {f"{note}: its process has ended": "done"}
    assert (note.exists(), mine.exists()) == (False, True)
    site.world.idle()


def started_of(pid: int) -> float:
    from reconciler.host import procfs

    return procfs.read_stat(pid).started(procfs.boot())


# ---------------------------------------------------------------- kept by systemd


@pytest.fixture
def kept(site: Site) -> Site:
    """Two instances that a real systemd keeps."""
    site.world.boot()
    write(site.world, one="instance", two="instance")
    assert cleaned(site) == {}
    assert (site.world.root / "run/one-dev.pid").exists()
    return site


def write(world: World, **modes: str) -> None:
    """The services by name, with the mode of their container."""
    lines = ['versions: {app: "1.0"}', "services:"]
    keys = "component: app, launcher: systemd, systemd: {start_seconds: 0}"
    lines += [f'  {n}: {{{keys}, command: "sleep 86399", container: {{mode: {m}}}}}' for n, m in modes.items()]
    world.commit({"desired/environments/dev.yaml": "\n".join(lines) + "\n"})


def run_folder(site: Site) -> list[str]:
    return sorted(path.name for path in (site.world.root / "run").iterdir())


@pytest.fixture
def dropped(kept: Site) -> Site:
    """After a power cut, one of them did not come up again with the host, and git has dropped it."""
    kept.world.power_cut()
    until(lambda: not list(helpers(kept.world.folder)))
    assert (kept.record("one-dev").exists(), kept.record("two-dev").exists()) == (True, True)
    (link,) = kept.world.home.glob(".config/systemd/user/*.wants/one-dev.service")
    link.unlink()
    write(kept.world, two="instance")
    kept.world.boot()
    until(lambda: kept.world.pids().keys() == {"two"})
    return kept


@pytest.mark.systemd
def test_a_power_cut_and_a_removal_leave_nothing(dropped: Site) -> None:
    told = cleaned(dropped)
    assert told[f"{dropped.record('one-dev')}: Apptainer's, of an instance that has ended"] == "done"
    assert not dropped.record("one-dev").exists()
    assert dropped.record("two-dev").exists()
    assert run_folder(dropped) == ["two-dev.pid"]
    dropped.world.idle()


@pytest.mark.systemd
def test_what_is_no_instance_any_more_needs_no_pid_file(kept: Site) -> None:
    write(kept.world, one="run", two="instance")
    told = cleaned(kept)
    assert told == {f"{kept.world.root}/run/one-dev.pid: its process ends": "done"}
    assert run_folder(kept) == ["two-dev.pid"]
    kept.world.idle()


@pytest.mark.systemd
def test_an_instance_of_a_persons_that_has_the_name_by_now_keeps_its_record(dropped: Site) -> None:
    image = dropped.world.folder / "app-1.0.sif"
    dropped.apptainer("instance", "start", str(image), "one-dev", "sleep", "86399")
    cleaned(dropped)
    assert dropped.instance("one-dev").image == str(image)
    assert dropped.record("one-dev").exists()
    dropped.world.idle()
