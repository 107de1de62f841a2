"""Notes of jobs, in the folder where they lie."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.launchers.slurm import contact
from reconciler.launchers.slurm.contact import Contact


def test_notes_of_jobs_long_over_go_and_nothing_else(tmp_path: Path) -> None:
    """The folder lies below `paths.run`, which may be shared."""
    for number in range(15):
        (tmp_path / f"{number}.json").write_text("{}")
        (tmp_path / f"theirs-{number}.json").write_text("{}")
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    contact.write(str(tmp_path), Contact(100, "n1", "", 1, "key"))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len([name for name in left if name.startswith("theirs-")]) == 15
    assert len([name for name in left if not name.startswith("theirs-")]) == 10
    assert "100.json" in left
