"""`reconcile doctor` on real back ends: user managers of systemd, clusters of Slurm, instances of Apptainer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.apptainer.site import Site
from tests.backends.beds import a_users_world, all_clusters
from tests.scenarios.test_doctor import look
from tests.scenarios.world import SLEEP, World, until
from tests.slurm.conftest import a_deck, all_decks
from tests.slurm.deck import Deck

__all__ = ["a_deck", "a_users_world", "all_clusters", "all_decks"]
pytestmark = pytest.mark.scenario

Found = dict[tuple[str, str], list[dict[str, Any]]]


def errors(found: Found) -> list[str]:
    return [one["message"] for (verdict, _), ones in found.items() if verdict == "error" for one in ones]


def bare(folder: Path) -> dict[str, str]:
    """A PATH with what everything needs, and nothing of a launcher's."""
    for tool in ("git", "sh", "bash", "sleep"):
        (folder / tool).symlink_to(shutil.which(tool) or "")
    folder.chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.systemd
def test_a_user_manager_that_answers_and_one_that_is_gone(users_world: World) -> None:
    world = users_world
    world.boot()
    world.commit(world.services("one", one=f"component: app, command: {SLEEP}, launcher: systemd"))
    found = look(world)
    assert errors(found) == []
    assert found["ok", "tools"][0]["message"] == "systemd: systemctl"
    assert world.run("--once").code == 0
    assert errors(look(world)) == []
    tools = bare(world.account.folder(world.folder / "bare"))
    done = world.run("doctor", "--json", env=tools).json()
    assert "launcher systemd needs systemctl, which is not found" in [one["message"] for one in done["checks"]]
    world.power_cut()
    (told,) = look(world)["error", "launcher"]
    assert told["message"].startswith("no `systemd --user` runs for ")
    assert told["mend"]


@pytest.mark.slurm
def test_a_cluster_that_answers(deck: Deck) -> None:
    deck.commit()
    found = look(deck.world)
    assert errors(found) == []
    assert found["ok", "tools"][0]["message"] == "slurm: sbatch, squeue, scontrol, scancel"
    deck.converge()
    deck.awaits("one")
    assert errors(look(deck.world)) == []
    deck.services["one"] = "ports: [22]"  # it listens on the job's node, whoever does so on this one
    deck.commit()
    assert not [key for key in look(deck.world) if key[1] == "ports"]


@pytest.mark.apptainer
def test_the_record_of_an_instance_that_is_gone(users_world: World) -> None:
    site = Site(users_world)
    site.commit(one="", two="")
    site.converge()
    found = look(site.world)
    assert errors(found) == []
    assert found["ok", "instances"][0]["message"] == "2 wanted, no stale record"
    site.world.power_cut()
    gone = [f"the record of instance {name}-dev is stale" for name in ("one", "two")]
    until(lambda: [one["message"] for one in look(site.world).get(("warning", "instances"), ())] == gone)
    site.converge()
    assert ("ok", "instances") in look(site.world)
