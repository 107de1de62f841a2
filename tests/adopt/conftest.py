"""Daemons set up by hand, and places that take them in. Nothing of them outlives its test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adopt.byhand import ByHand, Place
from tests.backends.beds import a_users_world

__all__ = ["a_users_world"]


@pytest.fixture
def by_hand(short_folder: Path) -> Iterator[ByHand]:
    made = ByHand(short_folder / "h")
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture
def place(short_folder: Path) -> Iterator[Place]:
    made = Place(short_folder / "p")
    yield made
    made.end()
