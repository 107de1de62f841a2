"""Preflight: refuses what would not start, and leaves to the shell what only a shell can tell."""

from __future__ import annotations

from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from unittest.mock import ANY

import pytest

from reconciler.apply.preflight import check_places, find_program
from reconciler.core.desired import Service
from reconciler.desired.service import program_of
from tests.core.world import Svc, build, world


def service(command: str, prologue: str = "") -> Service:
    (one,) = build(world(Svc("a", component="plain"))).deployment.services
    return one._replace(program=program_of(command), prologue=prologue)


@pytest.mark.parametrize(
    "command",
    [
        "sleep 1",
        "/bin/sleep 1",
        "exec sleep 1",
        "~/tool",
        "~ann/tool --x",
        "/usr/${X:-bin}/sleep 1",
        "$TOOL",
        "`which sleep` 1",
        "$(which sleep) 1",
        "/bin/slee[p] 1",
        "/bin/sl* 1",
        "/bin/s?eep 1",
        "/{usr/,}bin/sleep 1",
        "exec -a name sleep 1",
        "2>errors sleep 1",
    ],
)
def test_is_not_refused(command: str, tmp_path: Path) -> None:
    assert find_program(service(command), None, str(tmp_path)) is None


@pytest.mark.parametrize("command", ["nosuch 1", "/bin/nosuch", "bin/nosuch", "/etc/passwd", "/etc"])
def test_is_refused(command: str, tmp_path: Path) -> None:
    missing = find_program(service(command), None, str(tmp_path))
    assert missing
    assert command.split(maxsplit=1)[0] in missing[0]


def test_a_talkative_prologue_is_cut(tmp_path: Path) -> None:
    missing = find_program(service("nosuch", "seq 1 300000 >&2"), None, str(tmp_path))
    assert missing
    assert missing[0].startswith("command not found after the prologue: nosuch\n")
    assert missing[0].endswith("\n300000")
    assert len(missing[0]) < 5000


def test_a_prologue_before_a_program_that_is_there(tmp_path: Path) -> None:
    assert find_program(service("tool", f"PATH=$PATH:{tmp_path}; yes | head -n 100000"), None, "/") is not None
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o755)
    assert find_program(service("tool", f"PATH=$PATH:{tmp_path}; yes | head -n 100000"), None, "/") is None


def test_what_an_endless_prologue_prints_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended when its time is over, and until then it fills nobody's memory."""
    monkeypatch.setattr("reconciler.apply.preflight._PROLOGUE_SECONDS", 2.0)
    before = getrusage(RUSAGE_SELF).ru_maxrss
    missing = find_program(service("tool", "yes"), None, str(tmp_path))
    assert missing
    assert "the prologue took longer than 2 s" in missing[0]
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_places(tmp_path: Path) -> None:
    logs, gone = tmp_path / "logs", tmp_path / "gone"
    logs.mkdir()
    assert check_places([str(logs)], [str(logs)]) is None
    assert check_places([str(gone)], []) == (f"{gone} is not there and could not be made", ANY)
    assert check_places([str(logs)], [str(gone)]) == (f"{gone} is to be mounted, and does not exist", ANY)
