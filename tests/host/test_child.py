"""What a program leaves behind when it is ended: nothing, its children neither."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic

import pytest

from reconciler.host import child
from tests.backends.manager import runs

LATER = "sh -c 'trap \"sleep 0.3; exit\" TERM; echo $$; while :; do sleep 0.05; done'"
NEVER = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.05; done'"


@pytest.mark.parametrize("grandchild", [LATER, NEVER], ids=["ends later than its parent", "does not heed SIGTERM"])
def test_its_children_end_with_it(grandchild: str, tmp_path: Path) -> None:
    """As ssh does with git that is stopped: whoever waited for git may rely on both being gone."""
    program = child.start(["sh", "-c", f"{grandchild} & exec sleep 300"], dict(os.environ))
    told = program.line(monotonic() + 20)
    assert told is not None
    assert runs(int(told))
    program.end()
    assert not runs(int(told))
    assert not runs(program.pid)
