"""Rules for scratch folders end to end: told in a plan, carried out when they are due, and never without knowing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.agent.memory.store import Store
from tests.host.mounts import mounted
from tests.host.small import bytes_left, inodes_left, small_system
from tests.scenarios.world import World, a_world, finish, until

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

OLD = 40 * 86400


def rules(world: World, **named: str) -> dict[str, str]:
    lines = "".join(f"  {name}: {{{keys}}}\n" for name, keys in named.items())
    return {f"desired/sites/{world.site}.dev.yaml": f"cleanup:\n{lines}"}


def scratch(world: World) -> Path:
    """Two runs that are old, one that is new, and one that is old and in use."""
    root = world.folder / "scratch"
    for name, age in (("run-1", OLD), ("run-2", OLD + 86400), ("run-3", 0), ("run-4", OLD)):
        run = root / "ann" / name
        run.mkdir(parents=True, exist_ok=True)
        (run / "data").write_bytes(b"x" * 50_000)
        os.utime(run, (time.time() - age,) * 2)
    (world.folder / "running").write_text("run-4\n")
    return root


def inputs(world: World, more: str = "") -> dict[str, str]:
    keys = f'root: "{world.folder}/scratch", min_depth: 2, older_than: 14'
    return rules(world, inputs=f'{keys}, in_use: {{file: "{world.folder}/running"}}{more}')


def make_due(world: World) -> None:
    """As if the time of the schedule had come since the last pass."""
    store = Store(str(world.state), world.site)
    due = time.time() - 60
    store.save_scratch("dev", {name: one._replace(due=due, new=0.0) for name, one in store.scratch("dev").items()})


def known_for_a_day(world: World) -> None:
    store, since = Store(str(world.state), world.site), time.time() - 86400
    store.save_scratch("dev", {name: one._replace(new=since) for name, one in store.scratch("dev").items()})


def runs(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "ann").iterdir())


def journal(world: World) -> list[dict[str, object]]:
    lines = (world.state / world.site / "dev" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_rule_waits_for_its_time_is_told_and_removes_what_is_old(world: World) -> None:
    root = scratch(world)
    world.commit(world.services("web") | inputs(world))
    assert "cleanup.inputs is new, or means something else now: it comes first at 20" in world.once().out
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]  # a new rule comes at its time, not with its commit
    world.idle()

    listed = world.run("cleanup", "inputs", "--dry-run")
    assert (listed.code, "ann/run-1" in listed.out, "ann/run-4" in listed.out) == (2, True, False), listed.said
    assert "comes by itself at" in listed.out
    assert listed.out.startswith(f"dev cleanup.inputs below {root}\n  ")  # rows stand below what they belong to
    data = world.run("cleanup", "--dry-run", "--json").json()
    assert sorted((one["rule"], one["path"]) for one in data["entries"]) == [("inputs", f"ann/run-{n}") for n in (1, 2)]
    assert [rule["would"]["entries"] for rule in data["rules"]] == [4]

    make_due(world)
    pids = world.pids()
    plan = world.run("plan", "--json")
    assert plan.code == 2, plan.said
    (deployment,) = plan.json()["deployments"]
    (step,) = deployment["steps"]
    assert (step["id"], step["action"]) == ("clean:scratch:inputs", "clean")
    (told,) = deployment["cleanup"]
    assert (told["rule"], told["would"]["entries"], told["removed"]) == ("inputs", 4, None)
    assert [one["path"] for one in told["would"]["largest"]] == ["ann/run-2", "ann/run-1"]
    assert "4 entries" in world.run("plan").out
    assert world.run("status").code == 0  # which does not walk
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]

    done = world.once()
    assert "4 entries" in done.out
    assert (runs(root), world.pids()) == (["run-3", "run-4"], pids)
    removed = journal(world)[-1]["cleanup"]["inputs"]  # type: ignore[index]
    assert (removed["entries"], sorted(removed["removed"])) == (4, ["ann/run-1", "ann/run-2"])
    assert " 4 cleaned " in world.run("history").out
    shown = world.run("show").out
    assert f"cleanup.inputs below {root} removed 4 entries\n" in shown
    assert ("      ann/run-1\n      ann/run-2\n" in shown, "restart" in shown) == (True, False)
    (told,) = world.run("show", "--json").json()["deployments"][0]["removed"]
    assert (told["rule"], told["entries"], sorted(told["paths"])) == ("inputs", 4, ["ann/run-1", "ann/run-2"])
    log = world.state / world.site / "dev" / "removed.log"
    for run in ("run-1", "run-2"):
        assert f"\tcleanup.inputs\tgoes\t{root}/ann/{run}\t.reconcile-gone-" in log.read_text()
    assert f"removed: {log}\n" in world.run("history").out
    world.idle()

    make_due(world)  # a time that comes and finds nothing makes no step, and no word
    done = world.once()
    assert (done.out, done.err) == ("", ""), done.said
    world.idle()


def test_each_value_of_a_rule_is_explained_with_its_place(world: World) -> None:
    layer = f"desired/sites/{world.site}.dev.yaml"
    common = 'cleanup: {inputs: {root: "{{ scratch }}/in", older_than: 14}}\nvars: {scratch: /scratch/x}\n'
    own = "cleanup:\n  inputs:\n    older_than: 7\n    in_use: {command: ids}\n"
    world.commit({"desired/environments/dev.yaml": common, layer: own})
    told = world.run("explain", "cleanup.inputs", "--environment", "dev", "--json").json()
    assert {key: (one["value"], one["file"], one["line"]) for key, one in told.items()} == {
        "root": ("/scratch/x/in", "desired/environments/dev.yaml", 1),
        "older_than": (7, layer, 3),
        "in_use.command": ("ids", layer, 4),
        "min_depth": (1, "default", 0),
        "max_depth": ("any", "default", 0),
        "type": ("any", "default", 0),
        "age": ("self", "default", 0),
        "schedule": ("once in a night", "default", 0),
        "minutes": (2, "default", 0),
        "entries": ("any number", "default", 0),
    }
    assert [one["value"] for one in told["older_than"]["layers"]] == ["14", "7"]
    shown = world.run("explain", "cleanup.inputs", "older_than", "--environment", "dev")
    assert (shown.code, f"{layer}:3" in shown.out) == (0, True), shown.said
    wrong = world.run("explain", "cleanup.input", "--environment", "dev")
    assert (wrong.code, "did you mean `cleanup.inputs`" in wrong.err) == (3, True), wrong.said


def test_nothing_goes_while_it_is_paused_or_nobody_knows_what_is_in_use(world: World) -> None:
    root = scratch(world)
    world.commit(world.services("web") | inputs(world))
    world.once()
    make_due(world)
    assert world.run("pause", "--for", "1h", "--reason", "the file system is mended").code == 0
    world.once()
    held = world.run("cleanup", "--all")
    assert (held.code, "paused" in held.out) == (2, True), held.said
    assert world.run("resume").code == 0

    (world.folder / "running").unlink()
    for _ in range(2):
        done = world.once(code=1)
        assert "what is in use cannot be told" in done.out
        assert " ".join(done.out.split()).count("nothing is removed") == 1  # its hint says so
    by_hand = world.run("cleanup", "--all")
    assert (by_hand.code, by_hand.out.count("nothing is removed")) == (1, 1), by_hand.said
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]

    (world.folder / "running").write_text("")
    world.once()
    assert runs(root) == ["run-3"]
    world.idle()


def test_what_is_not_through_goes_on_in_the_next_pass(world: World) -> None:
    root = scratch(world)
    for number in range(40):
        file = root / f"u{number}" / "file"
        file.parent.mkdir()
        file.write_text("x")
        os.utime(file, (0, 0))
    world.commit(world.services("web") | inputs(world, ", entries: 15"))
    world.once()
    make_due(world)
    done = world.once(code=2)
    assert "the next pass goes on" in done.out
    assert " partial " in world.run("history").out
    passes = 1
    while world.run("--once").code == 2:
        passes += 1
        assert passes < 6
    assert passes >= 2
    assert not list(root.rglob("file"))
    assert runs(root) == ["run-3", "run-4"]
    world.idle()


def test_a_clean_up_by_hand_keeps_no_pass_from_deploying_and_ends_with_a_pause(world: World) -> None:
    """It waits here for what says what is in use, as long as it takes."""
    root, pipe = scratch(world), world.folder / "pipe"
    os.mkfifo(pipe)
    command = f"if mkdir {world.folder}/first 2>/dev/null; then cat {pipe}; fi; echo run-4"
    keys = f'root: "{root}", min_depth: 2, older_than: 14'
    world.commit(world.services("web") | rules(world, inputs=f'{keys}, in_use: {{command: "{command}"}}'))
    world.once()
    make_due(world)
    argv = world.argv("cleanup", "inputs")
    with subprocess.Popen(argv, env=world.env, stdout=subprocess.PIPE, text=True) as by_hand:
        pen = until(lambda: opened(pipe))
        try:
            world.commit(world.services("web", "job"))
            world.once()
            assert {"job", "web"} <= world.pids().keys()
            world.idle()  # its own clean-up waits without a word
            other = world.run("cleanup", "inputs")
            assert (other.code, "cleanup.lock" in other.said) == (75, True), other.said
            assert world.run("pause", "--for", "1h", "--reason", "wait").code == 0
        finally:
            os.close(pen)
        assert by_hand.stdout is not None
        said = by_hand.stdout.read()
    assert by_hand.returncode == 2, said
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]
    assert "paused" in said

    assert world.run("resume").code == 0
    world.once()
    assert runs(root) == ["run-3", "run-4"]
    world.idle()


def test_no_service_waits_for_the_clean_up_of_a_pass(world: World) -> None:
    """What says what is in use takes its time: by then the pass has done all else, and others can go through."""
    root, pipe = scratch(world), world.folder / "pipe"
    os.mkfifo(pipe)
    command = f"if mkdir {world.folder}/first 2>/dev/null; then cat {pipe}; fi; echo run-4"
    keys = f'root: "{root}", min_depth: 2, older_than: 14'
    world.commit(world.services("web") | rules(world, a=f'{keys}, in_use: {{command: "{command}"}}'))
    world.once()
    make_due(world)
    world.commit(world.services("web", "job"))
    with world.start("--once") as cleaning:
        pen = until(lambda: opened(pipe))
        try:
            assert {"job", "web"} <= world.pids().keys()
            world.commit(world.services("web", "job", "more"))
            world.once()
            assert "more" in world.pids()
            assert world.run("plan").code == 0
            world.idle()  # what is due waits without a word while the other one is at it
        finally:
            os.close(pen)
        done = finish(cleaning)
    assert done.code == 0, done.said
    assert ("+ job" in done.out, "cleanup.a below" in done.out) == (True, True)
    assert runs(root) == ["run-3", "run-4"]
    world.idle()
    last, whole = world.run("history", "--json").json()["runs"][:2]
    assert (last["counts"], whole["counts"]) == ({"create": 1}, {"create": 1})
    (both,) = world.run("show", whole["run"], "--json").json()["deployments"]
    assert ([one["service"] for one in both["changes"]], both["removed"][0]["entries"]) == (["job"], 4)


def opened(pipe: Path) -> int | None:
    """To write to it, once somebody reads."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_what_a_killed_clean_up_by_hand_has_removed_is_known_by_its_name(world: World) -> None:
    """Nothing of it stands in the journal, which says what was done when it was."""
    root = world.folder / "scratch"
    tops = [f"ann/run-{number}" for number in range(300)]
    for top in tops:
        (root / top).mkdir(parents=True)
        for number in range(40):
            (root / top / f"f{number}").write_text("x")
        os.utime(root / top, (OLD, OLD))
    (world.folder / "running").write_text("")
    world.commit(world.services("web") | inputs(world))
    world.once()
    began = journal(world)
    pid, log = 0, world.state / world.site / "dev" / "removed.log"
    with world.start("cleanup", "inputs") as by_hand:
        assert until(lambda: len(runs(root)) < 290)
        pid = by_hand.pid
        by_hand.kill()
    assert until(lambda: not at_work(world))
    left = set(runs(root))
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    gone = {f"{root}/{top}" for top in tops if os.path.basename(top) not in left}
    assert gone <= {line[4] for line in lines}
    assert all(line[1].endswith(f"Z-{pid}") for line in lines)
    assert journal(world) == began

    listed = world.run("cleanup", "--dry-run").out
    assert ".reconcile-gone" not in listed
    begun = [name for name in left if name.startswith(".reconcile-gone")]
    assert listed.count("being removed") == len(begun)
    assert world.run("cleanup", "--all").code == 0
    assert runs(root) == []


def at_work(world: World) -> bool:
    """Somebody cleans up here: whoever removes ends a little after the one that was killed."""
    found = False
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = process.read_bytes().split(b"\0")
            found = found or (b"cleanup" in words and os.fsencode(world.state) in words)
    return found


@pytest.mark.parametrize("instead", ["", 'other: {root: "%s/elsewhere", older_than: 14}'])
def test_what_a_rule_has_left_that_git_no_longer_has_is_told(world: World, instead: str) -> None:
    """No pass comes to it any more, and its name is hidden."""
    root = world.folder / "scratch"
    for number in range(700):
        file = root / "ann/run-1" / f"f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    os.utime(root / "ann/run-1", (OLD, OLD))
    keys = f'root: "{root}", min_depth: 2, older_than: 14, entries: 9'
    world.commit(world.services("web") | rules(world, inputs=keys))
    world.once()
    make_due(world)
    world.once(code=2)
    (half,) = runs(root)
    assert half.startswith(".reconcile-gone-")
    assert "half removed" not in world.run("doctor").out

    layer = f"cleanup: {{{instead % world.folder}}}\n" if instead else ""
    world.commit({f"desired/sites/{world.site}.dev.yaml": layer})
    world.once()
    told = f"cleanup.inputs is no rule any more, and 1 folder is left half removed: {root}/ann/{half}"
    for words in (("doctor",), ("cleanup",), ("cleanup", "--dry-run")):
        said = world.run(*words).out
        assert told in " ".join(said.split()), said
        assert f"which was {root}/ann/run-1" in " ".join(said.split())
    (root / "ann" / half).rename(root / "ann/kept")
    assert "half removed" not in world.run("doctor").out


def test_a_full_disk_is_cleaned_up_early_and_by_hand(world: World) -> None:
    root = scratch(world)
    world.commit(world.services("web") | inputs(world, ', free_below: "100%", schedule: "0 2 29 2 *", zone: UTC'))
    world.once()
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]  # nor does a new rule come early
    known_for_a_day(world)
    done = world.once(code=1)  # nothing that may go will ever free that much
    said = " ".join(done.out.split())
    assert re.search(r"removed 4 entries(, about .* are free)?; still less than 100 % is free", said), said
    assert runs(root) == ["run-3", "run-4"]
    done = world.once(code=1)  # which stands, though it does not walk again for an hour
    assert "nothing more" in done.out

    scratch(world)
    done = world.run("cleanup", "inputs")
    assert (done.code, "4 entries" in done.out) == (0, True), done.said
    shown = world.run("show").out
    assert f"ok (exit status 0)\n  cleanup.inputs below {root} removed 4 entries\n" in shown
    assert " ago), by " in shown
    assert runs(root) == ["run-3", "run-4"]

    told_before = journal(world)
    again = world.run("cleanup", "inputs")
    assert (again.code, "removed: 0 entries" in again.out) == (0, True), again.said
    assert journal(world) == told_before
    unknown = world.run("cleanup", "imputs")
    assert (unknown.code, "known: inputs" in unknown.err) == (3, True), unknown.said


@pytest.mark.parametrize("fill", [bytes_left, inodes_left])
@pytest.mark.parametrize("words", [("--once",), ("cleanup", "--all")])
def test_where_nothing_more_can_be_written_scratch_is_cleaned_up(
    words: tuple[str, ...], fill: Callable[[Path, int], None], world: World
) -> None:
    """By a pass and by hand, with the state directory on the same full file system."""
    with small_system(world.folder / "f", "size=32m,nr_inodes=900") as folder:
        world.state = folder / "s"
        root = folder / "scratch"
        world.commit(world.services("web") | rules(world, inputs=f'root: "{root}", min_depth: 2, older_than: 14'))
        world.once()
        make_due(world)
        (world.state / world.site / "cleanup.key").unlink()  # as an earlier version left it
        for number in range(8):
            file = root / f"ann/run-{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x" * 50_000)
            os.utime(file, (0, 0))
        fill(folder, 0)
        done = world.run(*words)
        assert (done.code, runs(root)) == (0, []), done.said
        assert [line["cleanup"]["inputs"]["entries"] for line in journal(world)[-1:]] == [8]  # type: ignore[index]
        assert world.run("--once").code == 0


def test_a_damaged_memory_is_told_once_and_removes_nothing(world: World) -> None:
    """When each rule comes is not known then, so it waits for its next time, as a new one does."""
    root = scratch(world)
    world.commit(world.services("web") | inputs(world))
    world.once()
    make_due(world)
    memory = world.state / world.site / "dev" / "cleanup.json"
    memory.write_bytes(memory.read_bytes()[:-20])

    for words, code in ((("plan",), 0), (("plan",), 0), (("--once",), 0)):
        done = world.run(*words)
        said = " ".join(done.out.split())
        assert (done.code, f"warning: {memory} is damaged" in said) == (code, True), done.said
        assert "the next time of its schedule" in said
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]
    assert Store(str(world.state), world.site).scratch("dev")["inputs"].due > time.time()
    world.idle()


@pytest.mark.parametrize("place", ["root", "bin", "state", "old", "up"])
def test_a_root_that_leads_to_what_is_no_scratch_is_refused(place: str, world: World) -> None:
    """What git says is only a name; where it leads, the host tells, each time. `up`: a folder above what is ours."""
    known = {"root": world.root, "bin": world.root / "bin", "state": world.state, "old": world.state / "old"}
    target = {**known, "up": world.root.parent}[place]
    for where in (world.root / "bin", world.state / "old"):
        where.mkdir(parents=True, exist_ok=True)
        (where / "file").write_text("x")
        os.utime(where / "file", (0, 0))
    link = world.folder / "scratch"
    link.symlink_to(target)
    world.commit(world.services("web") | rules(world, link=f'root: "{link}", older_than: 14'))
    world.once()
    make_due(world)
    done = world.once(code=1)
    assert f"{link} leads to {target}, which" in " ".join(done.out.split())
    for words in (("cleanup", "--all"), ("cleanup", "--dry-run"), ("doctor",)):
        told = world.run(*words)
        assert (told.code, "leads to" in told.out) == (1, True), told.said
    assert (world.root / "bin/file").exists()
    assert (world.state / "old/file").exists()


@pytest.mark.parametrize("place", ["repo", "in repo", "agent's file", "its folder", "keys", "in keys"])
def test_what_the_agent_itself_reads_is_no_scratch(place: str, world: World) -> None:
    """All of it is old and would go: the repo that it follows, its file, and what that names."""
    usual = world.home / "reconcile"
    folders = {"repo": world.repo, "in repo": world.repo / "old", "agent's file": usual, "its folder": usual / "x"}
    root = {**folders, "keys": world.folder / "keys", "in keys": world.folder / "keys/x"}[place]
    for folder in (world.repo / "old", usual / "x", world.folder / "keys/x"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
        os.utime(folder / "file", (0, 0))
    config = usual / "agent.yaml"
    keys = f"repo: {world.url}\nsite: {world.site}\nstate_dir: {world.state}\nmetrics: {world.folder}/keys\n"
    config.write_text(keys)
    world.env["XDG_CONFIG_HOME"] = str(world.home)
    world.commit(world.services("web") | rules(world, mistaken=f'root: "{root}", older_than: 14'))
    world.run("--once", where=False)
    make_due(world)

    for words in (("--once",), ("cleanup", "--all"), ("cleanup", "--dry-run"), ("doctor",)):
        done = world.run(*words, where=False)
        said = " ".join(done.out.split())
        assert (done.code, f"{root} holds" in said or f"{root} is part of" in said) == (1, True), done.said
    for folder in (world.repo / "old", usual / "x", world.folder / "keys/x"):
        assert (folder / "file").exists()


@pytest.mark.slow
@pytest.mark.sshfs
def test_services_do_not_wait_for_ever_where_scratch_does_not_answer(world: World) -> None:
    """The first pass waits for a minute, those after it not at all."""
    served, at = world.folder / "served", world.folder / "scratch"
    scratch(world)
    at.rename(served)
    at.mkdir()
    with mounted(served, at) as line:
        world.commit(world.services("web") | inputs(world, ", root_is: mount"))
        world.once()
        make_due(world)
        line.silence()
        for services in (("web", "job"), ("web", "job", "more")):
            world.commit(world.services(*services))
            began = time.monotonic()
            done = world.once(code=1)
            assert set(services) <= world.pids().keys()
            assert f"{at} has not answered" in " ".join(done.out.split())
        assert time.monotonic() - began < 30
        for words in (("cleanup", "--all"), ("cleanup", "--dry-run"), ("doctor",)):
            told = world.run(*words)
            assert (told.code, "still waits for it" in " ".join(told.out.split())) == (1, True), told.said
        assert runs(served) == ["run-1", "run-2", "run-3", "run-4"]
        line.go_on()
        assert until(lambda: "still waits" not in world.run("cleanup", "--dry-run").out)
        world.once()
        assert runs(served) == ["run-3", "run-4"]
        world.idle()


def test_a_rule_does_not_take_by_way_of_a_link_what_another_one_keeps(world: World) -> None:
    """Names in git say nothing of links: that both reach one tree only the host can tell."""
    root, link = scratch(world), world.folder / "kept"
    link.symlink_to(root / "ann")
    quick, slow = f'root: "{root}", min_depth: 2, older_than: 14', f'root: "{link}", older_than: 90'
    world.commit(world.services("web") | rules(world, quick=quick, slow=slow))
    assert world.run("validate", str(world.repo)).code == 0
    world.once()
    make_due(world)

    for words in (("--once",), ("cleanup", "--all"), ("cleanup", "--dry-run"), ("doctor",)):
        done = world.run(*words)
        said = " ".join(done.out.split())
        assert (done.code, "after 14 days, which `slow` keeps for 90" in said) == (1, True), done.said
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]

    apart = f'{quick}, exclude: ["ann/"]'
    world.commit(world.services("web") | rules(world, quick=apart, slow=slow))
    world.once()
    assert world.run("cleanup", "--all").code == 0


def test_a_root_that_is_not_there_and_a_commit_without_rules_are_told(world: World) -> None:
    world.commit(world.services("web"))
    world.once()
    newer = world.commit(inputs(world))
    for words in (("--all",), ("--dry-run",)):
        none = world.run("cleanup", *words)
        assert none.code == 0, none.said
        told = r"git has no rules for clean-up here at [0-9a-f]{8}, which the last pass has applied\n"
        assert re.fullmatch(told, none.out)
        assert newer[:8] not in none.out
    unknown = world.run("cleanup", "inputs")
    assert (unknown.code, "which the last pass has applied" in unknown.err) == (3, True), unknown.said

    (world.folder / "running").write_text("")
    world.once()
    for words in (("--all",), ("--dry-run",)):
        gone = world.run("cleanup", *words)
        assert (gone.code, f"{world.folder}/scratch is not there" in gone.out) == (0, True), gone.said
        (rule,) = world.run("cleanup", *words, "--json").json()["rules"]
        assert rule["missing"] is True


def test_who_names_no_rule_removes_nothing_and_sees_when_each_comes(world: World) -> None:
    """Each rule removes for ever, due or not; that all of them are meant is said."""
    root = scratch(world)
    world.env["TZ"] = "UTC"
    world.commit(world.services("web") | inputs(world, ', schedule: "0 2 * * sun", zone: America/New_York'))
    world.once()
    told = world.run("cleanup")
    assert told.code == 0, told.said
    assert f"dev cleanup.inputs below {root}\n  next at 20" in told.out
    assert " 02:00 America/New_York\n" in told.out
    assert ("last at" in told.out, "--dry-run" in told.out) == (False, True)
    listed = world.run("cleanup", "--dry-run").out
    assert re.search(r"comes by itself at 20..-..-.. 02:00 America/New_York\n", listed)
    (rule,) = world.run("cleanup", "--json").json()["rules"]
    assert (rule["rule"], rule["due"] > time.time(), rule["last"]) == ("inputs", True, None)
    both = world.run("cleanup", "inputs", "--all")
    assert (both.code, "leave one of them out" in both.err) == (3, True), both.said

    make_due(world)
    assert "is due: `reconcile plan` tells" in world.run("cleanup").out
    assert runs(root) == ["run-1", "run-2", "run-3", "run-4"]
    world.once()
    assert runs(root) == ["run-3", "run-4"]
    told, zone = world.run("cleanup"), "America/New_York"
    assert re.search(rf"  next at 20..-..-.. 02:00 {zone}; last at 20..-..-.. ..:.. {zone}\n", told.out), told.said
    scratch(world)
    assert world.run("cleanup", "--all").code == 0
    assert runs(root) == ["run-3", "run-4"]

    world.commit(inputs(world))
    world.once()
    assert re.search(r"  next at 20..-..-.. 0.:.. UTC\n", world.run("cleanup").out)


def test_a_root_that_is_not_there_is_told_once_for_each_time_of_the_schedule(world: World) -> None:
    """It may be a slip of the pen, or a file system that is not mounted; nobody wants to read of it in each pass."""
    world.commit(world.services("web") | rules(world, typo=f'root: "{world.folder}/scartch", older_than: 14'))
    world.once()
    for _ in range(2):
        make_due(world)
        done = world.once()
        told = f"warning: dev: cleanup.typo: {world.folder}/scartch is not there: nothing is removed until it is"
        assert told in " ".join(done.out.split()), done.said
        world.idle()


def test_each_name_is_listed_as_it_is(world: World) -> None:
    root = scratch(world)
    for name in (b"a\nb", b"a\\nb", b"\xff"):
        path = os.path.join(os.fsencode(root), b"ann", name)
        with open(path, "wb"):
            pass
        os.utime(path, (0, 0))
    world.commit(world.services("web") | inputs(world))
    world.once()
    found = world.run("cleanup", "--dry-run", "--json").json()["entries"]
    names = {os.fsencode(one["path"]) for one in found}
    assert names >= {b"ann/a\nb", b"ann/a\\nb", b"ann/\xff"}
