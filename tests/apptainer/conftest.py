"""Real Apptainer, an ordinary user, and a deployment of its own for each test."""

from __future__ import annotations

import pytest

from tests.apptainer.site import Site
from tests.backends.beds import a_users_world
from tests.scenarios.world import World

__all__ = ["a_users_world"]


@pytest.fixture(name="site")
def a_site(users_world: World) -> Site:
    return Site(users_world)
