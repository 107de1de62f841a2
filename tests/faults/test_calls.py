"""A sample of what `scripts/faults` does in full: a system call of a pass fails, and all that must hold holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.faults.strace import KILL, Fault
from tests.faults.sweep import FAILED, faults_of, sample, suffered

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git, pytest.mark.strace, pytest.mark.slow]

SEED = 7


@pytest.fixture
def bench(short_folder: Path) -> Iterator[Bench]:
    made = Bench(short_folder)
    yield made
    made.end()


@pytest.mark.parametrize(("deed", "many"), [("bump", 25), ("turnover", 25), ("idle", 12)])
def test_a_call_that_fails_costs_nothing(deed: str, many: int, bench: Bench) -> None:
    """The faults are printed, and so is what did not hold; the first that fails ends it, as the world is spoilt."""
    chosen = sample(list(faults_of(bench.record(deed))), many, SEED)
    assert len(chosen) == many, "the pass has become shorter than it was"
    for fault in chosen:
        print(deed, fault)
        judged = suffered(bench, deed, fault)
        assert judged.verdict != FAILED, f"{fault}\n{judged.why}"


def test_killed_between_two_copies_of_the_inventory(bench: Bench) -> None:
    """The second of both is half-written, in a file of its own: what is left of it goes with the next pass."""
    writes = [call for call in bench.record("bump") if call.name == "write" and "reconcile/.inventory" in call.place]
    assert bench.suffer("bump", Fault(writes[-1], KILL)) == ""
