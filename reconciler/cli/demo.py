"""`reconcile demo`: tells the story, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import signal
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from reconciler.cli.terminal import style
from reconciler.demo.narrator import Narrator
from reconciler.demo.site import RESTARTED
from reconciler.demo.stage import DemoFailed, Stage
from reconciler.demo.story import tell

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(options: Namespace) -> int:
    """Exit status 0 when everything went as told, 1 otherwise."""
    narrator = Narrator(style())
    with _interruptible():
        stage = Stage(narrator)
        keep = False
        try:
            stage.prepare()
            code = _told(stage, narrator)
            keep = options.keep
        finally:
            _undisturbed()
            if not keep:
                _clean_up(stage, narrator)
        if keep:
            _how_to_look(stage, narrator)
        return code


def _clean_up(stage: Stage, narrator: Narrator) -> None:
    stage.close()
    with suppress(OSError):  # whoever listened may have gone
        narrator.say(f"Cleaned up: its processes have ended, and {stage.folder} is removed.")


def _told(stage: Stage, narrator: Narrator) -> int:
    began = time.monotonic()
    narrator.say(
        "reconcile keeps the services of a site at what a git repo says. This shows it on this machine, "
        f"on a supervisord of its own, below {stage.folder}. Every command is really run."
    )
    try:
        tell(stage, narrator)
    except DemoFailed as failed:
        narrator.say(f"The demo failed: {failed}")
        return 1
    narrator.chapter(f"That was all, in {time.monotonic() - began:.0f} seconds")
    return 0


def _how_to_look(stage: Stage, narrator: Narrator) -> None:
    narrator.say("It is left running. Look at it with:")
    narrator.lines(
        [
            f"cd {stage.repo}",
            f"export RECONCILE_CONFIG={stage.config} PATH={stage.folder}/bin:$PATH",
            "reconcile status",
            f"reconcile explain {RESTARTED[0]}",
            f"tail {stage.root}/logs/*.log",
        ]
    )
    narrator.say("Commit something into its branch main, and run `reconcile --once` again. In the end, there:")
    conf = os.path.relpath(os.path.join(stage.root, "config", "supervisord.conf"), stage.repo)
    narrator.lines(
        [
            f"supervisorctl -c {conf} stop all",
            f"supervisorctl -c {conf} shutdown",
            f"rm -r {stage.folder}",
        ]
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Every signal that asks for the end unwinds the demo, so that it cleans up."""

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupted) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _undisturbed() -> None:
    """A second Ctrl-C does not end the cleaning up."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
