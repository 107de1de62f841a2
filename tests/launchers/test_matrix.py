"""What must hold for every launcher with every install method, with real processes, as an ordinary user.

The scenarios of one combination share a deployment, which each leaves as git wants it: one that does not is
thrown away, and the next scenario begins with a new one. So they do not depend on their order, and all that
fail are told, each by its name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.launchers.bench import Bench
from tests.launchers.drifts import ONE, Drift, drifts_of
from tests.launchers.matrix import COMBINATIONS, Combination
from tests.launchers.scenarios import GIT, REBOOTS

pytestmark = [pytest.mark.scenario, pytest.mark.slow]

Scenario = tuple[str, Callable[[Bench], None]]


class Benches:
    """One for a combination, made where there is none that is as git wants it."""

    def __init__(self, combination: Combination) -> None:
        self.combination = combination
        self._made: Bench | None = None

    def fresh(self) -> Bench:
        """Nothing of it has ever run."""
        self.end()
        folder = Path(tempfile.mkdtemp(prefix="", dir=os.path.join(os.environ["RECONCILE_TEST_BASE"], "s")))
        self._made = Bench(self.combination, folder)
        return self._made

    def settled(self) -> Bench:
        """All is as git wants it, and there are foreign things beside."""
        if self._made and self._made.is_settled:
            return self._made
        bench = self.fresh()
        bench.cold_start()
        return bench

    def each(self, scenarios: Iterable[Scenario]) -> None:
        """All of them, also after one that fails."""
        failed = []
        for name, scenario in scenarios:
            bench = self.settled()
            bench.touched()
            try:
                scenario(bench)
                assert bench.is_settled, "a scenario ends with a look at the whole"
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are to be heard of too
                error.add_note(f"in the scenario {name!r} of {self.combination}")
                failed.append(error)
        if failed:
            names = ", ".join(note for error in failed for note in error.__notes__)
            raise ExceptionGroup(names, failed)

    def end(self) -> None:
        if self._made:
            self._made.end()
            shutil.rmtree(self._made.world.folder, ignore_errors=True)
        self._made = None


@pytest.fixture(
    name="benches",
    params=[
        pytest.param(how, id=str(how), marks=[getattr(pytest.mark, name) for name in how.needs]) for how in COMBINATIONS
    ],
)
def some_benches(request: pytest.FixtureRequest) -> Iterator[Benches]:
    made = Benches(request.param)
    yield made
    made.end()


def test_every_launcher_with_every_install_method(benches: Benches) -> None:
    """What git says happens and no more; reboots are overcome; what hands have changed is mended, and told."""
    drifts = ((drift.name, _mended(drift)) for drift in drifts_of(benches.combination))
    benches.each([*GIT, *REBOOTS, *drifts])


def _mended(drift: Drift) -> Callable[[Bench], None]:
    """By no more than it takes."""

    def scenario(bench: Bench) -> None:
        drift.do(bench)
        passed = bench.converge()
        assert set(passed.kinds) == (drift.affects if drift.says else set()), passed
        assert passed.changed == drift.restarts, passed
        if drift.says:
            said = drift.says.format(unit=bench.unit(ONE), script=bench.combination.script(ONE))
            assert said in passed.why(ONE if ONE in drift.affects else min(drift.affects))
        bench.settled()

    return scenario
