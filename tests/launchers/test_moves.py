"""A service that another launcher keeps from now on: the old one ends before the new one begins, and nothing is left.

With real launchers, as an ordinary user, through the command line. What is believed of the services is what
they write themselves (`witness`): one that meets another of its name says so.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Mapping
from time import monotonic

import pytest
from _pytest.mark import ParameterSet

from tests.backends.beds import a_users_world  # noqa: F401
from tests.launchers.witness import Witnessed, files_of, launcher_of, makes_instances
from tests.scenarios.test_kill import killed_at
from tests.scenarios.world import Done, World, until

pytestmark = [pytest.mark.scenario, pytest.mark.git]

MOVES = [
    ("supervisor", "systemd"),
    ("systemd", "supervisor"),
    ("supervisor-run", "systemd-instance"),
    ("systemd", "apptainer"),
    ("apptainer", "supervisor-run"),
    ("apptainer", "systemd-instance"),  # one and the same instance's name, start script and environment
    ("systemd-instance", "apptainer"),
    ("systemd-run", "systemd-instance"),
]
LAUNCHERS = ("supervisor", "systemd", "apptainer")


@pytest.fixture(name="site")
def a_site(users_world: World) -> Witnessed:
    users_world.boot()
    return Witnessed(users_world)


def needs(*keepers: str) -> list[pytest.MarkDecorator]:
    marks = [getattr(pytest.mark, launcher_of(keeper)) for keeper in keepers]
    contained = any(keeper not in ("supervisor", "systemd") for keeper in keepers)
    return [pytest.mark.systemd, *marks, *[pytest.mark.apptainer] * contained]


def moves(pairs: list[tuple[str, str]]) -> list[ParameterSet]:
    return [pytest.param(*pair, marks=needs(*pair), id="-to-".join(pair)) for pair in pairs]


def begin(site: Witnessed, services: Mapping[str, str], more: Mapping[str, str] | None = None) -> None:
    if any(keeper not in ("supervisor", "systemd") for keeper in services.values()):
        site.have_image("1.0")
    site.commit("1.0", services, more)
    site.world.once()
    up(site, *services)


def up(site: Witnessed, *services: str) -> dict[str, list[int]]:
    """Wait until exactly these services say that they live; their processes, one for each."""
    until(lambda: site.programs().keys() == site.alive() == set(services))
    # They say so a moment after they have their lock.
    until(lambda: all(site.lives(name)[-1:] and site.lives(name)[-1].startswith("start") for name in services))
    found = site.programs()
    assert {name: len(pids) for name, pids in found.items()} == dict.fromkeys(services, 1)
    return found


def moved(site: Witnessed, services: Mapping[str, str]) -> None:
    """All of these are kept as they should be, by nobody else, and nothing else is left."""
    now = up(site, *services)
    wanted = {launcher_of(keeper) for keeper in services.values()}
    shown = wanted | ({"apptainer"} if any(map(makes_instances, services.values())) else set())
    assert {name: site.remains(name) for name in LAUNCHERS if name not in shown} == {
        name: [] for name in LAUNCHERS if name not in shown
    }
    assert site.own_files() == files_of(services)
    assert site.managers() == sorted(wanted)
    assert {name: one["launcher"] for name, one in standing(site).items()} == {
        name: launcher_of(keeper) for name, keeper in services.items()
    }
    site.idle()
    assert site.programs() == now


def standing(site: Witnessed) -> dict[str, dict[str, object]]:
    """What `status` tells, by service. All of it is up."""
    done = site.world.run("status", "--json")
    services = done.json()["deployments"][0]["services"]
    assert (done.code, {one["state"] for one in services}) == (0, {"running"}), done.said
    return {one["service"]: one for one in services}


# ---------------------------------------------------------------- whole moves


@pytest.mark.parametrize(("old", "new"), moves(MOVES))
def test_a_site_changes_its_launcher(old: str, new: str, site: Witnessed) -> None:
    begin(site, {"one": old, "two": old})
    if new not in ("supervisor", "systemd"):
        site.have_image("1.0")
    site.commit("1.0", {"one": new, "two": new})
    site.world.once()
    moved(site, {"one": new, "two": new})
    assert [site.lives(name) for name in ("one", "two")] == [["start 1.0", "stop 1.0", "start 1.0"]] * 2


@pytest.mark.systemd
@pytest.mark.supervisor
def test_one_service_moves_and_the_others_stay(site: Witnessed) -> None:
    begin(site, {"one": "supervisor", "two": "supervisor"})
    before = site.programs()
    site.commit("1.0", {"one": "systemd", "two": "supervisor"})
    site.world.once()
    assert up(site, "one", "two")["two"] == before["two"]
    assert site.managers() == ["supervisor", "systemd"]
    assert site.own_files() == files_of({"one": "systemd", "two": "supervisor"})
    assert "one" not in site.world.supervisorctl("status").split()
    site.idle()
    site.commit("1.0", {"one": "systemd", "two": "systemd"})
    kept = site.programs()["one"]
    site.world.once()
    moved(site, {"one": "systemd", "two": "systemd"})
    assert site.programs()["one"] == kept
    assert (site.lives("one"), site.lives("two")) == (["start 1.0", "stop 1.0", "start 1.0"],) * 2


@pytest.mark.parametrize(("old", "new"), moves([("supervisor", "systemd"), ("systemd-instance", "apptainer")]))
def test_a_move_with_a_bump(old: str, new: str, site: Witnessed) -> None:
    begin(site, {"one": old})
    site.have_image("2.0")
    site.commit("2.0", {"one": new})
    done = site.world.once()
    assert "1.0 -> 2.0" in done.out
    assert f"moves from {launcher_of(old)} to {launcher_of(new)} (desired/environments/" in done.out
    moved(site, {"one": new})
    assert site.lives("one") == ["start 1.0", "stop 1.0", "start 2.0"]
    assert standing(site)["one"]["version"] == "2.0"


@pytest.mark.systemd
@pytest.mark.supervisor
def test_a_move_keeps_to_the_order(site: Witnessed) -> None:
    """What comes `after` another is stopped before it and started when it is up, although both change launchers."""
    after = {"two": "after: [one]", "three": "after: [two]"}
    names = ("one", "two", "three")
    begin(site, dict.fromkeys(names, "supervisor"), more=after)
    site.commit("1.0", dict.fromkeys(names, "systemd"), after)
    site.world.once()
    moved(site, dict.fromkeys(names, "systemd"))
    said = [f"{line.word} {line.service}" for line in site.lines()]
    assert said[:3] == ["start one", "start two", "start three"]
    assert [line for line in said[3:] if line.startswith("start")] == ["start one", "start two", "start three"]
    assert [line for line in said[3:] if line.startswith("stop")] == ["stop three", "stop two", "stop one"]
    assert all(site.lives(name) for name in names)


@pytest.mark.parametrize(
    ("old", "new"), moves([("supervisor", "systemd"), ("systemd", "supervisor"), ("apptainer", "systemd-instance")])
)
@pytest.mark.parametrize("lost", ["state", "state and its copy"])
def test_a_move_without_memory(lost: str, old: str, new: str, site: Witnessed) -> None:
    begin(site, {"one": old, "two": old})
    shutil.rmtree(site.world.state)
    if lost != "state":
        shutil.rmtree(site.world.root / ".reconcile")
    site.commit("1.0", {"one": new, "two": new})
    site.world.once()
    assert [site.lives(name) for name in ("one", "two")] == [["start 1.0", "stop 1.0", "start 1.0"]] * 2
    if lost == "state":
        moved(site, {"one": new, "two": new})
        return
    # Files that nothing remembers lie there still; nothing runs from them.
    now = up(site, "one", "two")
    assert [one for one in site.world.live() if one.marks.get("RECONCILE_DAEMON")] == [] or new == "supervisor"
    assert site.managers() == [launcher_of(new)]
    site.idle()
    assert site.programs() == now


@pytest.mark.systemd
@pytest.mark.apptainer
@pytest.mark.supervisor
def test_not_even_a_note_is_left(site: Witnessed) -> None:
    """No file with the pid of an instance, and no unit that systemd merely remembers."""
    begin(site, {"one": "systemd-instance"})
    site.commit("1.0", {"one": "supervisor-run"})
    site.world.once()
    moved(site, {"one": "supervisor-run"})
    assert site.notes() == []
    assert site.remembered() == []


# ---------------------------------------------------------------- what fails


@pytest.mark.systemd
@pytest.mark.supervisor
def test_the_new_launcher_is_not_there(users_world: World) -> None:
    """No manager runs for the account: nothing is touched, why is told, and the move is made when one does."""
    site = Witnessed(users_world)
    begin(site, {"one": "supervisor", "two": "supervisor"})
    before, files = site.programs(), site.world.files()
    site.world.env["XDG_RUNTIME_DIR"] = str(site.world.folder / "x")
    site.commit("1.0", {"one": "systemd", "two": "systemd"})
    for _ in range(2):
        done = site.world.once(code=1)
        assert "? no `systemd --user` runs for" in done.out
        assert f"loginctl enable-linger {site.world.account.name}" in done.out
        assert site.programs() == before
        assert {path: files[path] for path in files} == {path: site.world.files().get(path) for path in files}
    status = site.world.run("status", "--json")
    assert status.code == 1
    site.world.boot()
    site.world.once()
    moved(site, {"one": "systemd", "two": "systemd"})
    assert [site.lives(name) for name in ("one", "two")] == [["start 1.0", "stop 1.0", "start 1.0"]] * 2


@pytest.mark.systemd
@pytest.mark.supervisor
def test_the_old_launcher_cannot_be_seen(site: Witnessed) -> None:
    """What it runs may run still: no second one is started beside it."""
    begin(site, {"one": "systemd"})
    assert site.world.manager
    private = site.world.manager.runtime / "systemd/private"
    private.rename(private.with_name("hidden"))
    site.commit("1.0", {"one": "supervisor"})
    before = site.programs()
    done = site.world.once(code=1)
    assert "no `systemd --user` runs for" in done.out
    assert site.programs() == before
    private.with_name("hidden").rename(private)
    site.world.once()
    moved(site, {"one": "supervisor"})
    assert site.lives("one") == ["start 1.0", "stop 1.0", "start 1.0"]


@pytest.mark.systemd
@pytest.mark.apptainer
def test_the_image_cannot_be_built(site: Witnessed) -> None:
    begin(site, {"one": "systemd", "two": "systemd"})
    before, units = site.programs(), site.remains("systemd")
    site.commit("1.0", {"one": "apptainer", "two": "systemd"})
    for _ in range(2):
        done: Done = site.world.once(code=1)
        assert "box-1.0.sif" in done.out
        assert site.programs() == before
        assert site.remains("systemd") == units
        assert site.remains("apptainer") == []
    site.have_image("1.0")
    site.world.once()
    up(site, "one", "two")
    assert (site.lives("one"), site.lives("two")) == (["start 1.0", "stop 1.0", "start 1.0"], ["start 1.0"])
    site.idle()


# ---------------------------------------------------------------- killed on the way


@pytest.mark.slow
@pytest.mark.systemd
@pytest.mark.supervisor
@pytest.mark.parametrize("boundaries", [range(1, 9), range(9, 60)], ids=["the first", "the others"])
def test_a_move_killed_at_every_boundary(boundaries: range, site: Witnessed) -> None:
    """To and fro: each time a step further."""
    sides = [{"one": "supervisor"}, {"one": "systemd"}]
    begin(site, sides[1 - boundaries[0] % 2])
    killed = True
    for boundary in boundaries:
        side = sides[boundary % 2]
        site.commit("1.0", side)
        killed, where = killed_at(site.world, boundary)
        site.world.once()
        up(site, "one")
        assert site.lives("one")[-1] == "start 1.0", where
        assert site.own_files() == files_of(side), where
        assert site.managers() == [launcher_of(side["one"])], where
        if not killed:
            assert boundary > 14, "the story has become shorter than it was"
            break
    assert killed is (boundaries[0] == 1)
    moved(site, side)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "one", "other"),
    [
        pytest.param(0, "supervisor", "systemd", marks=needs("supervisor", "systemd")),
        pytest.param(1, "supervisor-run", "systemd-instance", marks=needs("supervisor-run", "systemd-instance")),
        pytest.param(2, "systemd-instance", "apptainer", marks=needs("systemd-instance", "apptainer")),
    ],
)
def test_a_move_killed_at_random_instants(seed: int, one: str, other: str, site: Witnessed) -> None:
    pick = random.Random(seed)
    sides = [{"one": one, "two": one}, {"one": other, "two": other}]
    begin(site, sides[0])
    if makes_instances(other):
        site.have_image("1.0")
    seconds, kills, turn = 1.2, 0, 0
    while kills < 3:
        turn += 1
        assert turn < 20, "the passes are over before they are killed"
        side = sides[turn % 2]
        site.commit("1.0", side)
        began, instant = monotonic(), pick.uniform(0.05, seconds)
        process = site.world.start("--once")
        try:
            process.communicate(timeout=instant)
            seconds = monotonic() - began
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        site.world.once()
        up(site, "one", "two")
        assert [site.lives(name)[-1] for name in ("one", "two")] == ["start 1.0"] * 2, f"after {instant:.3f} s"
    moved(site, side)
