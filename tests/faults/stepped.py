"""The product's loop, one pass for each line on standard input, in one process that lives as long as the soak.

Everything is the loop's own but what it waits for. A line may name a function of `os`, how often it is called before
it fails, and with which error; the answer tells the exit status and what the process holds: memory, descriptors,
remains of children.

    python stepped.py REPO SITE STATE_DIR
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from reconciler.agent.config import Agent, Options, load_agent
from reconciler.agent.loop import Loop
from reconciler.agent.run import Observer
from reconciler.core.report import PassReport
from reconciler.report.log import Log

FUNCTIONS = (
    *("open", "read", "write", "fsync", "replace", "unlink", "mkdir", "fchmod", "stat", "listdir", "utime"),
    *("posix_spawnp", "pipe", "ftruncate", "pread"),
)


class Layer:
    """Has one call of one function fail."""

    def __init__(self) -> None:
        self.name, self.left, self.error, self.hit = "", 0, 0, False
        for name in FUNCTIONS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def arm(self, name: str, nth: int, error: str) -> None:
        self.name, self.left, self.error, self.hit = name, nth, getattr(errno, error), False

    def disarm(self) -> None:
        self.name = ""

    def _wrapped(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keys: Any) -> Any:
            if self.name == name:
                self.left -= 1
                if self.left == 0:
                    self.hit = True
                    raise OSError(self.error, os.strerror(self.error))
            return plain(*args, **keys)

        return call


class Stepped(Loop):
    """Waits for a line instead of an interval."""

    def __init__(self, layer: Layer, agent: Agent, observer: Observer) -> None:
        super().__init__(agent, observer, self._keep)
        self._layer = layer
        self.report: PassReport | None = None

    def _keep(self, report: PassReport) -> None:
        self.report = report

    def _rest(self, head: str) -> None:
        self._layer.disarm()
        code = self.report.exit_code if self.report else 1
        self.report = None
        print(json.dumps({"code": code, "hit": self._layer.hit, **_held()}), flush=True)
        line = sys.stdin.readline()
        if not line:
            self._ending = True
        elif line.strip():
            name, nth, error = line.split()
            self._layer.arm(name, int(nth), error)


def _held() -> dict[str, int]:
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        children = len(file.read().split())
    return {"resident": resident, "descriptors": len(os.listdir("/proc/self/fd")), "children": children}


def main() -> None:
    repo, site, state_dir = sys.argv[1:]
    agent = load_agent(Options(repo=repo, site=site, state_dir=state_dir, timeout="10s"), os.environ)
    sys.exit(Stepped(Layer(), agent, Log()).run())


if __name__ == "__main__":
    main()
