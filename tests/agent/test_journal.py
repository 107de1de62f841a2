"""The journal stays within its bounds, whatever a pass has to tell."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.agent.alone import alone
from reconciler.agent.memory import journal

MOST = 256 << 10


def test_an_entry_is_kept_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "j")
    entry: dict[str, object] = {"run": "1", "steps": [["a", "done", 0.5, "ü" * 9000]], "changes": {"web": ["keep"]}}
    journal.append(path, entry)
    assert journal.read(path) == [entry]


def test_long_messages_are_cut(tmp_path: Path) -> None:
    path = str(tmp_path / "j")
    steps = [[f"start:s{number}", "failed", 0.1, "x" * 3_000_000 if number == 7 else "short"] for number in range(50)]
    journal.append(path, {"run": "1", "at": 1.5, "steps": steps, "changes": {"web": ["update", "y" * 500_000]}})
    (entry,) = journal.read(path)
    assert os.path.getsize(path) <= MOST
    assert (entry["run"], entry["at"]) == ("1", 1.5)
    told = entry["steps"]
    assert isinstance(told, list)
    assert [step[:3] for step in told] == [step[:3] for step in steps]
    assert told[6] == steps[6]
    assert told[7][3].endswith("…")


def test_many_steps_are_cut(tmp_path: Path) -> None:
    path = str(tmp_path / "j")
    changes = {f"s{number}": ["create", "new"] for number in range(30_000)}
    steps = [[f"start:s{number}", "done", 0.1, ""] for number in range(30_000)]
    journal.append(path, {"run": "1", "steps": steps, "changes": changes})
    (entry,) = journal.read(path)
    assert os.path.getsize(path) <= MOST
    assert entry["run"] == "1"


def test_two_files_of_a_mebibyte_at_most(tmp_path: Path) -> None:
    path = str(tmp_path / "j")
    for number in range(100):
        journal.append(path, {"run": str(number), "steps": [["a", "failed", 0.1, "x" * 2_000_000]]})
        assert all(size <= journal.LIMIT for size in map(os.path.getsize, map(str, tmp_path.iterdir())))
    assert sorted(os.listdir(tmp_path)) == ["j", "j.1", "j.lock"]
    assert journal.read(path)[-1]["run"] == "99"


def test_nothing_is_lost_while_another_one_puts_the_full_one_aside(tmp_path: Path) -> None:
    """A clean-up by hand and a pass both note what they did: two that rotate at once would lose the older half."""
    path = str(tmp_path / "j")
    Path(path + ".1").write_bytes(b'{"run": "old"}\n')
    Path(path).write_bytes(b'{"run": "full"}\n' + b" " * journal.LIMIT + b"\n")
    with alone(journal.lock_path(path)):
        journal.append(path, {"run": "new"})
    assert [entry["run"] for entry in journal.read(path)] == ["old", "full", "new"]

    journal.append(path, {"run": "newer"})
    assert [entry["run"] for entry in journal.read(path)] == ["full", "new", "newer"]
