"""What is done to a deployment of any combination through git, and by reboots."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from time import time

from tests.backends.instances import instances
from tests.launchers.bench import Bench
from tests.launchers.matrix import APP, SERVICES
from tests.scenarios.world import until

Scenario = tuple[str, Callable[[Bench], None]]


def _bump(bench: Bench) -> None:
    """Only what is bumped gets other processes, though one of the others waits for it at a cold start."""
    bench.app = {"1.0": "2.0", "2.0": "1.0"}[bench.app]
    bench.commit()
    passed = bench.converge()
    assert set(passed.kinds) == passed.changed == APP, passed
    assert set(passed.kinds.values()) == {"update"}
    bench.settled()


def _removed(bench: Bench) -> None:
    """Nothing of it is left but its log; whatever has nearly its name stays."""
    bench.wanted.remove("tool-b")
    bench.commit()
    passed = bench.converge()
    assert (passed.kinds, len(passed.changed)) == ({"tool-b": "remove"}, 0), passed
    bench.settled()
    bench.silent()
    bench.wanted.append("tool-b")
    bench.commit()
    passed = bench.converge()
    assert (passed.kinds, len(passed.changed)) == ({"tool-b": "create"}, 0), passed
    bench.settled()


def _removed_when_nothing_is_remembered(bench: Bench) -> None:
    """What is ours is found again without the state directory; foreign things are not taken for it."""
    shutil.rmtree(bench.world.state)
    shutil.rmtree(bench.world.root / ".reconcile")
    _removed(bench)


GIT: tuple[Scenario, ...] = (
    ("bump", _bump),
    ("removed", _removed),
    ("removed when nothing is remembered", _removed_when_nothing_is_remembered),
    ("back to the old version", _bump),
)


# ---------------------------------------------------------------- reboots


def _reboot(bench: Bench, before_us: Callable[[Bench], None]) -> None:
    """Everything that ran is gone. systemd brings its units back by itself, a pass all the rest."""
    before, foreign = bench.pids(), _contents(bench)
    records = {path: path.read_bytes() for name in SERVICES if (path := _record(bench, name)).exists()}
    bench.power_cut()
    _write_again(bench, records)
    bench.foreign.after_power_cut()
    before_us(bench)
    if bench.combination.launcher == "systemd":
        _nobody_can_be_asked(bench)
        bench.world.boot()
        until(lambda: all(map(bench.is_up, SERVICES)))
    bench.foreign.after_boot()
    passed = bench.converge()
    assert set(passed.kinds.values()) <= {"restart"}, passed
    assert set(passed.kinds) == (set() if bench.combination.launcher == "systemd" else set(SERVICES)), passed
    bench.foreign.note()
    assert _contents(bench) == foreign
    assert not set(before.values()) & set(bench.pids().values())
    bench.settled()


def _without_what_is_told(bench: Bench) -> dict[str, object]:
    """Files, but for the note of what was printed, so that it is not printed each time."""
    told = bench.world.state / bench.world.site
    return {path: state for path, state in bench.snapshot().items() if path not in (str(told), f"{told}/printed")}


def _nobody_can_be_asked(bench: Bench) -> None:
    """A pass before the manager runs, beside the socket of the last one: it says so, and touches nothing."""
    assert bench.world.manager
    runtime = bench.world.account.folder(bench.world.manager.runtime / "systemd")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(runtime / "private"))
    bench.world.account.own_all(runtime)
    files = _without_what_is_told(bench)
    done = bench.world.run("--once")
    assert done.code == 1, done.said
    assert (_without_what_is_told(bench), bench.pids()) == (files, {})


def _run_folder_emptied(bench: Bench) -> None:
    """As where it is in memory."""
    for path in (bench.world.root / "run").iterdir():
        path.unlink()


def _stale(bench: Bench, decoy: int) -> None:
    """Whatever remembers a pid remembers one that belongs to somebody else by now, an instance or not."""
    run = bench.world.root / "run"
    if bench.combination.launcher == "supervisor":
        assert (run / "supervisor.sock").is_socket()
        (run / "supervisord.pid").write_text(f"{decoy}\n")
    if bench.combination.is_instance:
        theirs = next(one for one in instances() if one.image.startswith(f"{bench.world.folder}/theirs/"))
        for name, pid, parent in (("app-a", decoy, decoy), ("app-b", theirs.pid, theirs.parent), ("tool-a", 0, 0)):
            _point(bench, name, pid, parent)
        _record(bench, "tool-b").write_bytes(b'{"pid": 1')


def _point(bench: Bench, name: str, pid: int, parent: int) -> None:
    """All that tells of an instance names these processes."""
    path = _record(bench, name)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "pid": pid, "ppid": parent}))
    (bench.world.root / f"run/{bench.combination.script(name)}.pid").write_text(f"{pid}\n")
    (bench.world.root / f"run/{bench.combination.script(name)}.stop").write_text(f"{pid} 1.0 {time()}\n")


def _with_decoy(bench: Bench) -> None:
    """Its pid is in all stale files; it must live on."""
    decoy = subprocess.Popen(["sleep", "86399"], **bench.world.account.become)
    try:
        _reboot(bench, lambda bench: _stale(bench, decoy.pid))
        assert decoy.poll() is None
    finally:
        decoy.kill()
        decoy.wait()


def _record(bench: Bench, name: str) -> Path:
    return bench.record(bench.combination.script(name))


def _write_again(bench: Bench, records: Mapping[Path, bytes]) -> None:
    """Those that were there when the power was cut: no process had the time to take them away."""
    for path, content in records.items():
        bench.world.account.folder(path.parent, 0o700)
        path.write_bytes(content)
        bench.world.account.own(path)


def _contents(bench: Bench) -> dict[str, bytes]:
    """Of what foreign things consist of on disk; a record is made anew by each start."""
    return {name: thing.content for name, thing in bench.foreign.state().items() if thing.content[:1] != b"{"}


REBOOTS: tuple[Scenario, ...] = (
    ("reboot", lambda bench: _reboot(bench, _run_folder_emptied)),
    ("reboot with stale files", _with_decoy),
)
