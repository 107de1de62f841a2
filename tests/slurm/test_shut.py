"""A window that is shut for a job: what git says anew of the job itself waits, and only of the deployment it is for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.world import until
from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]
both = pytest.mark.parametrize("version", [22, 24])

NEVER = 'policy: {windows: {never: {deny: "* * * * *", for: 1h}}}'


@both
def test_other_resources_wait_and_the_job_goes_on(version: int, decks: Decks) -> None:
    """If it ends meanwhile it comes back as it was; when the window opens, as git wants it."""
    deck = decks(version)
    deck.policy = NEVER
    deck.settings["time"] = "1-00:00:00"
    deck.commit()
    deck.once("--ignore-windows")
    job, before = deck.job(), deck.running()
    deck.settings |= {"time": "2-00:00:00", "loglevel": "debug"}
    deck.commit()
    for _ in range(2):
        done = deck.converge(code=2)
        assert done["steps"] == []
        assert (deck.job().id, deck.job().limit, deck.running()) == (job.id, "1-00:00:00", before)
    assert "policy.windows.never" in " ".join(deck.once(code=2).out.split())
    deck.cluster.run("scancel", job.id)
    until(lambda: not deck.jobs() and not deck.running(), seconds=60)
    deck.converge(code=2)
    assert deck.running().keys() == {"", "one", "two"}
    second = deck.job()
    assert (second.limit, second.comment) == ("1-00:00:00", job.comment)
    assert deck.converge(code=2)["steps"] == []
    deck.policy = ""
    deck.commit()
    deck.converge()
    assert (deck.job().id != second.id, deck.job().limit) == (True, "2-00:00:00")
    deck.settled()


def test_it_holds_the_job_of_one_deployment_and_not_that_of_another(deck: Deck) -> None:
    deck.settings["job"] = "job-{{ environment }}"
    deck.commit()
    root = f"{deck.world.root}-{{{{ environment }}}}"
    site = f'environments: [dev, prod]\npaths: {{root: "{root}"}}\nversions: {{app: "1.0", tool: "1.0"}}\n'

    def commit() -> None:
        layers = {"dev": deck.layer(), "prod": f"{deck.layer()}{NEVER}\n"}
        named = {f"desired/environments/{name}.yaml": text for name, text in layers.items()}
        deck.world.commit({f"desired/sites/{deck.world.site}.yaml": site, **named})

    def jobs() -> dict[str, tuple[str, str]]:
        return {job.name: (job.id, job.limit) for job in deck.cluster.jobs()}

    commit()
    deck.once("--ignore-windows")
    before = jobs()
    assert before.keys() == {"job-dev", "job-prod"}
    deck.settings["time"] = "2-00:00:00"
    commit()
    deck.once(code=2)
    after = jobs()
    assert after["job-prod"] == before["job-prod"]
    assert (after["job-dev"][0] != before["job-dev"][0], after["job-dev"][1]) == (True, "2-00:00:00")
    deck.once(code=2)
    assert jobs() == after
    deck.once("--ignore-windows")
    assert {limit for _, limit in jobs().values()} == {"2-00:00:00"}
