"""The project's own repo, as it is and as a copy that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.jaws.repo import DEPLOYMENTS, Deployments, Repo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def jaws() -> Repo:
    return Repo(ROOT)


@pytest.fixture(scope="session")
def deployments(jaws: Repo) -> Deployments:
    """All of them, compiled."""
    return {pair: jaws.compile(*pair) for pair in DEPLOYMENTS}


@pytest.fixture
def jaws_copy(tmp_path: Path) -> Repo:
    for part in ("desired", "templates"):
        shutil.copytree(ROOT / part, tmp_path / part)
    return Repo(tmp_path)
