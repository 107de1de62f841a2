"""Which commit a host is held to: news, outages, invalid commits, rewinds, and a damaged mirror."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.agent.config import Agent
from reconciler.agent.run import Pass
from reconciler.report.log import Log
from reconciler.source import Mirror
from tests.scenarios.world import SLEEP, Done, World, a_world  # noqa: F401
from tests.source.conftest import Ssh, _exec_path, _http, free_port, running, sshd, upstream  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

NAMES = ("one", "two")
OTHER = {"two": f"component: tool, command: {SLEEP}"}


@pytest.fixture
def begun(world: World) -> World:
    """Two services that run."""
    world.commit(world.services(*NAMES, **OTHER))
    world.once()
    return world


def level(world: World) -> str:
    return (world.root / "config/app.conf").read_text()


def spoil(world: World) -> None:
    """Drift: a rendered file edited, a program stopped."""
    (world.root / "config/app.conf").write_text("edited\n")
    world.supervisorctl("stop", "two")


def mended(world: World) -> bool:
    return "level = " in level(world) and sorted(world.pids()) == ["", *NAMES]


# ---------------------------------------------------------------- transports


@contextmanager
def git_daemon(world: World, port: int) -> Iterator[None]:
    argv = [f"{_exec_path()}/git-daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--reuseaddr"]
    with running([*argv, f"--base-path={world.folder}"], port):
        yield


def story(world: World) -> None:
    """The same over every transport: a cold start, a bump, nothing to do."""
    world.commit(world.services(*NAMES, **OTHER))
    world.once()
    before = world.pids()
    world.commit(world.versions("1.1"))
    world.once()
    after = world.pids()
    assert (after["two"], after["one"] == before["one"]) == (before["two"], False)
    world.idle()


def test_a_file_address(world: World) -> None:
    world.url = f"file://{world.repo}"
    story(world)


def test_a_bare_repo(world: World) -> None:
    bare = world.folder / "bare.git"
    world.commit()
    world.git("clone", "--quiet", "--bare", ".", str(bare))
    world.git("remote", "add", "origin", str(bare))
    commit = world.commit

    def push(*args: object, **more: object) -> str:
        made = commit(*args, **more)  # type: ignore[arg-type]
        world.git("push", "--quiet", "--force", "origin", "main")
        return made

    world.commit = push  # type: ignore[method-assign]
    world.url = str(bare)
    story(world)


def test_git_daemon(world: World) -> None:
    port = free_port()
    world.url = f"git://127.0.0.1:{port}/repo"
    with git_daemon(world, port):
        story(world)


def test_http(world: World) -> None:
    with _http(world.folder) as port:
        world.url = f"http://ann:pa%3Ass%40word@127.0.0.1:{port}/repo/.git"
        story(world)


def test_ssh(world: World, sshd: Ssh, upstream: object) -> None:  # noqa: F811
    world.env["GIT_SSH_COMMAND"] = sshd.command
    world.url = sshd.url[: sshd.url.index("/", len("ssh://"))] + str(world.repo)
    story(world)


# ---------------------------------------------------------------- what is read


def test_the_commit_counts_and_not_the_work_tree(begun: World) -> None:
    """Uncommitted edits, staged ones and files that git does not know: nothing of it is applied."""
    before, files = begun.pids(), begun.files()
    begun.write(begun.versions("9.9") | {"templates/app.conf.j2": "dirty\n", "desired/sites/other.yaml": "}{"})
    begun.git("add", "templates")
    begun.idle()
    assert (begun.pids(), begun.files()) == (before, files)
    begun.commit()  # the broken file of another site does not touch this one
    begun.once()
    assert level(begun) == "dirty\n"


def test_another_branch(begun: World) -> None:
    begun.git("checkout", "--quiet", "-b", "next")
    begun.commit(begun.versions("1.1"))
    begun.idle()
    begun.once("--branch", "next")
    assert "app = 1.1" in level(begun)


# ---------------------------------------------------------------- outages


def test_the_repo_is_away(begun: World) -> None:
    """The pass goes on against the last valid commit, mends drift, and says how stale it is."""
    hidden = begun.folder / "hidden"
    begun.repo.rename(hidden)
    spoil(begun)
    done = begun.once()
    assert mended(begun)
    assert re.search(r"the repo cannot be read; holding to [0-9a-f]{8}, last in contact \d+ s ago", done.out), done.said
    known = begun.state / begun.site / "source.json"
    old = known.stat().st_mtime - 7200
    os.utime(known, (old, old))
    assert "last in contact 2 h ago" in begun.once().out
    spoil(begun)
    done = begun.once("--max-staleness", "1h", code=1)
    assert "longer than max_staleness" in done.out
    assert mended(begun)
    hidden.rename(begun.repo)
    assert begun.once("--max-staleness", "1h") == Done(0, "", "")
    begun.repo.rename(hidden)
    begun.once("--max-staleness", "1h")


def test_a_stopped_server(world: World) -> None:
    port = free_port()
    world.url = f"git://127.0.0.1:{port}/repo"
    world.commit(world.services(*NAMES, **OTHER))
    with git_daemon(world, port):
        world.once()
    world.commit(world.versions("1.1"))
    spoil(world)
    done = world.once("--timeout", "5s")
    assert "the repo cannot be read" in done.out
    assert mended(world)
    assert "app = 1.0" in level(world)
    with git_daemon(world, port):
        world.once()
    assert "app = 1.1" in level(world)


def test_a_repo_that_never_was(world: World) -> None:
    shutil.rmtree(world.repo)
    done = world.once(code=1)
    assert "no commit is known yet, and the repo cannot be read" in done.out
    assert not world.root.exists()


def test_a_branch_that_is_deleted(begun: World) -> None:
    """No outage: nobody would hear of it for a day."""
    begun.git("checkout", "--quiet", "--detach")
    begun.git("branch", "--quiet", "-D", "main")
    spoil(begun)
    done = begun.once(code=1)
    assert "has no branch 'main'" in done.out
    assert "cannot be read" not in done.out
    assert mended(begun)
    begun.git("checkout", "--quiet", "-b", "main")
    begun.idle()


def test_a_branch_that_never_was(world: World) -> None:
    world.commit()
    done = world.once("--branch", "prod", code=1)
    assert "has no branch 'prod'" in done.out
    assert "no commit is known yet" in done.out


def test_news_that_cannot_be_kept(begun: World) -> None:
    """The repo can be read, and the state directory has no room for it: that is told at once, and drift is mended."""
    begun.commit(begun.versions("1.1"))
    spoil(begun)
    done = begun.run("--once", env=_failing_git(begun, "fetch", "fatal: write error: No space left on device"))
    assert done.code == 1, done.said
    assert "the branch cannot be followed; holding to" in done.out
    assert "No space left on device" in done.out
    assert "repo cannot be read" not in done.out
    assert mended(begun)
    assert "app = 1.0" in level(begun)
    begun.once()
    assert "app = 1.1" in level(begun)


def _failing_git(world: World, verb: str, said: str) -> dict[str, str]:
    """The environment in which git can do all but one thing."""
    folder, git = world.folder / "bin", shutil.which("git")
    folder.mkdir()
    script = f'for word; do [ "$word" = {verb} ] && {{ echo "{said}" >&2; exit 128; }}; done\nexec {git} "$@"\n'
    (folder / "git").write_text("#!/bin/sh\n" + script)
    (folder / "git").chmod(0o755)
    return {"PATH": f"{folder}:{world.env['PATH']}"}


def test_a_mirror_in_a_folder_that_fails(begun: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the file system is told of the pass, and does not end it."""
    agent = Agent(begun.url, begun.site, state_dir=str(begun.state))
    begun.commit(begun.versions("1.1"))

    def fails(_: Mirror) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/mirror")

    monkeypatch.setattr(Mirror, "fetch", fails)
    report = Pass(agent, Log()).run()
    assert (report.exit_code, "/mirror: Input/output error" in report.notices[0].message) == (1, True)
    assert report.deployments[0].converged


# ---------------------------------------------------------------- invalid commits

BROKEN = {
    "desired/sites/zz.yaml": None,
    "desired/environments/dev.yaml": (
        "versions: {app: 2.0}\n"
        "services:\n"
        f"  one: {{component: app, command: {SLEEP}, files: [app.conf], supervisor: {{startsecs: 0}}}}\n"
        f"  two: {{component: nobody, command: {SLEEP}, comand: x}}\n"
        f"  three: {{component: app, command: {SLEEP}, after: [four]}}\n"
    ),
}


def broken() -> dict[str, str]:
    return {path: text for path, text in BROKEN.items() if text is not None}


def test_an_invalid_commit_changes_nothing(begun: World) -> None:
    files, pids = begun.files(), begun.pids()
    commit = begun.commit(broken())
    for _ in range(2):
        done = begun.once(code=3)
        path = "desired/environments/dev.yaml"
        assert f"commit {commit[:8]} is not valid" in done.out
        for place in (f"{path}:1:", f"{path}:4:", f"{path}:5:"):
            assert re.search(re.escape(place) + r"\d+: ", done.out), done.said
        for word in ("comand", "nobody", "four", "2.0"):
            assert word in done.out
        assert (begun.files(), begun.pids()) == (files, pids)
    told = begun.run("plan", "--json")
    assert (told.code, {problem["line"] for problem in told.json()["problems"]} >= {1, 4, 5}) == (3, True)


def test_drift_is_mended_against_the_last_valid_commit(begun: World) -> None:
    files = begun.files()
    begun.commit(broken())
    begun.once(code=3)
    spoil(begun)
    begun.once(code=3)
    assert mended(begun)
    assert begun.files() == files
    begun.commit(begun.services(*NAMES, **OTHER) | begun.versions("1.2"))
    begun.once()
    assert "app = 1.2" in level(begun)
    begun.idle()


def test_a_template_that_breaks(begun: World) -> None:
    files = begun.files()
    begun.commit({"templates/app.conf.j2": "level = {{ levle }}\n"})
    done = begun.once(code=3)
    assert re.search(r"templates/app\.conf\.j2:1(:\d+)?: ", done.out), done.said
    assert "levle" in done.out
    assert begun.files() == files


def test_the_first_commit_ever_is_invalid(world: World) -> None:
    world.commit(broken())
    for _ in range(2):
        assert "nothing is applied" in world.once(code=3).out
        assert not world.root.exists()
    world.commit(world.services(*NAMES, **OTHER))
    world.once()
    world.idle()


def test_a_site_that_git_no_longer_has(begun: World) -> None:
    """That must not read as a site without services."""
    files, pids = begun.files(), begun.pids()
    begun.commit({f"desired/sites/{begun.site}.yaml": None})
    begun.once(code=3)
    assert (begun.files(), begun.pids()) == (files, pids)


def test_a_repo_that_is_emptied(begun: World) -> None:
    files, pids = begun.files(), begun.pids()
    begun.git("rm", "--quiet", "-r", "desired", "templates")
    begun.commit()
    begun.once(code=3)
    assert (begun.files(), begun.pids()) == (files, pids)


# ---------------------------------------------------------------- history rewritten


@pytest.mark.parametrize("how", ["rewound", "rewritten", "unrelated"])
def test_a_branch_that_was_rewritten(how: str, world: World) -> None:
    first = world.commit(world.services(*NAMES, **OTHER))
    second = world.commit(world.versions("1.1"))
    world.once()
    if how == "unrelated":
        world.git("checkout", "--quiet", "--orphan", "anew")
        world.commit(world.versions("1.0"))
        world.git("branch", "--force", "main", "HEAD")
        world.git("checkout", "--quiet", "main")
    else:
        world.git("reset", "--quiet", "--hard", first)
    if how == "rewritten":
        world.commit(world.versions("1.0"), "another")
    new = world.git("rev-parse", "HEAD")
    spoil(world)
    for _ in range(2):
        done = world.once(code=1)
        assert new[:8] in done.out
        assert second[:8] in done.out
        assert "--accept-rewind" in done.out
        assert mended(world)
        assert "app = 1.1" in level(world)
    assert world.run("plan").code == 1
    assert "app = 1.1" in level(world)
    world.once("--accept-rewind")
    assert "app = 1.0" in level(world)
    world.idle()
    world.commit(world.versions("1.2"))
    world.once()
    assert "app = 1.2" in level(world)


# ---------------------------------------------------------------- a damaged mirror


def _mirror(world: World) -> Path:
    (found,) = (world.state / "mirrors").iterdir()
    return found


def _packs(mirror: Path) -> list[Path]:
    return [path for path in (mirror / "objects").rglob("*") if path.is_file() and "info" not in path.parts]


def _truncated(mirror: Path) -> None:
    for path in _packs(mirror):
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)


def _objects_gone(mirror: Path) -> None:
    for path in _packs(mirror):
        path.unlink()


def _garbage(name: str) -> Callable[[Path], None]:
    def damage(mirror: Path) -> None:
        (mirror / name).write_bytes(b"\0garbage\xff\n")

    return damage


def _locks(mirror: Path) -> None:
    for name in ("index.lock", "shallow.lock", "packed-refs.lock", "HEAD.lock", "config.lock"):
        (mirror / name).touch()
    for path in list((mirror / "refs").rglob("*")):
        if path.is_file():
            path.with_name(path.name + ".lock").touch()


def _half_swapped(mirror: Path) -> None:
    mirror.rename(str(mirror) + ".old")


def _a_file_instead(mirror: Path) -> None:
    shutil.rmtree(mirror)
    mirror.write_text("not a folder\n")


def _refs_gone(mirror: Path) -> None:
    shutil.rmtree(mirror / "refs")
    (mirror / "packed-refs").unlink(missing_ok=True)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated objects": _truncated,
    "removed objects": _objects_gone,
    "no objects folder": lambda mirror: shutil.rmtree(mirror / "objects"),
    "leftover locks": _locks,
    "garbage in HEAD": _garbage("HEAD"),
    "garbage in config": _garbage("config"),
    "garbage in packed-refs": _garbage("packed-refs"),
    "a swap cut off": _half_swapped,
    "a file in its place": _a_file_instead,
    "no refs": _refs_gone,
    "gone": shutil.rmtree,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_mirror_is_repaired_without_a_person(name: str, begun: World) -> None:
    """Whether there is news in the repo, drift on the host, or nothing at all."""
    DAMAGES[name](_mirror(begun))
    begun.idle()
    spoil(begun)
    begun.once()
    assert mended(begun)
    DAMAGES[name](_mirror(begun))
    begun.commit(begun.versions("1.1"))
    begun.once()
    assert "app = 1.1" in level(begun)
    begun.idle()


def test_a_lost_state_directory_costs_nothing(begun: World) -> None:
    pids = begun.pids()
    shutil.rmtree(begun.state)
    begun.idle()
    assert begun.pids() == pids
    shutil.rmtree(begun.state)
    begun.commit(begun.services("one"))
    begun.once()
    assert sorted(begun.pids()) == ["", "one"]
