"""A supervisord with programs of every shape comes in without a restart, and each leaves it with its first change."""

from __future__ import annotations

from tests.adopt.byhand import ENVIRONMENT, SECRET, ByHand, Place

LEFT = {"listener", "loud"}  # cannot be services


def test_comes_in_without_a_restart(by_hand: ByHand, place: Place) -> None:
    before, said = by_hand.pids(), by_hand.said()
    assert len(before) >= 20, before
    told = place.adopt("supervisor", str(by_hand.conf)).json
    managed = {one["service"]: one for one in told["services"] if one["managed"]}
    assert {one["unit"] for one in told["services"] if not one["managed"]} == LEFT
    assert not managed["idle"]["enabled"]
    place.commit()

    for arguments in (("plan",), ("plan",), ("--once",), ("--once",), ("plan",)):
        found = place.deployment(*arguments)
        assert found["steps"] == [], (arguments, found["steps"])
        assert {c["kind"] for c in found["changes"]} == {"keep"}, found["changes"]
        assert by_hand.pids() == before
    assert {path.name for path in place.root.iterdir()} == {".reconcile", "secrets"}
    quiet = place.run("--once")
    assert (quiet.code, quiet.out) == (0, "")

    # One bump restarts that one, under a supervisord of reconcile's own. All others go on.
    place.bump(["plain"], "1.1")
    found = place.deployment("plan", code=2)
    changed = {c["service"]: c for c in found["changes"] if c["kind"] != "keep"}
    assert set(changed) == {"plain"}
    assert changed["plain"]["restarts"] == ["plain"]
    assert "version adopted -> 1.1" in changed["plain"]["reasons"][0]
    place.deployment("--once")
    assert by_hand.pids() == {name: pid for name, pid in before.items() if name != "plain"}
    own = place.own_pids()
    assert set(own) == {"", "plain"}
    assert place.deployment("--once")["steps"] == []

    # All of them at last: each is started with the very words, variables, folder and umask that it had.
    rest = {one["service"] for name, one in managed.items() if one["enabled"]} - {"plain"}
    place.bump(_components(place) - {"plain", "idle"}, "1.1")
    place.deployment("--once")
    assert set(place.own_pids()) == {"", "plain", *rest}
    assert place.own_pids()["plain"] == own["plain"]
    assert set(by_hand.pids()) == LEFT
    # What had `/` as its folder, as a daemon does, has the deployment's.
    moved = {name: text.replace("-- cwd / ", f"-- cwd {place.root} ") for name, text in said.items() if name not in LEFT}
    assert by_hand.said() == said | moved
    assert place.deployment("--once")["steps"] == []
    for path in place.repo.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def _components(place: Place) -> set[str]:
    from ruamel.yaml import YAML

    found = YAML(typ="safe", pure=True).load(place.layer.read_text())
    return set(found["versions"])


def test_environment_is_not_made_for_other_sites(by_hand: ByHand, place: Place) -> None:
    (place.repo / "desired/sites").mkdir(parents=True)
    (place.repo / "desired/sites/there.yaml").write_text("vars: {a: b}\n")
    told = place.adopt("supervisor", str(by_hand.conf), code=3)
    assert f"there is no environment {ENVIRONMENT} yet" in told.err
