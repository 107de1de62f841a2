"""Sites that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.site import Make, Site


@pytest.fixture
def make_site(short_folder: Path) -> Iterator[Make]:
    """Sites side by side, in folders of their own."""
    sites: list[Site] = []

    def make(name: str = "s") -> Site:
        sites.append(Site(short_folder / name))
        return sites[-1]

    yield make
    for site in sites:
        site.end()


@pytest.fixture
def site(make_site: Make) -> Site:
    """A repo with eight services of two components, not applied yet."""
    return make_site()
