"""`reconcile doctor`: each thing that a pass needs, made wrong for real; and nothing of the host changes by looking."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.test_windows import running
from tests.scenarios.world import Done, World, a_world, until

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def look(world: World, *words: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By verdict and check."""
    done = world.run("doctor", "--json", *words)
    data = done.json()
    assert done.code == (0 if data["ready"] else 1), done.said
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in data["checks"]:
        found.setdefault((one["verdict"], one["check"]), []).append(one)
    return found


def error(world: World, check: str) -> str:
    (one,) = look(world)["error", check]
    assert one["mend"]
    return str(one["message"])


def everything(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file below a folder, by what would show that it was touched."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        found[str(path)] = (info.st_mode, info.st_size, info.st_mtime_ns if path.is_file() else 0)
    return found


def test_all_is_well_before_the_first_pass_and_nothing_is_written(world: World) -> None:
    world.commit(world.services("web", "job"))
    before = everything(world.folder)
    done = world.run("doctor")
    assert done.code == 0, done.said
    assert "\nok      dev command: 2 services: prologue and command\n" in done.out
    assert "0 errors" in done.out.splitlines()[-1]
    assert max(map(len, done.out.splitlines())) <= max(80, len(str(world.folder)) + 40)
    assert everything(world.folder) == before
    assert not world.state.exists()


def test_all_is_well_while_it_runs_and_no_process_or_file_is_touched(world: World) -> None:
    running(world)
    pids, before = world.pids(), everything(world.folder)
    found = look(world)
    assert [one for one in found if one[0] == "error"] == []
    assert found.keys() >= {("ok", what) for what in ("folders", "space", "clock", "lock", "git", "remote", "command")}
    assert ("warning", "schedule") in found
    assert (world.pids(), everything(world.folder)) == (pids, before)
    world.idle()


def test_a_folder_that_cannot_be_made(world: World) -> None:
    world.commit(world.services("web"))
    world.root.write_text("in the way\n")
    assert "in the way: it is no folder" in error(world, "folders")


def test_a_command_and_a_prologue_that_are_missing(world: World) -> None:
    keys = "component: app, command: no-such-program"
    world.commit(world.services("web", "job", web=keys, job="component: app, command: sleep 9, prologue: exit 3"))
    messages = sorted(one["message"] for one in look(world)["error", "command"])
    assert messages[0].startswith("job: the prologue exit status 3")
    assert messages[1].startswith("web: command not found: no-such-program")


def test_what_several_services_lack_is_told_once(world: World) -> None:
    keys = "component: app, command: '$X', prologue: 'echo no module >&2; exit 3'"
    world.commit(world.services("web", "job", web=keys, job=keys))
    assert error(world, "command").startswith("job, web: the prologue exit status 3\nno module")


def test_a_port_that_somebody_else_holds_and_then_a_service_of_ours(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        world.commit(world.services("web", web=f"component: app, command: {serve(world, port)}, ports: [{port}]"))
        assert f"port {port} of web is held by pid {os.getpid()} " in error(world, "ports")
    world.once()
    until(lambda: "1 held by its services" in str(look(world).get(("ok", "ports"))))


def serve(world: World, port: int) -> str:
    path = world.folder / "serve"
    code = f"import socket, time\ns = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(86399)\n"
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o755)
    return str(path)


def test_a_secret_that_others_can_read(world: World) -> None:
    keys = "component: app, command: sleep 86399, env: {DB_PASSWORD: hush}"
    world.commit(world.services("web", web=keys))
    world.once()
    assert ("ok", "secrets") in look(world)
    path = world.root / "config/env/web.env"
    path.chmod(0o644)
    done = world.run("doctor")
    assert (done.code, f"{path} has mode 0644" in done.out.replace("\n          ", " ")) == (1, True), done.said
    assert "hush" not in done.out + done.err


def test_a_service_that_runs_twice(world: World) -> None:
    running(world)
    (marked,) = [one.marks for one in world.live() if one.service == "web"]
    env = {**marked, "PATH": "/usr/bin:/bin"}
    second = subprocess.Popen([str(world.root / "bin/web")], env=env, start_new_session=True)
    try:
        until(lambda: ("error", "twice") in look(world))
        assert "web runs 2 times" in error(world, "twice")
    finally:
        second.kill()
        second.wait()


def test_a_supervisord_that_does_not_answer(world: World) -> None:
    running(world)
    (world.root / "run/supervisor.sock").unlink()
    assert "does not answer" in error(world, "launcher")


def test_a_repo_out_of_reach_is_an_error_and_the_rest_is_looked_at(world: World) -> None:
    running(world)
    away = world.repo.rename(world.folder / "away")
    found = look(world)
    away.rename(world.repo)
    assert ("error", "remote") in found
    assert ("ok", "command") in found


def test_a_commit_that_is_not_valid(world: World) -> None:
    running(world)
    world.commit({"desired/environments/dev.yaml": "services: {web: {comand: x}}\n"})
    messages = [one["message"] for one in look(world)["error", "desired"]]
    assert any("unknown key `comand`" in message for message in messages)


def test_the_wrong_place(world: World) -> None:
    world.commit(world.services("web") | {f"desired/sites/{world.site}.dev.yaml": "account: somebody"})
    assert "runs as somebody, and this is " in error(world, "place")


def test_a_pause_and_a_state_directory_that_others_write_to(world: World) -> None:
    running(world)
    world.run("pause", "--for", "1h", "--reason", "the database moves")
    world.state.chmod(0o777)
    found = look(world)
    assert "the database moves" in found["warning", "pause"][0]["message"]
    assert "others can write to it" in found["error", "state"][0]["message"]


def test_git_is_missing(world: World) -> None:
    world.commit(world.services("web"))
    done = world.run("doctor", "--json", env={"PATH": str(world.folder)})
    checks = {one["check"]: one["verdict"] for one in done.json()["checks"]}
    assert (done.code, checks["git"]) == (1, "error")


def test_a_file_system_that_is_full(world: World) -> None:
    """Really full: a file system of its own in memory."""
    world.commit(world.services("web"))
    world.state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", world.state], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        found = look(world)
        assert "MiB free" in found["error", "space"][0]["message"]
        assert found["error", "space"][0]["mend"].startswith("make room")
    finally:
        subprocess.run(["umount", world.state], check=True)


def test_tools_of_a_launcher_that_are_missing(world: World, tmp_path: Path) -> None:
    world.commit(world.services("web", web="component: app, command: sleep 9, launcher: slurm"))
    for tool in ("git", "sh", "bash", "sleep"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    done: Done = world.run("doctor", "--json", env={"PATH": str(tmp_path)})
    missing = [one["message"] for one in done.json()["checks"] if one["check"] == "tools"]
    assert "launcher slurm needs sbatch, which is not found" in missing


def test_rules_for_scratch_folders_are_looked_at_beforehand(world: World) -> None:
    """Their roots, the folders in them, and what says what is in use. Nothing is walked through or changed."""
    scratch = world.folder / "scratch"
    for folder in ("a/ann", "a/bob", "c", "e", "f"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "e" / "run").write_text("x")
    rules = {
        "a": f"root: {scratch}/a, min_depth: 2, in_use: {{command: echo run-1; echo run-2}}",
        "b": f"root: {scratch}/missing",
        "c": f"root: {scratch}/c, in_use: {{file: {scratch}/list}}",
        "d": "root: /dev/shm",
        "e": f"root: {scratch}/e/run",
        "f": f"root: {scratch}/f, in_use: {{command: echo {scratch}2/ann; echo /elsewhere/ann}}",
    }
    lines = "".join(f"  {name}: {{{keys}, older_than: 14}}\n" for name, keys in rules.items())
    layers = {f"desired/sites/{world.site}.dev.yaml": f"cleanup:\n{lines}"}
    world.commit(world.services("web") | layers)
    before = everything(scratch)
    found = look(world)
    told = {verdict: [one["message"] for one in found[verdict, "cleanup"]] for verdict in ("ok", "warning")}
    told["ok"].remove("a: 2 lines of what is in use")
    assert told == {
        "ok": [f"{name}: {scratch}/{name} can be removed from" for name in "acf"],
        "warning": [
            f"b: {scratch}/missing is not there",
            f"f: 2 lines of what is in use, none of them below {scratch}/f: '{scratch}2/ann'",
        ],
    }
    wrong = {one["message"]: one["mend"] for one in found["error", "cleanup"]}
    assert f"c: what is in use cannot be told: {scratch}/list: No such file or directory" in wrong
    assert any(message.startswith(f"e: {scratch}/e/run") for message in wrong)
    if os.path.ismount("/dev/shm"):
        assert "root_is: mount" in wrong["d: /dev/shm is a mount point"]
    assert everything(scratch) == before


def test_folders_that_cannot_be_removed_from_are_told(world: World) -> None:
    """Two of three at first, then all; a folder that cannot be changed is shut for everybody."""
    scratch = world.folder / "scratch"
    users = [scratch / name for name in ("ann", "bob", "cid")]
    for user in users:
        user.mkdir(parents=True)
    rule = f"cleanup: {{x: {{root: {scratch}, min_depth: 2, older_than: 14}}}}"
    layers = {f"desired/sites/{world.site}.dev.yaml": rule}
    world.commit(world.services("web") | layers)
    if os.geteuid() or subprocess.run(["chattr", "+i", *users[:2]], capture_output=True, check=False).returncode:
        pytest.skip("only root can shut a folder for itself, and not on each file system")
    try:
        (one,) = look(world)["warning", "cleanup"]
        assert f"x: this account cannot remove from 2 of 3 folders below {scratch}: " in one["message"]
        subprocess.run(["chattr", "+i", *users], check=True)
        assert "from 3 of 3 folders" in error(world, "cleanup")
    finally:
        subprocess.run(["chattr", "-i", *users], check=True)
