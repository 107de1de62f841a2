"""9. A failure is told, with what was run, what it printed and what to do next, and is tried again on the next pass."""

from __future__ import annotations

import pytest

from tests.promises.conftest import TOOL, versions
from tests.scenarios.world import SLEEP, World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


def test_09_a_failure_is_told(world: World) -> None:
    """Three ways to fail: before the start, at it, and a program that is not there. All else goes on."""
    flag = world.folder / "flag"
    fails = f"test -e {flag} || {{ echo $((6 * 7))-words >&2; exit 7; }}"
    keys = {
        "one": f"component: app, command: {SLEEP}, prologue: '{fails}'",
        "two": f"component: app, command: '{world.folder}/missing'",
        "three": TOOL,
        "four": f"component: tool, command: {SLEEP}",
    }
    before = world.pids()
    world.commit(world.versions("2.0") | world.services("one", "two", "three", "four", **keys))
    for _ in range(2):  # it is tried again, and told again
        done = world.once(code=1)
        said = "the prologue exit status 7", "42-words", f"{world.folder}/missing does not exist", "`command:`"
        assert [words for words in said if words not in done.out] == [], done.out
        assert (world.pids()["one"], world.pids()["two"]) == (before["one"], before["two"])
    assert versions(world)["four"] == "1.0"
    assert world.run("status").code in (1, 2)
    flag.touch()
    missing = world.folder / "missing"
    missing.write_text("#!/bin/sh\nexec sleep 86399\n")
    missing.chmod(0o755)
    world.once()
    assert versions(world) == {"one": "2.0", "two": "2.0", "three": "1.0", "four": "1.0"}
    world.idle()
