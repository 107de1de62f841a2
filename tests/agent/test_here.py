"""The home folder has one spelling, whoever runs the pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.agent.here import home


@pytest.mark.parametrize("given", ["", "{0}", "{0}/", "{0}/./", "{0}link"])
def test_one_folder_has_one_spelling(tmp_path: Path, given: str) -> None:
    usual = tmp_path / "home"
    usual.mkdir()
    (tmp_path / "homelink").symlink_to(usual)
    assert home(given.format(usual), f"{usual}/") == str(usual)


def test_another_folder_is_another_home(tmp_path: Path) -> None:
    assert home(f"{tmp_path}/", "/nowhere") == str(tmp_path)
    assert home("/nowhere/", str(tmp_path)) == "/nowhere"
