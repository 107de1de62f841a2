"""What comes `after` another starts when that one is up, and stops before it."""

from __future__ import annotations

import pytest

from tests.scenarios.site import Site, service

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def noted(site: Site, name: str, **keys: object) -> dict[str, object]:
    """A service that notes when it begins and when it ends."""
    diary = f"{site.folder}/diary"
    script = f'echo +{name} >>{diary}; trap "echo -{name} >>{diary}; exit 0" TERM; sleep 1000 & wait'
    return service("site", f"sh -c '{script}'", startsecs=1, **keys)


def diary(site: Site) -> list[str]:
    """What was noted since it was asked last."""
    path = site.folder / "diary"
    lines = path.read_text().split()
    path.write_text("")
    return lines


def chain(site: Site) -> None:
    """c after b after a, and one beside them."""
    site.layer["services"] = {
        "c": noted(site, "c", after=["b"]),
        "b": noted(site, "b", after=["a"]),
        "a": noted(site, "a"),
        "z": service("cromwell"),
    }
    site.commit()


def test_a_chain_starts_in_order_and_stops_in_reverse(site: Site) -> None:
    chain(site)
    site.converge()
    assert diary(site) == ["+a", "+b", "+c"]
    site.layer["versions"]["site"] = "2.9.0"
    site.commit()
    assert site.converge().changed == {"a", "b", "c"}
    assert diary(site) == ["-c", "-b", "-a", "+a", "+b", "+c"]
    for name in ("a", "b", "c"):
        del site.services[name]
    site.commit()
    assert site.converge().kinds == dict.fromkeys("abc", "remove")
    assert sorted(diary(site)) == ["-a", "-b", "-c"]


def test_only_the_needed_of_a_chain(site: Site) -> None:
    """What comes after a service that restarts keeps its process."""
    chain(site)
    site.converge()
    diary(site)
    site.services["a"]["env"] = {"A": "1"}
    site.commit()
    assert site.converge().changed == {"a"}
    assert diary(site) == ["-a", "+a"]


def test_two_ends_of_a_chain(site: Site) -> None:
    chain(site)
    site.converge()
    diary(site)
    site.stop("b")
    site.services["a"]["env"] = site.services["c"]["env"] = {"A": "1"}
    site.commit()
    passed = site.converge()
    assert passed.changed == {"a", "c"}
    assert [line for line in diary(site) if line[0] == "+"] == ["+a", "+b", "+c"]


def test_a_chain_after_a_reboot(site: Site) -> None:
    chain(site)
    site.converge()
    site.end()
    diary(site)
    site.converge()
    assert diary(site) == ["+a", "+b", "+c"]


def test_a_dependency_that_does_not_start(site: Site) -> None:
    """What waits for it is not started, everything else is; the next pass goes on from there."""
    chain(site)
    site.services["b"] = service(
        "site",
        f"sh -c 'test -e {site.folder}/mended && exec sleep 1000'",
        startsecs=1,
        supervisor={"startretries": 0},
        after=["a"],
    )
    site.services["d"] = noted(site, "d", after=["c"])
    site.commit()
    passed = site.converge(1, settled=False)
    assert {name: passed.steps[f"start:{name}"]["status"] for name in "abcdz"} == {
        "a": "done",
        "b": "failed",
        "c": "blocked",
        "d": "blocked",
        "z": "done",
    }
    assert "comes after b, which did not start" in passed.steps["start:c"]["message"]
    assert passed.after.keys() == {"", "a", "z"}
    told = site.run("--once")
    assert told.code == 1
    assert "comes after b, which did not start" in told.out
    (site.folder / "mended").touch()
    passed = site.converge()
    assert passed.after.keys() == {"", "a", "b", "c", "d", "z"}
    assert diary(site) == ["+a", "+c", "+d"]


def test_a_dependency_that_cannot_be_checked(site: Site) -> None:
    """The new version of one cannot start at all: nothing of the chain is stopped for it."""
    chain(site)
    site.converge()
    before = site.pids()
    site.services["a"]["command"] = "no-such-program"
    site.layer["versions"]["site"] = "2.9.0"
    site.commit()
    told = site.run("--once", "--json")
    assert told.code == 1
    assert site.pids()["a"] == before["a"]
    assert site.pids().keys() == before.keys()
    site.services["a"]["command"] = "sleep 1000"
    site.commit()
    assert site.converge().after.keys() == before.keys()


def test_a_dependency_that_flaps_blocks_what_would_start(site: Site) -> None:
    """It is not up and no step is for it; what runs after it goes on."""
    chain(site)
    site.services["b"] = service(
        "site",
        f"sh -c 'test ! -e {site.folder}/broken && exec sleep 1000'",
        startsecs=1,
        supervisor={"startretries": 1000},
        after=["a"],
    )
    site.commit()
    site.converge()
    (site.folder / "broken").touch()
    site.kill("b")
    site.await_state("b", "BACKOFF")
    kept = site.pid("c")
    site.run("--once")
    assert site.pid("c") == kept
    (site.folder / "broken").unlink()
    site.await_state("b", "RUNNING")
    assert site.converge().kinds == {}
