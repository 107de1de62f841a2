"""Which rotated logs go, and what counts as left by something that is over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.desired import Deployment, Leaves, Policy, Trace, Unmanaged
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import DaemonState, Mark, Observed, Process
from reconciler.core.remains import DAYS, copies, former, may_speak, numbered, old_copies, surplus, union

_DAY = 86400.0
_NUMBERS = st.sets(st.integers(1, 40), max_size=20)
LOG = Trace(Leaves.LOG, "/r/logs/web.log", "supervisor", "web", "web", 3)
PID = Trace(Leaves.PID, "/r/run/supervisord.pid", "supervisor", "")
RECORD = Trace(Leaves.RECORD, "/h/.apptainer", "apptainer", "web", "web-dev")
DESIRED = Deployment("here", "dev", "c", "/r", (), (), (), (), (), {}, Policy())
SEEN = Observed(0.0, {}, {}, {}, {}, {}, {})


def rotated(numbers: set[int]) -> dict[int, str]:
    return {number: f"web.log.{number}" for number in numbers}


def test_only_what_a_launcher_calls_its_copies_is_one() -> None:
    names = ["web.log", "web.log.1", "web.log.10", "web.log.999", "web.log.1000", "web.log.20260101", "web.log.01"]
    names += ["web.log.0", "web.log.1.gz", "web.log.", "web.log.-1", "web.log.\u0661", "other.log.2", "web.logs.3"]
    assert copies(numbered(names)["web.log"]) == {1: "web.log.1", 10: "web.log.10", 999: "web.log.999"}
    assert numbered(["a.sock", "a.sock.1234567", "a.sock.old", ".3"]) == {"a.sock": {1234567: "a.sock.1234567"}}


@given(_NUMBERS, st.integers(0, 40))
def test_those_beyond_the_limit_go_and_no_others(numbers: set[int], keep: int) -> None:
    going = surplus(rotated(numbers), keep)
    assert {number for number in numbers if f"web.log.{number}" not in going} == {n for n in numbers if n <= keep}
    assert going == [f"web.log.{number}" for number in sorted(numbers, reverse=True) if number > keep]


@given(_NUMBERS, st.floats(-2 * DAYS, 4 * DAYS))
def test_of_what_speaks_no_more_the_newest_stays_and_all_of_it_for_a_month(numbers: set[int], days: float) -> None:
    """A last word that is still to come was written by another clock."""
    going = old_copies(rotated(numbers), 0.0, days * _DAY)
    if days < DAYS or len(numbers) < 2:
        assert going == []
    else:
        assert len(going) == len(numbers) - 1
        assert f"web.log.{min(numbers)}" not in going


def test_what_git_wants_or_another_leaves_is_not_left_behind() -> None:
    inventory = Inventory(traces=union([LOG, PID, RECORD]))
    assert former(DESIRED, inventory, ()) == list(inventory.traces)
    assert former(DESIRED._replace(traces=(LOG._replace(keep=9), PID)), inventory, ()) == [RECORD]
    assert former(DESIRED, inventory, [RECORD._replace(service="other", launcher="systemd"), PID]) == [LOG]
    assert former(DESIRED, inventory._replace(files={LOG.path: ""}), ()) == [RECORD, PID]
    others = (Unmanaged("web", "", "systemd", "", "", "", (), ()),)
    assert former(DESIRED._replace(unmanaged=others), inventory, ()) == [PID]
    other = RECORD._replace(name="other-dev")
    assert former(DESIRED._replace(traces=(other,)), inventory, ())[0] == RECORD


def test_what_may_write_it_still() -> None:
    def speaks(trace: Trace, inventory: Inventory = Inventory(), seen: Observed = SEEN, *wanted: Trace) -> bool:  # noqa: B008
        return may_speak(trace, DESIRED._replace(traces=wanted), inventory, seen)

    owned = Owned("web", "supervisor", "", "", "")
    assert not speaks(LOG)
    assert speaks(LOG, Inventory({"web": owned}))
    assert not speaks(LOG, Inventory({"web": owned._replace(launcher="systemd")}))
    assert not speaks(LOG, Inventory({"web": owned._replace(unit="renamed")}))
    here, elsewhere = Inventory({"web": owned}), LOG._replace(path="/other/web.log")
    assert speaks(LOG, here, SEEN, elsewhere._replace(service="other"), PID)
    assert not speaks(LOG, here, SEEN, elsewhere)  # it writes there by now
    assert not speaks(PID)
    assert speaks(PID, seen=SEEN._replace(daemons={"supervisor": DaemonState(running=True)}))
    assert speaks(PID, seen=SEEN._replace(daemons={"supervisor": DaemonState(running=False, waits="queued", pid=3)}))
    daemon = Mark("here/dev", "/r", "", "", "", "", "", 7, "supervisor")
    assert speaks(PID, seen=SEEN._replace(processes={7: Process(7, 1.0, daemon)}))
    assert speaks(PID, seen=SEEN._replace(processes={7: Process(7, 1.0, None)}))
    assert not speaks(PID, seen=SEEN._replace(processes={7: Process(7, 1.0, daemon._replace(daemon="slurm"))}))
    assert not speaks(PID, seen=SEEN._replace(processes={7: Process(7, 1.0, daemon._replace(service="web"))}))


def test_of_one_thing_the_first_word_counts() -> None:
    assert union([LOG], [LOG._replace(keep=9), PID]) == (LOG, PID)
    assert union([PID], [LOG]) == union([LOG], [PID])
