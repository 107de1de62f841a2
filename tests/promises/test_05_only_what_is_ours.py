"""5. Only what is ours is touched, and what is ours is found again even if the state directory is lost."""

from __future__ import annotations

import shutil

import pytest

from tests.promises.conftest import TOOL, add_foreign, foreign
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


def test_05_only_what_is_ours(world: World) -> None:
    """A program and files of others' in the midst of ours; git drops a service, and nothing is remembered."""
    other = add_foreign(world)
    notes = world.root / "config/notes"
    notes.write_text("somebody else's\n")
    before = world.pids()
    shutil.rmtree(world.state)
    (world.root / ".reconcile/inventory.json").unlink()
    world.commit(world.services("one", "three", three=TOOL) | world.versions("2.0"))
    world.once()
    now = world.pids()
    assert sorted(now) == ["", "one", "three"]
    assert (now[""], now["three"]) == (before[""], before["three"])
    assert not (world.root / "bin/two").exists()
    assert not (world.root / "config/supervisor/two.conf").exists()
    assert (foreign(world), notes.read_text()) == (other, "somebody else's\n")
    assert (world.root / "config/supervisor/foreign.conf").exists()
    world.idle()


def test_05_a_file_of_others_is_kept(world: World) -> None:
    """In the place of one that git now wants lies one that nobody of us has written."""
    place = world.root / "config/extra.conf"
    place.write_text("somebody else's\n")
    world.commit(
        {
            "templates/extra.conf.j2": "ours\n",
            f"desired/sites/{world.site}.dev.yaml": (
                'files: {extra.conf: {template: extra.conf.j2, path: "{{ paths.config }}/extra.conf"}}\n'
                "services: {three: {files: [extra.conf]}}\n"
            ),
        }
    )
    world.once()
    assert place.read_text() == "ours\n"
    assert place.with_name("extra.conf.orig").read_text() == "somebody else's\n"
