"""A deployment that passes are made to fail on, and what must hold whatever fails.

Three services under a supervisord of its own, a secret, a program and a file of somebody else's. A deed is what git
or a hand changed before the pass: the pass is made with a fault, then without, then once more, which does nothing.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from tests.faults.strace import KILL, Call, Fault, Ran, concerns, injected, recorded
from tests.scenarios.world import SLEEP, World, everything_below

SECRET = "hunter2-and-some-more"
NAMES = ("one", "two", "three")
NEIGHBOURS = ("", "three")  # whom no deed concerns; the first is supervisord
_KEYS = {
    "one": f"component: app, command: {SLEEP}, files: [app.conf], env: {{API_TOKEN: {SECRET}}}",
    "three": f"component: tool, command: {SLEEP}, after: [one]",
}
_SIDES = ("left", f"component: app, command: {SLEEP}"), ("right", f"component: tool, command: {SLEEP} 0")
_CODES = frozenset((0, 1, 2, 3, 75))
_HELD = re.compile(r"the repo cannot be read; holding to")
_LEFT_OVER = re.compile(r"(\.new|\.tmp|(?<!/cleanup)\.lock|/tmp_[^/]*)$")


class Seen(NamedTuple):
    """What is there at one time."""

    pids: Mapping[str, int]
    foreign: int
    files: Mapping[str, bytes]


class Bench:
    """One world, used for one pass after another. `end` ends it."""

    def __init__(self, folder: Path, *, root: Path | None = None, state: Path | None = None) -> None:
        """`root`, `state`: elsewhere than in the folder."""
        self.world = World(folder)
        self.world.root, self.world.state = root or self.world.root, state or self.world.state
        self._turn = 0
        self.world.commit(self.world.versions("1.0") | self.world.services(*NAMES, "left", **_KEYS, left=_SIDES[0][1]))
        self.world.once()
        config = self.world.root / "config"
        (config / "notes").write_text("somebody else's\n")
        (config / "supervisor/foreign.conf").write_text(
            "[program:foreign]\ncommand=/bin/sleep 86398\nstartsecs=0\nautorestart=false\n"
        )
        self.world.supervisorctl("update", "foreign")
        self.world.idle()

    def end(self) -> None:
        self.world.end()

    # ------------------------------------------------------------ deeds

    def idle(self) -> None:
        """Nothing."""

    def bump(self) -> None:
        """A commit with another version of one component."""
        self._turn += 1
        self.world.commit(self.world.versions(f"2.{self._turn}"))

    def turnover(self) -> None:
        """A service goes, another comes, a file was edited, one was removed, and a program was stopped."""
        self._turn += 1
        config = self.world.root / "config"
        (config / "app.conf").write_text("edited\n")
        (config / "env/one.env").unlink()
        self.world.supervisorctl("stop", "two")
        name, keys = _SIDES[self._turn % 2]
        self.world.commit(self.world.services(*NAMES, name, **_KEYS, **{name: keys}))

    @property
    def deeds(self) -> Mapping[str, Callable[[], None]]:
        return {"bump": self.bump, "turnover": self.turnover, "idle": self.idle}

    # ------------------------------------------------------------ passes

    @property
    def _log(self) -> Path:
        return self.world.folder / "strace.log"

    def record(self, deed: str) -> list[Call]:
        """The calls of a pass that goes well."""
        self.deeds[deed]()
        before = self.seen()
        ran, calls = recorded(self.world.argv("--once"), self.world.env, self._log, self._ours(before))
        assert ran.code == 0, ran.err
        self._settle(before, deed)
        return calls

    def suffer(self, deed: str, fault: Fault) -> str:
        """A pass with a fault, and all that must hold of it and afterwards; what was hit, empty for nothing."""
        self.deeds[deed]()
        before = self.seen()
        ran = injected(self.world.argv("--once"), self.world.env, self._log, fault)
        if ran.hit and not concerns(ran.hit, self._ours(before)):
            self._settle(before, deed)  # fewer calls than the time before: it fell on one of the interpreter's own
            return ""
        self.judge(deed, before, ran, killed=fault.error == KILL)
        return ran.hit

    def _ours(self, seen: Seen) -> list[str]:
        """Where calls are of the pass, and not of the interpreter that begins."""
        folders = (self.world.root, self.world.state, self.world.repo)
        return [*map(str, folders), *(f"/proc/{pid}/" for pid in (*seen.pids.values(), seen.foreign))]

    def judge(self, deed: str, before: Seen, ran: Ran, *, killed: bool = False) -> None:
        """What must hold right after a pass with a fault, and after one and two more without."""
        torn = self.seen()
        self._told(ran, killed=killed)
        self._kept(before, torn, "in the pass with the fault")
        self._no_strays()
        if deed == "idle":
            assert (torn.pids, torn.files) == (before.pids, before.files), "something was done though all was well"
        after = self._settle(before, deed)
        for path, content in torn.files.items():
            if not _LEFT_OVER.search(path):
                assert content in (before.files.get(path), after.files.get(path)), f"half a file: {path} {content!r}"
        if ran.code == 0 and not _HELD.search(ran.out + ran.err):
            assert (torn.pids, torn.files) == (after.pids, after.files), f"exit 0, and not all was done:\n{ran.err}"
        self._no_secret(ran)

    def _settle(self, before: Seen, deed: str) -> Seen:
        """One pass mends all, the next one has nothing to do."""
        done = self.world.run("--once")
        assert done.code == 0, f"the next pass: {done.said}"
        after = self.seen()
        self._kept(before, after, "by the next pass")
        self.world.idle()
        assert self.seen() == after, "the second pass after it still changed something"
        wanted = {*NAMES, "", *(name for name, _ in _SIDES if name in after.pids)}
        assert set(after.pids) == wanted, after.pids
        below = [str(path) for folder in (self.world.root, self.world.state) for path in folder.rglob("*")]
        assert [path for path in below if _LEFT_OVER.search(path)] == [], "left over"
        for path, _ in everything_below(self.world.state / self.world.site):
            if path.suffix == ".json":
                assert [json.loads(line) for line in path.read_text().splitlines()], path
        if deed != "idle":
            assert after.files != before.files, "the deed was none"
        return after

    # ------------------------------------------------------------ what is looked at

    def seen(self) -> Seen:
        pids = self.world.pids()
        (foreign,) = _sleeping(pids[""], "86398")
        return Seen(pids, foreign, self.world.files())

    def _told(self, ran: Ran, *, killed: bool) -> None:
        said = ran.out + ran.err
        assert "Traceback" not in said, said
        assert "a defect in reconcile" not in said, said
        if killed and ran.code == -signal.SIGKILL:
            return
        assert ran.code in _CODES, f"exit {ran.code}\n{said}"
        assert ran.code == 0 or said.strip() or "write(" in ran.hit, f"exit {ran.code}, and not a word"

    def _kept(self, before: Seen, now: Seen, when: str) -> None:
        """Nobody but those that the deed concerns has another process, and nothing of others' was touched."""
        for name in NEIGHBOURS:
            assert now.pids.get(name) == before.pids[name], f"{name or 'supervisord'} was restarted {when}"
        assert now.foreign == before.foreign, f"a program of others' was restarted {when}"
        for path in ("config/notes", "config/supervisor/foreign.conf"):
            assert now.files.get(path) == before.files[path], f"{path} was touched {when}"

    def _no_strays(self) -> None:
        """What the pass has started, git above all, ends with it, or at most soon after."""
        mine = b"HOME=" + os.fsencode(self.world.home)
        end = monotonic() + 10
        while left := [name for name in filter(str.isdigit, os.listdir("/proc")) if mine in _environ(name)]:
            assert monotonic() < end, f"still runs: {[_command(name) for name in left]}"
            sleep(0.02)

    def _no_secret(self, ran: Ran) -> None:
        assert SECRET not in ran.out + ran.err
        secret = SECRET.encode()
        for folder in (self.world.root, self.world.state / self.world.site):
            for path, content in everything_below(folder):
                closed = not path.stat().st_mode & 0o077
                assert closed or secret not in content, f"a secret that others can read: {path}"


def _sleeping(parent: int, seconds: str) -> list[int]:
    """The children of a process that sleep for so long."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if _command(pid).endswith(f"sleep {seconds}")]


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _environ(pid: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
