"""What git no longer wants goes, what is somebody else's stays, and too much at once is held."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.scenarios.site import SERVICES, Make, Site, service, until

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def leftovers(site: Site, name: str) -> list[str]:
    """Files of a service below the root, its log aside."""
    return [path for path in site.snapshot() if path.rpartition("/")[2].partition(".")[0] == name]


# ---------------------------------------------------------------- removed


def test_a_removed_service_goes_with_its_files(site: Site) -> None:
    site.converge()
    del site.services["metrics"]
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"metrics": "remove"}, set())
    assert passed.why("metrics") == "git no longer has it"
    assert "metrics" not in passed.after
    assert leftovers(site, "metrics") == []
    assert "metrics" not in site.status()


def test_a_disabled_service_goes_and_comes_back(site: Site) -> None:
    site.converge()
    site.layers["environments/dev"] = {"services": {"metrics": {"enabled": False}}}
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"metrics": "remove"}, set())
    assert passed.why("metrics").startswith("disabled in desired/environments/dev.yaml:")
    site.layers["environments/dev"] = {}
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"metrics": "create"}, set())


def test_a_removed_service_that_was_stopped_by_hand(site: Site) -> None:
    site.converge()
    site.stop("metrics")
    del site.services["metrics"]
    site.commit()
    assert site.converge().kinds == {"metrics": "remove"}
    assert leftovers(site, "metrics") == []


def test_a_removed_file_goes(site: Site) -> None:
    site.converge()
    del site.layer["files"]["own.conf"]
    site.services["task-log"]["files"] = ["shared.conf"]
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"task-log": "update"}, {"task-log"})
    assert not (site.root / "config/own.conf").exists()


def test_a_file_that_moves(site: Site) -> None:
    site.converge()
    site.layer["files"]["own.conf"]["path"] = "{{ paths.config }}/threads.conf"
    site.commit()
    assert site.converge().changed == {"task-log"}
    names = {path.name for path in (site.root / "config").iterdir()}
    assert names & {"own.conf", "threads.conf"} == {"threads.conf"}


def test_everything_is_taken_out_of_git_little_by_little(site: Site) -> None:
    site.converge()
    for names in (SERVICES[:3], SERVICES[3:6], SERVICES[6:]):
        for name in names:
            del site.services[name]
        site.commit()
        passed = site.converge()
        assert passed.kinds == dict.fromkeys(names, "remove")
    assert set(site.pids()) <= {""}


# ---------------------------------------------------------------- renamed


def test_a_rename_is_one_change(site: Site) -> None:
    site.converge()
    site.services["task-logger"] = site.services.pop("task-log")
    site.commit()
    told = site.plan()
    (change,) = [change for change in told["deployments"][0]["changes"] if change["kind"] != "keep"]
    assert (change["service"], change["kind"]) == ("task-logger", "update")
    assert change["reasons"] == ["renamed from task-log"]
    assert change["restarts"] == ["task-logger"]
    site.once()
    pids = site.pids()
    assert "task-log" not in pids
    assert len(pids["task-logger"]) == 1
    assert leftovers(site, "task-log") == []
    site.settled()


def test_a_renamed_service_is_never_there_twice(site: Site) -> None:
    """The new one starts when the old one is gone: they would fight for a port."""
    alone = f"sh -c 'mkdir {site.root}/port || exit 1; trap \"rmdir {site.root}/port; exit 0\" TERM; sleep 1000 & wait'"
    site.services["task-log"] = service("site", alone, startsecs=1, supervisor={"startretries": 0})
    site.commit()
    site.converge()
    site.services["task-logger"] = site.services.pop("task-log")
    site.commit()
    site.once()
    assert site.status()["task-logger"]["healthy"]
    site.settled()


def test_a_rename_on_the_host_alone(site: Site) -> None:
    """`name:` changes what supervisord calls it; in git it is the same service."""
    site.converge()
    site.services["run-daemon"]["name"] = "runs"
    site.commit()
    passed = site.converge()
    assert passed.changed == {"run-daemon"}
    assert leftovers(site, "run-daemon") == []
    with site.supervisor() as client:
        names = {info["name"] for info in client.getAllProcessInfo()}
    assert names == set(SERVICES) - {"run-daemon"} | {"runs"}


def test_two_services_swap_their_names_on_the_host(site: Site) -> None:
    site.converge()
    site.services["metrics"]["name"] = "cleaner"
    site.services["cleaner"]["name"] = "metrics"
    site.commit()
    site.once()
    pids = site.pids()
    assert {len(pids[name]) for name in ("metrics", "cleaner")} == {1}
    assert site.pid_of_unit("cleaner") == site.pid("metrics")
    assert site.pid_of_unit("metrics") == site.pid("cleaner")
    site.settled()


# ---------------------------------------------------------------- a lost state directory


def test_a_lost_state_directory_restarts_nothing(site: Site) -> None:
    site.converge()
    shutil.rmtree(site.state)
    assert site.converge().kinds == {}


def test_a_lost_state_directory_and_a_removed_service(site: Site) -> None:
    site.converge()
    shutil.rmtree(site.state)
    del site.services["metrics"]
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"metrics": "remove"}, set())
    assert leftovers(site, "metrics") == []


def test_nothing_is_left_but_the_marks(site: Site) -> None:
    """Neither the state directory nor its copy below the root."""
    site.converge()
    shutil.rmtree(site.state)
    shutil.rmtree(site.root / ".reconcile")
    assert site.converge().kinds == {}


def test_nothing_is_left_but_the_marks_and_a_removed_service(site: Site) -> None:
    site.converge()
    shutil.rmtree(site.state)
    shutil.rmtree(site.root / ".reconcile")
    del site.services["metrics"]
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"metrics": "remove"}, set())
    assert not (site.unit_folder / "metrics.conf").exists()


def test_nothing_is_left_but_the_process(site: Site) -> None:
    """Its stanza is gone as well, and supervisord was killed: only the process's own mark tells of it."""
    site.converge()
    shutil.rmtree(site.state)
    shutil.rmtree(site.root / ".reconcile")
    site.kill("")
    for path in site.root.glob("**/metrics*"):
        path.unlink()
    del site.services["metrics"]
    site.commit()
    passed = site.converge()
    assert passed.kinds["metrics"] == "remove"
    assert "metrics" not in passed.after
    assert {len(pids) for pids in passed.after.values()} == {1}


# ---------------------------------------------------------------- somebody else's


def test_foreign_programs_and_files_are_never_touched(site: Site) -> None:
    site.converge()
    conf = site.add_foreign()
    notes = site.unit_folder / "notes.txt"
    notes.write_text("mine\n")
    pid = site.pid_of_unit("foreign")
    content = conf.read_text()

    def untouched() -> bool:
        return (site.pid_of_unit("foreign"), conf.read_text(), notes.read_text()) == (pid, content, "mine\n")

    assert site.converge().kinds == {}
    assert untouched()
    site.layer["versions"]["site"] = "2.9.0"
    site.services["cleaner"]["stop"] = {"grace": 33}
    del site.services["metrics"]
    site.commit()
    site.converge()
    assert untouched()
    shutil.rmtree(site.state)
    shutil.rmtree(site.root / ".reconcile")
    site.services["cleaner"]["env"] = {"A": "1"}
    site.commit()
    site.converge()
    assert untouched()
    assert "foreign" not in site.status()


def test_a_foreign_program_that_is_down_is_never_touched(site: Site) -> None:
    site.converge()
    site.add_foreign()
    site.stop("foreign")
    assert site.converge().kinds == {}
    assert site.state_of("foreign") == "STOPPED"


def test_a_name_that_a_foreign_program_has(site: Site) -> None:
    """It is told on every pass, and nothing of it is ours for having been told."""
    site.converge()
    conf = site.add_foreign("consumer")
    content, pid = conf.read_text(), site.pid_of_unit("consumer")
    site.services["consumer"] = service("site")
    site.services["cleaner"]["env"] = {"A": "1"}
    site.commit()
    for changed in ({"cleaner"}, set(), set()):
        passed = site.converge(1, settled=False)
        assert passed.changed == changed
        assert passed.kinds["consumer"] == "blocked"
        assert "its name is taken by a supervisor unit that is not ours" in passed.why("consumer")
        assert (site.pid_of_unit("consumer"), conf.read_text()) == (pid, content)
    del site.services["consumer"]
    site.commit()
    assert site.converge().kinds == {}
    assert (site.pid_of_unit("consumer"), conf.read_text()) == (pid, content)


def test_another_name_for_what_a_foreign_program_has(site: Site) -> None:
    site.converge()
    site.add_foreign("consumer")
    pid = site.pid_of_unit("consumer")
    site.services["consumer"] = service("site")
    site.commit()
    site.converge(1, settled=False)
    site.services["consumer"]["name"] = "our-consumer"
    site.commit()
    assert site.converge().kinds == {"consumer": "create"}
    assert site.pid_of_unit("consumer") == pid


def test_two_sites_side_by_side(make_site: Make) -> None:
    """One account, one site's name, two roots: neither sees the other."""
    one, two = make_site("a"), make_site("b")
    one.converge()
    two.converge()
    pids = one.pids()
    for name in ("metrics", "cleaner"):
        del two.services[name]
    two.layer["versions"]["site"] = "2.9.0"
    two.commit()
    two.converge()
    assert one.pids() == pids
    assert one.converge().kinds == {}


# ---------------------------------------------------------------- the budget


def test_too_many_removals_are_held(site: Site) -> None:
    site.converge()
    for name in SERVICES[:5]:
        del site.services[name]
    site.services["task-log"]["env"] = {"A": "1"}
    site.commit()
    before = site.pids()
    for told in (site.run("--once"), site.run("--once")):
        assert told.code == 2
        assert all(name in told.out for name in SERVICES[:5])
        assert "5 removals at once, and policy.max_removals allows 3: held" in told.out
    after = site.pids()
    assert {name for name in after if after[name] != before[name]} == {"task-log"}
    assert len(leftovers(site, "cleaner")) == 3
    site.layer["policy"] = {"max_removals": 5}
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == (dict.fromkeys(SERVICES[:5], "remove"), set())


def test_three_removals_are_carried_out(site: Site) -> None:
    site.converge()
    for name in SERVICES[:3]:
        del site.services[name]
    site.commit()
    assert site.converge().kinds == dict.fromkeys(SERVICES[:3], "remove")


def test_held_removals_survive_a_lost_state_directory(site: Site) -> None:
    site.converge()
    for name in SERVICES[:5]:
        del site.services[name]
    site.commit()
    site.once(2)
    shutil.rmtree(site.state)
    before = site.pids()
    site.once(2)
    assert site.pids() == before


def test_a_held_removal_that_is_wanted_again(site: Site) -> None:
    site.converge()
    kept = {name: site.services.pop(name) for name in SERVICES[:5]}
    site.commit()
    site.once(2)
    site.services.update(kept)
    site.commit()
    assert site.converge().kinds == {}


# ---------------------------------------------------------------- another root


def test_another_root(site: Site) -> None:
    """The old supervisord and all that it runs go; the services run below the new root."""
    site.converge()
    old = {pid for pids in site.pids().values() for pid in pids}
    site.move("root2")
    site.commit()
    passed = site.converge()
    assert passed.changed == set(SERVICES)
    assert {len(pids) for pids in passed.after.values()} == {1}
    assert not old & {pid for pids in passed.after.values() for pid in pids}
    assert {site.environ(name)["RECONCILE_ROOT"] for name in SERVICES} == {str(site.root)}


def test_another_root_while_the_old_supervisord_is_dead(site: Site) -> None:
    site.converge()
    site.kill("", signal.SIGKILL)
    site.move("root2")
    site.commit()
    site.once()
    assert {len(pids) for pids in site.pids().values()} == {1}
    assert {site.environ(name)["RECONCILE_ROOT"] for name in SERVICES} == {str(site.root)}
    until(lambda: site.status()["cromwell"]["healthy"])
    site.settled()
