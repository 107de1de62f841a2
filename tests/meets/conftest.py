"""A bed of each launcher, as a fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends.account import ordinary
from tests.backends.beds import all_clusters

if TYPE_CHECKING:
    from tests.meets.bed import Bed

__all__ = ["all_clusters"]
pytest.register_assert_rewrite("tests.meets.bed")  # what it asserts says what was seen, as in a test


@pytest.fixture(name="make_bed")
def a_maker(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Callable[..., Bed]]:
    made: list[Bed] = []

    def make(launcher: str, **how: Any) -> Bed:
        """`how`: of a cluster."""
        made.append(_bed(launcher, short_folder, request, how))
        return made[-1]

    yield make
    for bed in made:
        bed.end()


@pytest.fixture(name="bed")
def a_bed(request: pytest.FixtureRequest, make_bed: Callable[..., Bed]) -> Bed:
    """Of the launcher that the test is for, see `on`."""
    return make_bed(request.param)


def _bed(launcher: str, folder: Path, request: pytest.FixtureRequest, how: Mapping[str, Any]) -> Bed:
    from tests.meets import bed

    if launcher.startswith("slurm"):
        version = 22 if launcher == "slurm-22.05" else 24
        return bed.Slurm(folder / "w", request.getfixturevalue("clusters")(version, **how))
    kinds: dict[str, Callable[..., Bed]] = {
        "supervisor": bed.Supervisor,
        "systemd": bed.Systemd,
        "apptainer": bed.Apptainer,
    }
    return kinds[launcher](folder, ordinary())
