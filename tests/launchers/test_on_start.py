"""What runs when the node is another one: the shell lines, run by real shells, and what is told of their failure."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep, time

import pytest

from reconciler.core.desired import Note
from reconciler.core.observed import Finding
from reconciler.launchers import on_start

SHELLS = [shell for shell in ("/bin/bash", "/bin/dash", "/bin/sh") if os.path.exists(shell)]
Start = Callable[..., subprocess.CompletedProcess[str]]


def node_of(name: str) -> list[str]:
    """Words in front of a command that then runs on a node of this name, as far as it can tell."""
    return ["unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$0" "$@"']


def may_unshare() -> bool:
    words = [*node_of("other"), "uname", "-n"]
    return bool(shutil.which("unshare")) and not subprocess.run(words, capture_output=True, check=False).returncode


needs_nodes = pytest.mark.skipif(not may_unshare(), reason="unshare --uts needs root")


def script(folder: Path, commands: str, seconds: int = 20, after: str = "echo started") -> str:
    return on_start.lines("dns", commands, str(folder / "run/on_start"), seconds=seconds) + f"{after}\n"


def run(text: str, shell: str = SHELLS[0], node: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The lines as a shim has them, on standard input of nothing: they have to reach their end."""
    done = subprocess.run(
        [*node, shell, "-c", text], capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL
    )
    assert done.stdout == "started\n"
    return done


def notes(folder: Path) -> dict[str, str]:
    """All that lies in the folder, also what was left half-made."""
    return {path.name: path.read_text() for path in sorted((folder / "run/on_start").iterdir())}


def failure(folder: Path) -> on_start.Failure:
    found = on_start.read((folder / "run/on_start/dns.failed").read_text())
    assert found
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_once_for_a_node(tmp_path: Path, shell: str) -> None:
    text = script(tmp_path, f"echo . >>{tmp_path}/ran")
    for _ in range(3):
        assert run(text, shell).stderr == ""
    assert (tmp_path / "ran").read_text() == ".\n"
    assert list(notes(tmp_path)) == ["dns.node"]
    assert notes(tmp_path)["dns.node"].startswith(os.uname().nodename + " ")


@needs_nodes
def test_again_on_another_node(tmp_path: Path) -> None:
    text = script(tmp_path, f"uname -n >>{tmp_path}/ran")
    for node in ("nid01", "nid01", "nid02", "nid02", "nid01"):
        run(text, node=node_of(node))
    assert (tmp_path / "ran").read_text().split() == ["nid01", "nid02", "nid01"]


def test_again_where_the_commands_are_others(tmp_path: Path) -> None:
    for commands in ("one", "two", "two"):
        run(script(tmp_path, f"echo {commands} >>{tmp_path}/ran"))
    assert (tmp_path / "ran").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_failure_is_noted_and_tried_again(tmp_path: Path, shell: str) -> None:
    text = script(tmp_path, f"echo out; echo err >&2; test -e {tmp_path}/go", after="echo started")
    began = int(time())
    for _ in range(2):
        assert run(text, shell).stderr == "reconcile: dns: its on_start failed with exit status 1\n"
    assert list(notes(tmp_path)) == ["dns.failed"]
    found = failure(tmp_path)
    assert (found.node, found.status, found.printed) == (os.uname().nodename, 1, "out\nerr\n")
    assert began <= found.since <= time()
    (tmp_path / "go").touch()
    run(text, shell)
    assert list(notes(tmp_path)) == ["dns.node"]


@needs_nodes
def test_after_a_failure_elsewhere_it_runs_at_home_too(tmp_path: Path) -> None:
    """What failed half-way on another node may have changed something."""
    text = script(tmp_path, f"uname -n >>{tmp_path}/ran; [ $(uname -n) != nid02 ]")
    for node in ("nid01", "nid02", "nid01"):
        run(text, node=node_of(node))
    assert (tmp_path / "ran").read_text().split() == ["nid01", "nid02", "nid01"]
    assert list(notes(tmp_path)) == ["dns.node"]


@pytest.mark.parametrize(
    ("commands", "status"),
    [("exit 3", 3), ("if", 2), ("no-such-program", 127), ("kill -9 $$", 137), ("f() { return 7; }\nf", 7)],
)
def test_however_it_fails_the_service_starts(tmp_path: Path, commands: str, status: int) -> None:
    run(script(tmp_path, commands))
    assert failure(tmp_path).status == status


def test_nothing_that_it_sets_reaches_the_service(tmp_path: Path) -> None:
    commands = "export A=1; cd /; trap 'echo no' EXIT; exec 1>&2; umask 0; set -e"
    run(script(tmp_path, commands, after='[ -z "$A" ] && [ -z "$node" ] && [ "$(umask)" != 0000 ] && echo started'))
    text = "A=1\nexport B=2\n" + script(tmp_path, '[ -z "$A" ] && [ "$B" = 2 ] && echo "[$on_start]"; false')
    run(text)
    assert failure(tmp_path).printed == "[]\n"


def test_a_shell_that_is_strict_goes_on(tmp_path: Path) -> None:
    run("set -eu\n" + script(tmp_path, "false"))
    assert failure(tmp_path).status == 1


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    text = script(tmp_path, f"echo waits; sleep 86397 & echo $! >{tmp_path}/pid; wait", seconds=1)
    began = monotonic()
    run(text)
    assert monotonic() - began < 20
    found = failure(tmp_path)
    assert (found.status, found.printed) == (124, "waits\n")
    assert gone(int((tmp_path / "pid").read_text()))


def gone(pid: int, seconds: float = 10.0) -> bool:
    end = monotonic() + seconds
    while monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        sleep(0.01)
    return False


@pytest.mark.parametrize("shell", SHELLS)
def test_a_stop_ends_it(tmp_path: Path, shell: str) -> None:
    """As launchers stop a service: by a signal to its process group. Then the service does not start, either."""
    text = script(tmp_path, f"echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 86396")
    process = subprocess.Popen([shell, "-c", text], start_new_session=True, stdout=subprocess.PIPE)
    end = monotonic() + 20
    while not (tmp_path / "pid").exists():
        assert monotonic() < end
        sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (-signal.SIGTERM, b"")
    assert gone(int((tmp_path / "pid").read_text()))
    end = monotonic() + 20
    while notes(tmp_path) and monotonic() < end:
        sleep(0.01)
    assert notes(tmp_path) == {}, "it neither went well nor failed"


def test_a_program_that_stays_is_not_waited_for(tmp_path: Path) -> None:
    began = monotonic()
    run(script(tmp_path, f"sleep 86395 & echo $! >{tmp_path}/pid"))
    assert monotonic() - began < 15
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert list(notes(tmp_path)) == ["dns.node"]


def test_many_at_once(tmp_path: Path) -> None:
    text = script(tmp_path, f"echo . >>{tmp_path}/ran; sleep 0.$(($$ % 3)); [ $(($$ % 2)) = 0 ]")
    processes = [subprocess.Popen([SHELLS[0], "-c", text], stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [process.wait(60) for process in processes] == [0] * 8
    found = notes(tmp_path)
    assert found.keys() <= {"dns.node", "dns.failed"}
    assert all(re.fullmatch(r"\S+ [0-9a-f]{12}\n", text) for name, text in found.items() if name == "dns.node")
    assert all(on_start.read(text) for name, text in found.items() if name == "dns.failed")


def test_its_files_are_private_and_short(tmp_path: Path) -> None:
    run("umask 0\n" + script(tmp_path, "seq 100000; false"))
    folder = tmp_path / "run/on_start"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "dns.failed").stat().st_mode & 0o777 == 0o600
    found = failure(tmp_path)
    assert found.printed.endswith("\n99999\n100000\n")
    assert len(found.printed) == on_start.KEPT


def test_no_argument_shows_the_commands(tmp_path: Path) -> None:
    look = "tr '\\0' ' ' </proc/$PPID/cmdline; tr '\\0' ' ' </proc/$$/cmdline"
    run(script(tmp_path, f": c4nary\n{look}; false"))
    assert "bash -c" in failure(tmp_path).printed
    assert "c4nary" not in failure(tmp_path).printed


def test_where_nothing_can_be_written_it_still_runs(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    done = run(script(tmp_path, f"touch {tmp_path}/ran; false"))
    assert (tmp_path / "ran").exists()
    assert "its on_start failed with exit status 1" in done.stderr
    assert Path("/dev/null").is_char_device()


def test_without_a_timeout_it_runs_without_a_limit(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("uname", "cat", "mkdir", "mktemp", "mv", "rm", "date", "tail"):
        (programs / name).symlink_to(str(shutil.which(name)))
    run(f"PATH={programs}\n" + script(tmp_path, "echo here; exit 4"))
    assert (failure(tmp_path).status, failure(tmp_path).printed) == (4, "here\n")


@pytest.mark.parametrize("commands", ["f() {\n  :\n}\nf # done", "cat <<E\nx 'y\nE", 'echo "it\'s"', "module list"])
@pytest.mark.parametrize("folder", ["/srv/a 'b", "/srv/$HOME{x}"])
def test_the_lines_parse(commands: str, folder: str) -> None:
    text = on_start.lines("a.b-c_d", commands, folder)
    for shell in SHELLS:
        done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- what is told

NOTE = Note("dns", "/run/dns.failed", private=False)


def test_what_is_told_of_a_note() -> None:
    text = "nid01 1700000000 2\none\n\ntwo\nthree\nfour\nfive\n"
    told = on_start.finding(NOTE, text)
    first = "on_start failed on nid01 with exit status 2"
    assert told == Finding("dns", f"{first}\ntwo\nthree\nfour\nfive", 1.7e9, "on_start")
    private = on_start.finding(NOTE._replace(private=True), text)
    assert private.message == f"{first}\nwhat it printed may hold a secret: see /run/dns.failed"
    slow = on_start.finding(NOTE, "nid01 1700000000 124\n")
    assert slow.message == f"on_start took longer than {on_start.LIMIT} s on nid01 and was ended"


@pytest.mark.parametrize("text", ["", "\n", "nid01", "nid01 x 1\n", "a b c d\n", "nid01 1 -1\n", "\0"])
def test_a_note_that_is_none_is_told_too(text: str) -> None:
    assert on_start.read(text) is None
    assert "is no note" in on_start.finding(NOTE, text).message
