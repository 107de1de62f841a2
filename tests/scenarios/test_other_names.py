"""A root that git spells otherwise, by way of a link: the same files under other names."""

from __future__ import annotations

import pytest

from tests.scenarios.world import World, a_world

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]
__all__ = ["a_world"]


def test_what_is_wanted_by_another_name_is_not_cleaned_away(world: World) -> None:
    world.commit(world.services("one"))
    world.once()
    files = world.files()
    link = world.folder / "link"
    link.symlink_to(world.root)
    layer = f'environments: [dev]\npaths: {{root: "{link}"}}\n'
    world.commit({f"desired/sites/{world.site}.yaml": layer})
    world.once()
    world.root = link  # that is where it runs from now on
    assert world.files().keys() == files.keys()
    world.idle()
