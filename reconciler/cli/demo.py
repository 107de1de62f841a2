"""`reconcile demo`: tells the story, and leaves nothing behind, however it ends."""

from __future__ import annotations

import signal
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from reconciler.cli.terminal import style
from reconciler.demo.narrator import Narrator
from reconciler.demo.stage import DemoFailed, Stage
from reconciler.demo.story import tell

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(options: Namespace) -> int:
    """Exit status 0 when everything went as told, 1 otherwise."""
    narrator = Narrator(style())
    began = time.monotonic()
    with _interruptible():
        stage = Stage(narrator)
        keep = False
        try:
            stage.prepare()
            code = _told(stage, narrator, began)
            keep = options.keep
        finally:
            _undisturbed()
            if not keep:
                stage.close()
        if keep:
            _how_to_look(stage, narrator)
        else:
            narrator.say(f"Cleaned up: its processes have ended, and {stage.folder} is removed.")
        return code


def _told(stage: Stage, narrator: Narrator, began: float) -> int:
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
    bin_ = f"{stage.folder}/bin"
    narrator.lines(
        [
            f"export RECONCILE_CONFIG={stage.config}",
            f"cd {stage.repo}",
            f"{bin_}/reconcile status",
            f"{bin_}/reconcile explain web-1 --environment dev",
            f"ls {stage.root}/logs",
        ]
    )
    narrator.say("Merge something else into its branch main, and run `reconcile --once` again. End it with:")
    conf = f"{stage.root}/config/supervisord.conf"
    narrator.lines(
        [
            f"{bin_}/supervisorctl -c {conf} stop all",
            f"{bin_}/supervisorctl -c {conf} shutdown",
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
