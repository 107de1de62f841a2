"""Fixtures: crontabs that end with their test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.beds import a_users_world
from tests.backends.crontabs import Crontabs
from tests.scenarios.world import World

__all__ = ["a_users_world"]


@pytest.fixture
def crontabs(users_world: World) -> Iterator[Crontabs]:
    """Those of the account that the world belongs to."""
    made = Crontabs(users_world.account)
    yield made
    made.end()
