"""What goes of what launchers have left, where a real backend would have to be killed within microseconds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import time

import pytest

from reconciler.agent.cleanup.remains import Remains
from reconciler.core.change import Diff
from reconciler.core.desired import Deployment, Leaves, Policy, Trace
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.core.outcome import Status
from reconciler.core.plan import Plan
from reconciler.launchers.apptainer import records

PLAN = Plan("here", "dev", "c", Diff((), (), (), (), (), (), (), ()), ())
SEEN = Observed(0.0, {}, {}, {}, {}, {}, {})


def remains(root: Path, *traces: Trace, wanted: tuple[Trace, ...] = ()) -> Remains:
    desired = Deployment("here", "dev", "c", str(root), (), (), (), (), (), {}, Policy(), traces=wanted)
    return Remains(desired, Inventory(traces=traces), (), held=False)


def carried_out(found: Remains) -> list[Status]:
    steps = found.into(PLAN, SEEN).steps
    return [found.carry_out(step, lambda _line: None, lambda: False)[0] for step in steps]


def record(root: Path, content: bytes, *, seconds: float, name: str = "web-dev") -> Path:
    path = Path(records.path(str(root), name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time() - seconds,) * 2)
    return path


@pytest.mark.parametrize(
    ("content", "seconds", "goes"), [(b"", 3600, True), (b'{"pid": 1', 3600, True), (b"", 1, False)]
)
def test_a_record_that_is_not_whole_goes_once_nobody_can_be_writing_it(
    tmp_path: Path, content: bytes, seconds: float, goes: bool
) -> None:
    trace = Trace(Leaves.RECORD, str(tmp_path), "apptainer", "web", "web-dev")
    path = record(tmp_path, content, seconds=seconds)
    other = record(tmp_path, content, seconds=seconds, name="theirs")
    found = remains(tmp_path, trace)
    assert carried_out(found) == ([Status.DONE] if goes else [])
    assert (path.exists(), path.parent.exists(), other.exists()) == (not goes, not goes, True)
    assert found.left() == (() if goes else (trace,))


def test_a_record_of_what_git_wants_is_its_launchers(tmp_path: Path) -> None:
    trace = Trace(Leaves.RECORD, str(tmp_path), "apptainer", "web", "web-dev")
    record(tmp_path, json.dumps({"pid": 1 << 22}).encode(), seconds=3600)
    assert carried_out(remains(tmp_path, trace, wanted=(trace,))) == []


def test_what_has_become_another_one_since_the_plan_stays(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = Trace(Leaves.LOG, str(tmp_path / "logs/web.log"), "supervisor", "web", "web", 1)
    paths = [tmp_path / f"logs/web.log.{number}" for number in (1, 2, 3)]
    for path in paths:
        path.write_text(path.name)
    found = remains(tmp_path, log, wanted=(log,))
    (step,) = found.into(PLAN, SEEN).steps
    os.replace(paths[0], paths[1])  # the launcher has rotated it once more, by its earlier limit
    status, told, *_ = found.carry_out(step, lambda _line: None, lambda: False)
    assert (status, told.endswith(str(paths[1]))) == (Status.SKIPPED, True)
    assert [path.exists() for path in paths] == [False, True, False]
    assert paths[1].read_text() == "web.log.1"


def test_a_folder_that_cannot_be_read_is_a_gap(tmp_path: Path) -> None:
    """A name that is too long stands for it: root reads every folder."""
    trace = Trace(Leaves.PID, str(tmp_path / ("x" * 300) / "supervisord.pid"), "supervisor", "")
    log = Trace(Leaves.LOG, str(tmp_path / "web.log"), "supervisor", "web", "web", 0)
    (tmp_path / "web.log.1").touch()
    found = remains(tmp_path, log, trace, wanted=(log,))
    plan = found.into(PLAN, SEEN)
    assert plan.steps == ()
    assert "none of it is removed" in plan.diff.gaps[0].message
    assert found.left() == (log, trace)


def test_pid_files_are_not_told_dead_where_other_hosts_may_be(tmp_path: Path) -> None:
    """On a file system that is not known to be this host's alone: /proc is none that is known."""
    trace = Trace(Leaves.PID, "/proc/sys/kernel/pid_max", "supervisor", "")
    assert carried_out(remains(tmp_path, trace)) == []
