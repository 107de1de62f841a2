"""Three services, two of a component that is bumped and one that nothing concerns. Each file here is one promise of
section 4 of the design, and fails when the code that guards it is taken out: `scripts/mutants` does so."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.scenarios.world import SLEEP, World

TOOL = f"component: tool, command: {SLEEP}"


@pytest.fixture
def world(short_folder: Path) -> Iterator[World]:
    """`one` and `two` at 1.0 and `three` of another component, applied."""
    made = World(short_folder)
    made.commit(made.services("one", "two", "three", three=TOOL))
    made.once()
    yield made
    made.end()


def versions(world: World) -> dict[str, str]:
    """Of what runs, by the environment of its processes."""
    return {one.service: one.marks["RECONCILE_VERSION"] for one in world.live() if one.service}


def stamps(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Every file below, with its inode and its time of change."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            info = os.lstat(path)
            found[str(path)] = (info.st_ino, info.st_mtime_ns)
    return found


def add_foreign(world: World) -> int:
    """A program of somebody else's in the same supervisord; its pid."""
    path = world.root / "config/supervisor/foreign.conf"
    path.write_text("[program:foreign]\ncommand=/bin/sleep 86398\nstartsecs=0\nautorestart=false\n")
    world.supervisorctl("update", "foreign")
    return foreign(world)


def foreign(world: World) -> int:
    """Its pid now; 0 when it is gone."""
    said = world.supervisorctl("pid", "foreign").strip()
    return int(said) if said.isdigit() else 0
