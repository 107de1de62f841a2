"""Fixtures: deployments that end with their test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.supervisor.deployment import Make, Site


@pytest.fixture
def make_site(short_folder: Path) -> Iterator[Make]:
    sites: list[Site] = []

    def make(folder: str = "", settings: Mapping[str, object] | None = None, seconds: float = 10.0) -> Site:
        root = short_folder / folder if folder else short_folder
        root.mkdir(exist_ok=True, parents=True)
        sites.append(Site(root, settings, seconds))
        return sites[-1]

    yield make
    for site in sites:
        site.end()


@pytest.fixture
def site(make_site: Make) -> Site:
    return make_site()
