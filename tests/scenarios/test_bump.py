"""A change in git restarts exactly what it concerns."""

from __future__ import annotations

import pytest

from tests.scenarios.site import CROMWELL_SERVICES, SERVICES, SITE_SERVICES, Site, service

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def test_a_cold_start_creates_everything_and_tells_nothing_afterwards(site: Site) -> None:
    passed = site.converge()
    assert passed.kinds == dict.fromkeys(SERVICES, "create")
    assert passed.after.keys() == {"", *SERVICES}
    assert {service["state"] for service in site.status().values()} == {"running"}
    silent = site.run("--once")
    assert (silent.code, silent.out, silent.err) == (0, "", "")


def test_a_bump_restarts_the_services_of_one_component(site: Site) -> None:
    site.converge()
    site.layer["versions"]["site"] = "2.9.0"
    site.commit("Bump")
    passed = site.converge()
    assert passed.kinds == dict.fromkeys(SITE_SERVICES, "update")
    assert passed.changed == set(SITE_SERVICES)
    assert {name: passed.after[name] for name in ("", *CROMWELL_SERVICES)} == {
        name: passed.before[name] for name in ("", *CROMWELL_SERVICES)
    }
    assert passed.why("rpc-server").startswith("version 2.8.1 -> 2.9.0 (desired/defaults.yaml:")
    assert "2.8.1 -> 2.9.0" in passed.text
    assert {name: found["version"] for name, found in site.status().items() if name in SITE_SERVICES} == dict.fromkeys(
        SITE_SERVICES, "2.9.0"
    )


def test_a_bump_and_back_again(site: Site) -> None:
    """The version before is an older commit's: it is the newest that counts."""
    site.converge()
    for version in ("2.9.0", "2.8.1"):
        site.layer["versions"]["site"] = version
        site.commit()
        assert site.converge().changed == set(SITE_SERVICES)


def test_a_change_of_one_environment_variable_restarts_that_service(site: Site) -> None:
    site.converge()
    site.services["cromwell"]["env"] = {"HEAP": "4G"}
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"cromwell": "update"}, {"cromwell"})
    assert "env.HEAP '4G' is new" in passed.why("cromwell")
    assert site.environ("cromwell")["HEAP"] == "4G"


def test_a_change_of_a_template_restarts_those_that_list_the_file(site: Site) -> None:
    site.converge()
    site.templates["shared.conf.j2"] += "retries=3\n"
    site.commit()
    passed = site.converge()
    assert passed.kinds == {"rpc-server": "update", "task-log": "update"}
    assert passed.changed == {"rpc-server", "task-log"}
    assert "shared.conf changes (" in passed.why("rpc-server")
    assert (site.root / "config/shared.conf").read_text() == "level=INFO\nretries=3\n"


def test_a_change_of_a_var_restarts_those_whose_file_has_it(site: Site) -> None:
    site.converge()
    site.layers["sites/here"] = {"vars": {"threads": "8"}}
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"task-log": "update"}, {"task-log"})
    assert "own.conf changes" in passed.why("task-log")
    assert (site.root / "config/own.conf").read_text() == "threads=8\n"


def test_a_change_that_renders_the_same_restarts_nothing(site: Site) -> None:
    site.converge()
    site.templates["shared.conf.j2"] = "level={{ level ~ '' }}\n"
    site.layers["environments/dev"] = {"vars": {"level": "INFO"}, "services": {"cromwell": {"enabled": True}}}
    site.commit()
    assert (site.converge().kinds, site.once()["deployments"][0]["steps"]) == ({}, [])


def test_a_change_of_a_launcher_option_restarts_that_service_alone(site: Site) -> None:
    """supervisord itself would restart the whole group for it."""
    site.converge()
    site.services["rpc-server"]["stop"] = {"grace": 33}
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "update"}, {"rpc-server"})
    assert passed.changes["rpc-server"]["restarts"] == ["rpc-server"]
    assert "stop.grace" in passed.why("rpc-server")
    with site.supervisor() as client:
        waits = {config["name"]: config["stopwaitsecs"] for config in client.getAllConfigInfo()}
    assert (waits["rpc-server"], waits["task-log"]) == (33, 10)


def test_an_added_service_restarts_nobody(site: Site) -> None:
    site.converge()
    site.services["message-consumer"] = service("site", group="jaws-site")
    site.commit()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"message-consumer": "create"}, set())


def test_another_group_is_a_word_only(site: Site) -> None:
    site.converge()
    site.services["cleaner"]["group"] = "jaws-clean"
    site.commit()
    assert site.converge().changed == set()


def test_a_change_of_the_daemons_own_settings_names_all_that_restart(site: Site) -> None:
    site.converge()
    foreign = site.add_foreign()
    site.layer["supervisor"] = {"minfds": 512}
    site.commit()
    before, pid, told = site.pids(), site.pid_of_unit("foreign"), site.run("plan").out
    (change,) = [c for c in site.plan()["deployments"][0]["changes"] if c["service"] == "cromwell"]
    assert set(change["restarts"]) == {*SERVICES, "foreign"}
    assert "restarts with it" in told
    site.once()
    after = site.pids()
    assert {name for name in after if after[name] != before[name]} == {"", *SERVICES}
    site.await_state("foreign", "RUNNING")
    assert (site.pid_of_unit("foreign") != pid, foreign.exists()) == (True, True)
    site.settled()


@pytest.mark.parametrize("moved", ["run", "config", "bin", "logs"])
def test_another_folder_for_a_part_of_it(moved: str, site: Site) -> None:
    """Whatever moves, everything restarts once, in the new place, and the old place is left empty."""
    site.converge()
    site.layer["paths"][moved] = f"{{{{ paths.root }}}}/other-{moved}"
    site.commit()
    passed = site.converge(settled=False)
    assert passed.changed == set(SERVICES)
    assert {len(pids) for pids in passed.after.values()} == {1}
    old = site.root / moved
    assert [path for path in old.rglob("*") if path.is_file() and moved != "logs" and path.suffix != ".pid"] == []
    report = site.once()
    assert (report["deployments"][0]["steps"], report["deployments"][0]["converged"]) == ([], True)
    assert site.pids() == passed.after


def test_another_socket(site: Site) -> None:
    """The supervisord that runs listens at the old one, and cannot be asked at the new one."""
    site.converge()
    site.layer["supervisor"] = {"socket": f"{site.folder}/s.sock"}
    site.commit()
    passed = site.converge()
    assert passed.changed == set(SERVICES)
    assert "the configuration of supervisor itself changes" in passed.why("cromwell")
    assert (site.folder / "s.sock").is_socket()
